"""Shows a video at a time in the user's own player. Starts it and leaves it alone."""

from __future__ import annotations

import math
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
from dataclasses import dataclass

from vtrcli.errors import UsageError
from vtrcli.video.probe import probe

# Tried in this order. IINA's program is on the path where its user has put it there; other apps of macOS are found
# in their usual place.
PLAYERS = (
    "mpv --start={seconds} {path}",
    "vlc --start-time={seconds} {path}",
    "iina --mpv-start={seconds} {path}",
    "celluloid --mpv-start={seconds} {path}",
    "ffplay -ss {seconds} {path}",
    "mplayer -ss {seconds} {path}",
)
MAC_APPS = (
    "/Applications/IINA.app/Contents/MacOS/iina-cli --mpv-start={seconds} {path}",
    "/Applications/VLC.app/Contents/MacOS/VLC --start-time={seconds} {path}",
)
_PLACEHOLDER = re.compile(r"\{(seconds|path)\}")


@dataclass(frozen=True)
class Opened:
    """What is started. `at_time` is False where it could not be told the time: it begins at the video's start."""

    command: tuple[str, ...]
    at_time: bool


def open_at(path: str | os.PathLike[str], seconds: float, *, template: str | None = None) -> Opened:
    """Start the player of `player_command` on its own: it outlives us, and reads and prints nothing of ours.

    Raises:
        VideoError: the file is gone, or no video: a store may name anything.
        UsageError: as `player_command`; the player cannot be started.
    """
    probe(path)  # a store may name any file; what is no video must reach no program that would run it
    chosen = player_command(path, seconds, template=template)
    try:
        process = subprocess.Popen(
            chosen.command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as cause:
        raise UsageError(
            f"{chosen.command[0]} cannot be started: {cause.strerror}",
            allowed="a player is a program that can be run",
            to_do="name another player",
        ) from cause
    # Somebody has to take note of its end, or a long-lived process of ours collects the dead.
    threading.Thread(target=process.wait, daemon=True, name="player").start()
    return chosen


def player_command(path: str | os.PathLike[str], seconds: float, *, template: str | None = None) -> Opened:
    """Program and arguments that show a video from a time on.

    The user's own player by `template`, else the first one found of `PLAYERS`, else the system's opener, which
    starts at the beginning. The path is absolute, so it never looks like an option.

    Args:
        template: such as `mpv --start={seconds} {path}`: split as a shell splits words, then filled in; no shell sees
            it. Without `{path}` the path comes last.

    Raises:
        UsageError: no player was found, a template that cannot be used, a time that cannot be.
    """
    if not (math.isfinite(seconds) and seconds >= 0):
        raise UsageError(f"a time of {seconds} s", allowed="a time is 0 s or later", to_do="change the time")
    if template is not None:
        return Opened(_filled(_words(template), path, seconds), at_time="{seconds}" in template)
    for known in PLAYERS + (MAC_APPS if sys.platform == "darwin" else ()):
        words = known.split()
        if shutil.which(words[0]):
            return Opened(_filled(words, path, seconds), at_time=True)
    opener = "open" if sys.platform == "darwin" else "xdg-open"
    if shutil.which(opener) is None:
        raise UsageError(
            "no player was found",
            allowed="mpv, VLC, IINA, Celluloid, ffplay, MPlayer, or any other one that VTR_PLAYER names",
            to_do="install mpv, or set VTR_PLAYER to a command such as `mpv --start={seconds} {path}`",
        )
    return Opened(_filled([opener, "{path}"], path, seconds), at_time=False)


def _words(template: str) -> list[str]:
    try:
        words = shlex.split(template)
    except ValueError as cause:
        raise _bad_template(template, f"it cannot be split into words ({cause})") from cause
    if not words:
        raise _bad_template(template, "it is empty")
    if shutil.which(words[0]) is None:
        raise _bad_template(template, f"there is no program {words[0]!r}")
    return words if "{path}" in template else [*words, "{path}"]


def _filled(words: list[str], path: str | os.PathLike[str], seconds: float) -> tuple[str, ...]:
    """In one pass: a path may itself hold `{seconds}`."""
    values = {"seconds": f"{seconds:.3f}", "path": os.path.abspath(os.fspath(path))}
    # The program itself is the user's word, whatever its name looks like.
    return (words[0], *(_PLACEHOLDER.sub(lambda match: values[match[1]], word) for word in words[1:]))


def _bad_template(template: str, why: str) -> UsageError:
    return UsageError(
        f"the player {template!r} cannot be used: {why}",
        allowed="a program and its arguments, with {path} and {seconds} where they belong",
        to_do="write something like `mpv --start={seconds} {path}`",
    )
