"""Checks on the file itself, before ffmpeg sees it: a FIFO must not hang us, a change must not go unseen."""

from __future__ import annotations

import os
import stat

from vtrcli.errors import VideoError

# In the files of `vtr demo`, whose backbone knows nothing else.
DRAWN_COMMENT = "drawn by vtr demo"
_COMMENT_BYTES = 64 * 1024


def check_file(path: str | os.PathLike[str]) -> os.stat_result:
    """The state of a regular, readable, non-empty file. Raises VideoError for anything else; never blocks."""
    name = os.fspath(path)
    try:
        state = os.stat(path)
    except PermissionError as error:
        raise VideoError("no-permission", error.strerror or "no access", path=name) from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        detail = getattr(error, "strerror", None) or str(error)
        raise VideoError("not-found", detail, path=name) from error
    if not stat.S_ISREG(state.st_mode):
        raise VideoError("not-a-file", _kind(state.st_mode), path=name)
    if not os.access(path, os.R_OK):
        raise VideoError("no-permission", "it cannot be opened for reading", path=name)
    if state.st_size == 0:
        raise VideoError("empty", "it has 0 bytes", path=name)
    return state


def read_head(path: str | os.PathLike[str], num_bytes: int) -> bytes:
    """The first bytes of a file that `check_file` has passed. Raises VideoError where the disk does not give them."""
    try:
        with open(path, "rb") as file:
            return file.read(num_bytes)
    except PermissionError as error:
        raise VideoError("no-permission", error.strerror or "no access", path=os.fspath(path)) from error
    except FileNotFoundError as error:
        raise VideoError("not-found", error.strerror or "it is gone", path=os.fspath(path)) from error
    except OSError as error:
        raise VideoError("corrupt", error.strerror or str(error), path=os.fspath(path)) from error


def check_unchanged(path: str | os.PathLike[str], before: os.stat_result) -> None:
    """Raises VideoError("changed") when size, time or identity differ from `before`."""
    after = check_file(path)
    same = ("st_size", "st_mtime_ns", "st_ino", "st_dev")
    if any(getattr(after, name) != getattr(before, name) for name in same):
        raise VideoError("changed", "its size or time changed during decoding", path=os.fspath(path))


def is_drawn(path: str | os.PathLike[str]) -> bool:
    """Whether `vtr demo` made the file. Raises OSError as `open` does."""
    with open(path, "rb") as file:
        return DRAWN_COMMENT.encode() in file.read(_COMMENT_BYTES)


def _kind(mode: int) -> str:
    kinds = {
        stat.S_IFDIR: "it is a folder",
        stat.S_IFIFO: "it is a FIFO",
        stat.S_IFSOCK: "it is a socket",
        stat.S_IFCHR: "it is a device",
        stat.S_IFBLK: "it is a device",
    }
    return kinds.get(stat.S_IFMT(mode), "it is not a regular file")
