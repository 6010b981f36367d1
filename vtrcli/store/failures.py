"""`failures.jsonl`: one line per file that could not be done. Lines are only ever appended."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from vtrcli.files import append_lines, is_gone, read_lines, write_whole
from vtrcli.store.records import FileState, VideoRecord
from vtrcli.store.roots import read_roots

FAILURES_NAME = "failures.jsonl"
FORGOTTEN = "forgotten"  # a reason that takes back earlier lines of the same path


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why a file is not in the store. `reason` is a fixed word; `state` fields are None when it could not be read."""

    path: str
    reason: str
    detail: str
    when: float
    num_bytes: int | None = None
    mtime_ns: int | None = None

    def is_about(self, state: FileState | None) -> bool:
        """Whether the file is still the one that failed."""
        if state is None:
            return self.num_bytes is None
        return (self.num_bytes, self.mtime_ns) == (state.num_bytes, state.mtime_ns)

    def to_json(self) -> dict[str, str]:
        """The keys that `--json` shows."""
        return {"path": self.path, "reason": self.reason, "detail": self.detail}


def make_failure(path: Path, reason: str, detail: str, *, state: FileState | None) -> Failure:
    """A failure that happened now."""
    return Failure(
        path=str(path),
        reason=reason,
        detail=detail,
        when=time.time(),
        num_bytes=state.num_bytes if state else None,
        mtime_ns=state.mtime_ns if state else None,
    )


def append_failure(store: Path, failure: Failure) -> None:
    """Add one line in one write, so that several processes may append at once.

    Raises:
        StoreError: the file cannot be written.
    """
    _append(store, [failure])


def forget_failures(store: Path, paths: Iterable[str]) -> None:
    """Let the failures of these files stand no longer. Raises StoreError as `append_failure`."""
    known = _last_lines(store)
    lines = [make_failure(Path(path), FORGOTTEN, "", state=None) for path in paths if path in known]
    if lines:
        _append(store, lines)


def _append(store: Path, failures: list[Failure]) -> None:
    append_lines(store / FAILURES_NAME, [json.dumps(asdict(failure)) for failure in failures])


def read_failures(
    store: Path, records: Iterable[VideoRecord], *, keep_gone: bool = False
) -> dict[str, Failure]:
    """The failures that still stand, per path: the last line of each, unless the file was extracted after it or is
    gone.

    A half-written line (a kill, a full disk) is passed over, and so are empty ones.

    Args:
        keep_gone: those of files that are gone too. Below a root that is not there none is taken to be gone.

    Raises:
        StoreError: the file is there but cannot be read.
    """
    extracted_at = {record.path: record.extracted_at for record in records}
    standing = {
        path: failure
        for path, failure in sorted(_last_lines(store).items())
        if failure.reason != FORGOTTEN and failure.when > extracted_at.get(path, float("-inf"))
    }
    return standing if keep_gone else {path: standing[path] for path in _there(store, standing)}


def _there(store: Path, paths: Iterable[str]) -> list[str]:
    """The paths whose files are there, or may be when their disk is mounted."""
    roots = read_roots(store)
    is_there = {name: root.is_there() for name, root in roots.by_name.items()}
    return [
        path
        for path in paths
        if not is_gone(path) or ((root := roots.of(path)) is not None and not is_there[root.name])
    ]


def tidy_failures(store: Path, records: Iterable[VideoRecord]) -> None:
    """Write the list of failures anew where most of its lines say nothing any more.

    A line that another process adds in this moment may be lost; its file is then tried once more.

    Raises:
        StoreError: the file cannot be read or written.
    """
    path = store / FAILURES_NAME
    standing = read_failures(store, records).values()
    try:
        num_lines = sum(bool(line.strip()) for line in path.read_bytes().splitlines())
    except OSError:
        return
    if num_lines > 2 * len(standing):
        write_whole(path, "".join(f"{json.dumps(asdict(failure))}\n" for failure in standing).encode())


def _last_lines(store: Path) -> dict[str, Failure]:
    last: dict[str, Failure] = {}
    to_do = "make it readable, or move it away to forget the failures"
    for line in read_lines(store / FAILURES_NAME, to_do=to_do):
        failure = _parsed(line)
        if failure is not None:
            last[failure.path] = failure
    return last


def _parsed(line: str) -> Failure | None:
    try:
        failure = Failure(**json.loads(line))
    except (ValueError, TypeError, RecursionError):
        return None
    words = (failure.path, failure.reason, failure.detail)
    sound = all(isinstance(word, str) for word in words) and isinstance(failure.when, (int, float))
    return failure if sound else None
