"""Finds the ffmpeg binary. Running it is `vtrcli.video.child`'s work, the command lines `vtrcli.video.graph`'s."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess

import imageio_ffmpeg

from vtrcli.errors import InputError

# Tested with 7.0 and 9.0. `-stats_enc_pre`, which reports the time stamp of each frame, came with 6.0.
MIN_MAJOR_VERSION = 7
_VERSION_SECONDS = 20.0


def ffmpeg_binary() -> str:
    """Path of ffmpeg: the one of $VTR_FFMPEG, else the bundled one (imageio-ffmpeg), else the one on PATH.

    Raises InputError where there is none, or where the one that was named is not an ffmpeg of version 7 or newer.
    """
    chosen = os.environ.get("VTR_FFMPEG")
    if chosen:
        resolved = shutil.which(chosen)
        if resolved is None:
            raise InputError(
                f"VTR_FFMPEG is {chosen!r}, which is no program",
                allowed="VTR_FFMPEG names an ffmpeg executable",
                to_do="correct or unset VTR_FFMPEG",
            )
        return _checked(resolved)
    bundled = _bundled()
    if bundled:
        return bundled
    on_path = shutil.which("ffmpeg")
    if on_path is None:
        raise InputError(
            "no ffmpeg was found",
            allowed=f"ffmpeg {MIN_MAJOR_VERSION} or newer comes from VTR_FFMPEG, the imageio-ffmpeg package or PATH",
            to_do="reinstall imageio-ffmpeg or install ffmpeg",
        )
    return _checked(on_path)


@functools.cache
def _bundled() -> str | None:
    # get_ffmpeg_exe() raises where the wheel holds no binary (a source install, an unusual platform); it
    # would also look at PATH and at its own variable, whose finds are checked like any other.
    try:
        found = imageio_ffmpeg.get_ffmpeg_exe()
    except RuntimeError:
        return None
    folder = os.path.dirname(os.path.abspath(imageio_ffmpeg.__file__))
    return found if os.path.abspath(found).startswith(folder + os.sep) else None


@functools.cache
def _checked(binary: str) -> str:
    """`binary`, once it has said that it is an ffmpeg that is new enough. Builds without a number pass."""
    try:
        done = subprocess.run(
            [binary, "-version"], stdin=subprocess.DEVNULL, capture_output=True, timeout=_VERSION_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _unusable(binary, str(error)) from error
    first_line = done.stdout.decode(errors="replace").partition("\n")[0]
    if not first_line.startswith("ffmpeg version"):
        raise _unusable(binary, "it does not answer `-version` as ffmpeg does")
    number = re.match(r"ffmpeg version n?(\d+)\.", first_line)
    if number and int(number[1]) < MIN_MAJOR_VERSION:
        raise _unusable(binary, f"its version is {number[1]}")
    return binary


def _unusable(binary: str, why: str) -> InputError:
    return InputError(
        f"{binary} cannot be used: {why}",
        allowed=f"ffmpeg {MIN_MAJOR_VERSION} or newer is needed",
        to_do="install a newer one or unset VTR_FFMPEG to use the bundled one",
    )
