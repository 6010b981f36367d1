"""Which ffmpeg is used, and what its complaints mean: one of the reasons in `vtrcli.errors.VIDEO_FAILURE_REASONS`.

Running it is `vtrcli.video.child`'s work, the command lines `vtrcli.video.graph`'s.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import signal
import subprocess

import imageio_ffmpeg

from vtrcli.errors import InputError
from vtrcli.video.files import Family

# Tested with 7.0 and 9.0. `-stats_enc_pre`, which reports the time stamp of each frame, came with 6.0.
MIN_MAJOR_VERSION = 7
_VERSION_SECONDS = 20.0

NO_REASON = "ffmpeg gave no reason"
_DETAIL_CHARACTERS = 200

# Tried in this order; the first that matches names the reason.
_SIGNS = (
    ("too-large", r"exceeds specified max pixel count|Picture size .* is invalid"),
    ("memory", r"Cannot allocate memory|[Ff]ailed to allocate|Out of memory|pthread_create\(\) failed"),
    ("encrypted", r"[Ee]ncrypt"),
    ("decoder-crashed", r"No such filter|Unrecognized option|Option not found"),
)
# Lines that repeat in other words what an earlier line said.
_ECHOES = re.compile(
    r"Task finished with error|Terminating thread|Error opening input files|Conversion failed|Nothing was written"
    r"|Error parsing options|At least one output file|Error opening output|non monotonically increasing dts to muxer"
)


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


def open_failure(log: bytes, family: Family | None, status: int) -> str:
    """Reason for a file that ffmpeg could not open; `family` is what its first bytes look like."""
    crash = crash_reason(status)
    if crash:
        return crash
    if re.search(rb"Permission denied", log):
        return "no-permission"
    if family == "audio":
        return "no-video-stream"
    return "corrupt" if family == "video" else "not-a-video"


def decode_failure(log: bytes, status: int, *, is_encrypted: bool) -> str:
    """Reason for a video of which not one frame came."""
    crash = crash_reason(status)
    if crash:
        return crash
    text = log.decode(errors="replace")
    for reason, sign in _SIGNS:
        if re.search(sign, text):
            return reason
    if is_encrypted:
        return "encrypted"
    if _complaints(log):
        return "corrupt"
    return "decoder-crashed" if status > 0 else "no-frames"  # no library could be loaded, say


def crash_reason(status: int) -> str | None:
    """Reason for a child that a signal ended; None for one that ended by itself."""
    if status >= 0:
        return None
    # Nobody but the kernel, short of memory, sends this one to a child of ours.
    return "memory" if -status == getattr(signal, "SIGKILL", 9) else "decoder-crashed"


def first_complaint(log: bytes) -> str:
    """The first telling line of the log, without addresses, short enough for a table; empty when there is none."""
    lines = _complaints(log)
    return lines[0][:_DETAIL_CHARACTERS] if lines else ""


def _complaints(log: bytes) -> list[str]:
    """Messages of level error and above: "[h264 @ 0x55] [error] no frame!" -> "no frame!"."""
    found = re.findall(rb"^(?:\[[^\]\n]* @ [^\]\n]*\] )*\[(?:error|fatal|panic)\] +(.*)$", log, re.MULTILINE)
    lines = [
        re.sub(r"(not on whitelist) '.*'", r"\1", line.decode(errors="replace").strip()) for line in found
    ]
    return [line for line in lines if line and line.isprintable() and not _ECHOES.search(line)]
