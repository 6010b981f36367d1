"""Waiting for changes below some paths, so that an extraction can be run again when they have settled."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from vtrcli.errors import UsageError

# A file that is still being copied changes all the time: nothing is done before it was quiet for so long.
SETTLE_SECONDS = 2.0


def settled_changes(
    paths: Sequence[Path], *, store: Path, should_stop: Callable[[], bool] = lambda: False
) -> Iterator[int]:
    """0 as soon as the paths are watched: what came before that must be looked for; then, after every burst of
    changes and once nothing changed for SETTLE_SECONDS, the number of files that did.

    The store's own files and hidden ones do not count. Ends when `should_stop` says so, which is asked at least every
    SETTLE_SECONDS; KeyboardInterrupt goes to the caller.

    Raises:
        UsageError: a path that cannot be watched.
    """
    import watchfiles

    roots = [path.absolute() for path in paths]
    own = store.absolute()

    def counts(change: watchfiles.Change, name: str) -> bool:
        path = Path(name)
        return own not in (path, *path.parents) and not _is_hidden(path, roots)

    changed: set[str] = set()
    is_first = True
    try:
        for changes in watchfiles.watch(
            *roots,
            watch_filter=counts,
            debounce=200,
            rust_timeout=int(SETTLE_SECONDS * 1000),
            yield_on_timeout=True,
            raise_interrupt=True,
        ):
            if changes:
                changed |= {name for _, name in changes}
            elif should_stop():
                return
            elif changed or is_first:
                yield len(changed)
                changed.clear()
                is_first = False
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
