"""Which files are surely what a store holds already: by their stat alone, out of the store's catalogue.

What most files of most runs need is nothing. They become no objects, and if all of them are so, no shard's list of
videos is read: a million files cost their names and their stats.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

import numpy as np

from vtrcli.errors import VtrError
from vtrcli.store.catalog import CHUNK_NAMES, Catalog, NumberOf, masked
from vtrcli.store.catalog_file import CATALOG_NAME, open_catalog
from vtrcli.store.config import INDEX_FOLDER
from vtrcli.store.failures import read_failures

_LAST_TIME = 2**63 - 1  # nanoseconds that stand for all later ones


class Unchanged:
    """The files of a store's videos, by path; it remembers which of them it was asked about.

    Not among them: what another stored video has the path of, and what is known to have failed; for these the worklist
    has its rules.

    Args:
        failed: paths of failures that stand.
    """

    def __init__(self, catalog: Catalog, failed: Collection[str] = ()) -> None:
        self.catalog = catalog
        self._failed = failed
        # Sorted hashes of the paths, and whose they are; -1 where that is not one alone.
        known = NumberOf(catalog.paths)
        self._hashes, first, counts = np.unique(known.hashes, return_index=True, return_counts=True)
        self._videos = np.where(counts == 1, known.numbers[first], -1)
        self._body = catalog.paths.body.data
        self._was_seen = np.zeros(catalog.num_videos, bool)

    def __call__(self, paths: list[str], statuses: list[os.stat_result]) -> np.ndarray:
        """bool [num_files]: which files are the ones that were extracted, as `VideoRecord.is_file` tells it."""
        catalog, known = self.catalog, np.zeros(len(paths), bool)
        if not len(self._hashes):
            return known
        hashes = np.fromiter(map(hash, paths), np.int64, len(paths))
        at = np.searchsorted(self._hashes, hashes)
        at[at == len(self._hashes)] = 0
        videos = self._videos[at]

        def is_same(name: str, numbers: Iterable[int]) -> np.ndarray:
            same: np.ndarray = catalog[name][videos] == np.fromiter(numbers, np.int64, len(paths))
            return same

        fits = (self._hashes[at] == hashes) & (videos >= 0) & (catalog["mtime_ns"][videos] < _LAST_TIME)
        fits &= is_same("num_bytes", (status.st_size for status in statuses))
        fits &= is_same("mtime_ns", (min(status.st_mtime_ns, _LAST_TIME) for status in statuses))
        fits &= (
            (catalog["inode"][videos] == -1)
            | is_same("inode", (masked(status.st_ino) for status in statuses))
            | is_same("ctime_ns", (masked(status.st_ctime_ns) for status in statuses))
        )
        for file in np.flatnonzero(fits).tolist():
            known[file] = paths[file] not in self._failed and self._has_path(int(videos[file]), paths[file])
        self._was_seen[videos[known]] = True
        return known

    def ids(self) -> Iterator[str]:
        """Video ids of the files that were known."""
        for first in range(0, self.catalog.num_videos, CHUNK_NAMES):
            seen = self._was_seen[first : first + CHUNK_NAMES]
            if seen.any():
                names = self.catalog.ids[first : first + CHUNK_NAMES]
                yield from (names[number] for number in np.flatnonzero(seen).tolist())

    def has(self, path: str) -> bool:
        """Whether any stored video may have this path."""
        at = np.searchsorted(self._hashes, hash(path))
        return bool(at < len(self._hashes) and self._hashes[at] == hash(path))

    def _has_path(self, video: int, path: str) -> bool:
        start, stop = self.catalog.paths.offsets[video : video + 2].tolist()
        return bool(self._body[start:stop] == path.encode("utf-8", "surrogatepass"))


def unchanged_files(store: Path) -> Unchanged | None:
    """Those of a store that has a catalogue, which is brought up to date; None where it has none (nobody searched yet)
    or where something is odd with the store, which those who read the shards will tell."""
    try:
        if not (store / INDEX_FOLDER / CATALOG_NAME).is_file():
            return None
        catalog = open_catalog(store)
        if catalog.left_out:
            return None
        return Unchanged(catalog, read_failures(store, (), keep_gone=True).keys())
    except VtrError:
        return None
