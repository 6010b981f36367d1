"""Waiting for changes below some paths, so that an extraction can be run again when they have settled."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from vtrcli.errors import UsageError
from vtrcli.video.files import is_unfinished

# A file that is still being copied changes all the time: nothing is done with it before it was quiet for so long.
SETTLE_SECONDS = 2.0
# Others wait for it no longer than this, so that a burst is done at once and a recording starves nobody.
LONGEST_WAIT_SECONDS = 10.0


@dataclass(frozen=True)
class Changes:
    """`num_settled` files changed and are quiet now; those of `unsettled` are still being written."""

    num_settled: int
    unsettled: frozenset[Path]


class Quiet:
    """Tells which files are quiet, from the times at which they changed.

    Args:
        settle_seconds: how long a file must not have changed.
        longest_wait_seconds: how long quiet files wait for the others of their burst.
    """

    def __init__(self, *, settle_seconds: float, longest_wait_seconds: float) -> None:
        self._settle, self._longest = settle_seconds, longest_wait_seconds
        self._changed_at: dict[Path, float] = {}
        self._waiting_since: float | None = None

    def note(self, paths: Iterable[Path], now: float) -> None:
        """These files changed now."""
        for path in paths:
            self._changed_at[path] = now

    def take(self, now: float) -> Changes | None:
        """The files that are quiet, each told once; None while there is nothing to do, or something to wait for."""
        settled = [path for path, at in self._changed_at.items() if now - at >= self._settle]
        if not settled:
            self._waiting_since = None
            return None
        self._waiting_since = now if self._waiting_since is None else self._waiting_since
        is_over = now - self._waiting_since >= self._longest
        if len(settled) < len(self._changed_at) and not is_over:
            return None
        for path in settled:
            del self._changed_at[path]
        self._waiting_since = None
        return Changes(len(settled), frozenset(self._changed_at))


def settled_changes(
    paths: Sequence[Path], *, store: Path, should_stop: Callable[[], bool] = lambda: False
) -> Iterator[Changes]:
    """No change as soon as the paths are watched: what came before that must be looked for; then the files that
    changed, each once it was quiet for SETTLE_SECONDS, with those that still change.

    The store's own files, hidden ones and unfinished downloads do not count. Ends when `should_stop` says so, which is
    asked at least every SETTLE_SECONDS; KeyboardInterrupt goes to the caller.

    Raises:
        UsageError: a path that cannot be watched.
    """
    import watchfiles

    roots = [path.absolute() for path in paths]
    own = store.absolute()

    def counts(path: Path) -> bool:
        return (
            own not in (path, *path.parents) and not _is_hidden(path, roots) and not is_unfinished(path.name)
        )

    quiet = Quiet(settle_seconds=SETTLE_SECONDS, longest_wait_seconds=LONGEST_WAIT_SECONDS)
    is_first = True
    try:
        for changes in watchfiles.watch(
            *roots,
            watch_filter=None,  # what does not count must not keep us waiting either
            debounce=200,
            rust_timeout=int(SETTLE_SECONDS * 500),
            yield_on_timeout=True,
            raise_interrupt=True,
        ):
            quiet.note(filter(counts, (Path(name) for _, name in changes)), time.monotonic())
            if should_stop():
                return
            if is_first:
                is_first = False
                yield Changes(0, frozenset())
            settled = quiet.take(time.monotonic())
            if settled is not None:
                yield settled
    except OSError as cause:
        raise UsageError(
            f"cannot watch {', '.join(map(str, paths))}: {cause}",
            allowed="files and folders that are there",
            to_do="check the paths, or run `vtr extract` from time to time instead",
        ) from cause


def _is_hidden(path: Path, roots: Sequence[Path]) -> bool:
    """Whether a part of the path below the watched folder begins with a dot."""
    for root in roots:
        if path.is_relative_to(root):
            return any(part.startswith(".") for part in path.relative_to(root).parts)
    return False
