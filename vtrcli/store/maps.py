"""Many mapped files at once. A mapping holds a file descriptor, and most systems allow a process a thousand."""

from __future__ import annotations

import contextlib
import mmap
from collections.abc import Sequence
from pathlib import Path

from vtrcli.errors import StoreError

SPARE_DESCRIPTORS, FILES_PER_PATH = 256, 3


class Maps:
    """Files mapped when they are first asked for."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths
        self._maps: dict[int, mmap.mmap] = {}
        # Tables that were derived from each file are mapped beside it.
        _allow(FILES_PER_PATH * len(paths) + SPARE_DESCRIPTORS)

    def __getitem__(self, number: int) -> mmap.mmap:
        """The bytes of a file, read-only. Raises StoreError when it has gone or cannot be mapped."""
        if number not in self._maps:
            path = self._paths[number]
            try:
                with open(path, "rb") as file:
                    self._maps[number] = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            except (OSError, ValueError) as cause:
                raise StoreError(
                    f"{path} cannot be mapped: {getattr(cause, 'strerror', None) or cause}",
                    allowed="a shard that stays where it is while it is searched",
                    to_do="search again; raise the limit of open files (`ulimit -n`) if it says too many",
                ) from cause
        return self._maps[number]


def _allow(num_files: int) -> None:
    """Raise this process's own limit of open files as far as the system lets it."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < num_files:
        most = num_files if hard == resource.RLIM_INFINITY else min(num_files, hard)
        with contextlib.suppress(ValueError, OSError):  # macOS has a lower limit than it says
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
