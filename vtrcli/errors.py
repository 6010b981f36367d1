"""Every error that vtr raises on purpose; each class has its exit code.

    VtrError                     1  never raised itself
    ├── UsageError               2  options that contradict each other, a wrong key in vtr.toml
    ├── InputError               3  an input is missing, cannot be read or does not hold what it must
    │   ├── NotFoundError        3  what is named is not there: a video or a store of a server
    │   └── VideoError           3  one video; carries the fixed `reason` word that failures.jsonl records
    ├── StoreError               4  feature store: missing, damaged, newer format, another backbone
    └── WeightsError             4  model weights or a run: missing, damaged, of another model
        └── NotFiniteError       4  features are NaN or infinite, in half precision most likely for want of range

A message has three parts: what came in, what is allowed, what to do. Library code raises; only `vtrcli.cli`
prints and exits. Exit code 5 (finished, some videos failed) is a result, not an exception; 130 is Ctrl-C.
"""

from __future__ import annotations

from typing import Any

EXIT_OK = 0
EXIT_BUG = 1
EXIT_SOME_FAILED = 5
EXIT_INTERRUPTED = 130
JSON_SCHEMA = 1  # of what --json prints and `vtr serve` answers


class VtrError(Exception):
    """Base class: `str(error)` is one line made of the three parts."""

    exit_code = EXIT_BUG

    def __init__(self, came_in: str, *, allowed: str, to_do: str) -> None:
        super().__init__(came_in, allowed, to_do)
        self.came_in = came_in
        self.allowed = allowed
        self.to_do = to_do

    def __str__(self) -> str:
        return "; ".join(part for part in (self.came_in, self.allowed, self.to_do) if part)

    def to_json(self) -> dict[str, str]:
        """The three parts by name, as `vtr serve` answers them."""
        return {"came_in": self.came_in, "allowed": self.allowed, "to_do": self.to_do}

    def __reduce__(self) -> Any:
        # Its constructor does not take `args`; it must come whole out of a worker process all the same.
        return _restored, (type(self), self.args, self.__dict__)


def _restored(kind: type[VtrError], args: tuple[object, ...], state: dict[str, Any]) -> VtrError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(state)
    return error


class UsageError(VtrError):
    """Options or settings that cannot be used together or are out of bounds."""

    exit_code = 2


class InputError(VtrError):
    """An input file or value is missing, unreadable or does not hold what it must."""

    exit_code = 3


class NotFoundError(InputError):
    """Nothing goes by that name: a video of a store, a store of a server."""


class BusyError(VtrError):
    """There is too much to do at this moment: come again after so many seconds."""

    exit_code = 3

    def __init__(self, came_in: str, *, allowed: str, to_do: str, retry_after_seconds: int) -> None:
        super().__init__(came_in, allowed=allowed, to_do=to_do)
        self.retry_after_seconds = retry_after_seconds


class VideoError(InputError):
    """One video cannot be used. `reason` is one of the fixed words in `VIDEO_FAILURE_REASONS`."""

    def __init__(self, reason: str, detail: str, *, path: str = "") -> None:
        if reason not in VIDEO_FAILURE_REASONS:
            raise ValueError(f"unknown failure reason {reason!r}")
        super().__init__(
            f"{path or 'video'}: {reason}: {detail}",
            allowed=VIDEO_FAILURE_REASONS[reason],
            to_do="mend or replace the file, then run `vtr extract --retry-failed`",
        )
        self.reason = reason
        self.detail = detail
        self.path = path


# Fixed words: scripts select on them. The value says what would have been fine.
VIDEO_FAILURE_REASONS: dict[str, str] = {
    "not-found": "the file must exist",
    "not-a-file": "only regular files are read, no FIFO, socket or device",
    "no-permission": "the file must be readable",
    "empty": "a video has at least one byte",
    "not-a-video": "the content must be one of the known video containers",
    "playlist": "playlists and concat lists are never followed",
    "no-video-stream": "the file must have a video stream",
    "no-frames": "at least one frame must decode",
    "encrypted": "encrypted media cannot be decoded",
    "corrupt": "at least one frame must decode",
    "too-large": "a frame may have at most 134 million pixels",
    "timeout": "a decode must end within the time limit (--timeout)",
    "memory": "a decode must stay within its memory limit",
    "changed": "a file must not change while it is read",
    "decoder-crashed": "ffmpeg must not crash",
    "not-finite": "features must be finite",
    "wrong-shape": "features are a row of numbers per frame, as wide as the store's",
    "worker-died": "the process that works at a video must survive it",
    "bug": "vtr must decode it or say why it cannot: this is a fault of vtr, please report it with the traceback",
}


class StoreError(VtrError):
    """The feature store is missing, damaged, of a newer format or of another backbone."""

    exit_code = 4


class WeightsError(VtrError):
    """Model weights or a run directory are missing, damaged or of another model."""

    exit_code = 4


class NotFiniteError(WeightsError):
    """A backbone gave features that are NaN or infinite; in half precision float32 may still do."""


def brief(cause: Exception) -> str:
    """What a library says of its trouble, in one line."""
    return " ".join(str(cause).split())[:200] or type(cause).__name__


def printable(text: str) -> str:
    """File names and captions without control characters and lone surrogates: a name must not steer a terminal, and no
    protocol carries it."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )
