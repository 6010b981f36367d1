"""How far the `vtr extract` runs are that fill a store now: a small file each, for other processes to read."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PREFIX = ".extracting-"  # hidden in the store's folder; gone with the run
RENEW_SECONDS = 1.0
# Of a run on another machine, or whose process cannot be looked at, only the file's age tells whether it still goes on.
# A long film may take minutes from one sign to the next.
STALE_SECONDS = 600.0
MAX_BYTES = 4096


@dataclass(frozen=True)
class ExtractProgress:
    """Videos that are done (failed ones among them), that there are to do, and that failed."""

    num_done: int
    num_total: int
    num_failed: int

    def to_json(self) -> dict[str, int]:
        """The keys of /api/health."""
        return {"num_done": self.num_done, "num_total": self.num_total, "num_failed": self.num_failed}


class ProgressFile:
    """Tells others how far this run is, at most once a second. A store that takes no file is filled all the same."""

    def __init__(self, store: Path) -> None:
        self._path = store / f"{PREFIX}{secrets.token_hex(6)}.json"
        self._about = {"pid": os.getpid(), "host": _host(), "started": process_start(os.getpid())}
        self._next = 0.0
        for path in _files(store, ".json", ".tmp"):  # of runs that were killed
            if _read(path.with_suffix(".json")) is None:
                with contextlib.suppress(OSError):  # another user's
                    path.unlink()

    def tell(self, num_done: int, num_total: int, num_failed: int) -> None:
        """Renew the file when it is time."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + RENEW_SECONDS
        progress = ExtractProgress(num_done, num_total, num_failed)
        body = json.dumps({**self._about, **progress.to_json()})
        with contextlib.suppress(OSError):  # unlike a store's own files not synced: it is worth a second
            temporary = self._path.with_suffix(".tmp")
            temporary.write_text(body, encoding="ascii")
            temporary.replace(self._path)

    def end(self) -> None:
        """Take the file away."""
        for path in (self._path, self._path.with_suffix(".tmp")):
            with contextlib.suppress(OSError):
                path.unlink()


def running_extract(store: Path) -> ExtractProgress | None:
    """The sum over the runs that go on now; None where there is none."""
    found = [progress for path in _files(store, ".json") if (progress := _read(path)) is not None]
    if not found:
        return None
    return ExtractProgress(
        sum(each.num_done for each in found),
        sum(each.num_total for each in found),
        sum(each.num_failed for each in found),
    )


def _files(store: Path, *suffixes: str) -> list[Path]:
    try:
        with os.scandir(store) as entries:
            return [
                Path(entry.path)
                for entry in entries
                if entry.name.startswith(PREFIX)
                and entry.name.endswith(suffixes)
                and entry.is_file(follow_symlinks=False)
            ]
    except OSError:
        return []


def _read(path: Path) -> ExtractProgress | None:
    """None for a file of a run that is over, however it ended, or that is none."""
    try:
        with path.open("rb") as file:
            body = json.loads(file.read(MAX_BYTES))
            age = time.time() - os.fstat(file.fileno()).st_mtime
        numbers = [body[key] for key in ("num_done", "num_total", "num_failed")]
        if not all(type(number) is int and 0 <= number < 2**53 for number in numbers):
            return None
        return ExtractProgress(*numbers) if _goes_on(body, age) else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _goes_on(body: dict[str, Any], age_seconds: float) -> bool:
    pid, started = body["pid"], body["started"]
    if body["host"] == _host() and type(pid) is int and pid > 0:
        now = process_start(pid)
        if now is not None:
            return bool(now == started)
        if os.path.isdir("/proc/self"):  # it can be looked at, and is not there
            return False
    return age_seconds < STALE_SECONDS


def _host() -> str:
    """This machine, or this container, in which numbers of processes mean something."""
    with contextlib.suppress(OSError):
        return f"{socket.gethostname()} {os.readlink('/proc/self/ns/pid')}"
    return socket.gethostname()


def process_start(pid: int) -> str | None:
    """When a process of this machine began, in the words of Linux; None elsewhere, or where none is running.

    A number that another process got meanwhile has another beginning.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    state, *rest = text.rpartition(")")[2].split()
    return None if state in "ZX" else rest[18]
