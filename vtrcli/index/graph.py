"""An approximate index: usearch's HNSW graph over the rows of derived tables, mapped, extended when shards come.

The graph proposes rows; what they score is computed exactly elsewhere. It lies in the user's own cache folder and
never in the store: usearch reads its file without checks, so a file from elsewhere must not reach it. Two files: the
graph, and a description of the shards in it, which is written last.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vtrcli.errors import StoreError
from vtrcli.files import replacing, write_whole
from vtrcli.index.catalog import Catalog
from vtrcli.index.derived import current_rows
from vtrcli.store.config import MALFORMED, make_folder

# Measured by benchmarks/search_vectors.py on a million rows (docs/experiments.md).
CONNECTIVITY, EXPANSION_ADD, EXPANSION_SEARCH = 16, 128, 2048
# A graph with more dead rows than this share is made anew.
MAX_DEAD_SHARE = 0.25
ADD_ROWS = 16_384


@dataclass(frozen=True)
class RowTable:
    """Rows of one shard: `vectors` float16 [num_rows, width], and `positions` int64 [num_rows], the number of each
    row's video among those of the shard."""

    vectors: np.ndarray
    positions: np.ndarray


class Graph:
    """A graph that covers all shards of a catalogue."""

    def __init__(self, index: Any, videos: np.ndarray) -> None:
        self._index, self._videos = index, videos

    def nearest_videos(self, query: np.ndarray, *, num_rows: int) -> list[int]:
        """Current videos that own one of the `num_rows` rows nearest to a query, nearest first, each once."""
        self._index.expansion_search = max(EXPANSION_SEARCH, num_rows)
        keys = self._index.search(query.astype(np.float16), num_rows).keys
        videos = self._videos[np.asarray(keys, np.int64)]
        return list(dict.fromkeys(videos[videos >= 0].tolist()))

    @property
    def num_rows(self) -> int:
        """Rows of current videos."""
        return int((self._videos >= 0).sum())


def has_graph(store: Path, name: str) -> bool:
    """Whether a graph of that name was ever made."""
    return _description_path(store, name).exists()


def open_graph(
    catalog: Catalog,
    name: str,
    tables: Sequence[RowTable],
    *,
    on_progress: Callable[[int, int], None] = lambda num_done, total: None,
) -> Graph:
    """The graph over the tables of a catalogue's shards: mapped if it is up to date, else extended or made.

    Args:
        on_progress: (rows in it, rows wanted) while it grows.

    Raises:
        StoreError: it cannot be written.
    """
    from filelock import FileLock

    make_folder(_folder(catalog.store))
    with FileLock(_folder(catalog.store) / f"{name}.lock"):
        return _updated(catalog, name, tables, on_progress)


def _updated(
    catalog: Catalog, name: str, tables: Sequence[RowTable], on_progress: Callable[[int, int], None]
) -> Graph:
    by_name = dict(zip(catalog.shard_keys, tables, strict=True))
    width = tables[0].vectors.shape[1]
    known = _read_description(catalog, name, width=width)
    index = None
    if known is not None:
        videos = _videos_of(catalog, known.shards, by_name)
        num_live = int((videos >= 0).sum())
        is_complete = len(known.shards) == len(catalog.shard_keys)
        if num_live >= (1 - MAX_DEAD_SHARE) * known.num_vectors:
            index = _load(_graph_path(catalog.store, name), known, mapped=is_complete)
        if index is not None and is_complete:
            return Graph(index, videos)
    there = list(known.shards) if known is not None and index is not None else []
    index = index if index is not None else _new_index(width)
    names = {shard for shard, _ in there}
    added = [(shard, len(by_name[shard].vectors)) for shard in catalog.shard_keys if shard not in names]
    shards = [*there, *added]
    videos = _videos_of(catalog, shards, by_name)
    first_key = sum(num_rows for _, num_rows in there)
    _add(index, [by_name[shard].vectors for shard, _ in added], videos, first_key, on_progress)
    _save(catalog.store, name, index, _Description(width, len(index), tuple(shards)))
    return Graph(index, videos)


@dataclass(frozen=True)
class _Description:
    """What is in a graph: its keys count the rows of `shards` (name, number of rows) one after the other; rows that
    belonged to no current video when they came are left out of the `num_vectors`."""

    width: int
    num_vectors: int
    shards: tuple[tuple[str, int], ...]


def _videos_of(
    catalog: Catalog, shards: Sequence[tuple[str, int]], tables: dict[str, RowTable]
) -> np.ndarray:
    """int64 [rows of the graph]: the current video that owns each row, -1 for none."""
    number = {shard: place for place, shard in enumerate(catalog.shard_keys)}
    first = catalog.first_videos
    current = np.full(int(first[-1]), -1)
    current[current_rows(catalog)] = np.arange(catalog.num_videos)
    parts = [np.zeros(0, np.int64)]
    for shard, num_rows in shards:
        table = tables.get(shard)
        if table is None or len(table.positions) != num_rows:
            parts.append(np.full(num_rows, -1))
        else:  # a position out of bounds, in a table from elsewhere, must not reach another shard's videos
            place = number[shard]
            positions = np.clip(table.positions, 0, int(catalog["shard_videos"][place]) - 1)
            parts.append(current[first[place] + positions])
    return np.concatenate(parts)


def _new_index(width: int) -> Any:
    from usearch.index import Index

    return Index(
        ndim=width,
        metric="ip",
        dtype="f16",
        connectivity=CONNECTIVITY,
        expansion_add=EXPANSION_ADD,
        expansion_search=EXPANSION_SEARCH,
    )


def _add(
    index: Any,
    blocks: Sequence[np.ndarray],
    videos: np.ndarray,
    first_key: int,
    on_progress: Callable[[int, int], None],
) -> None:
    """Add the rows that belong to a current video; `videos` int64 [all keys]."""
    total = len(index) + int((videos[first_key:] >= 0).sum())
    for block in blocks:
        for start in range(0, len(block), ADD_ROWS):
            rows = block[start : start + ADD_ROWS]
            keys = np.arange(first_key, first_key + len(rows))
            live = videos[keys] >= 0
            index.add(keys[live].astype(np.uint64), np.ascontiguousarray(rows[live]), threads=0)
            first_key += len(rows)
            on_progress(len(index), total)


def _load(path: Path, known: _Description, *, mapped: bool) -> Any:
    """None where the file cannot be used."""
    from usearch.index import Index

    try:
        index = Index.restore(path, view=mapped)
    except Exception:  # usearch raises bare exceptions of several kinds for a file that it cannot read
        return None
    fits = index is not None and len(index) == known.num_vectors and index.ndim == known.width
    return index if fits else None


def _save(store: Path, name: str, index: Any, description: _Description) -> None:
    with replacing(_graph_path(store, name)) as temporary:
        try:
            index.save(temporary)
        except Exception as cause:  # as above
            raise StoreError(
                f"cannot write the approximate index of {store}: {cause}",
                allowed="the store's folder must be writable and the disk must have room",
                to_do="free some space, or search without --approximate",
            ) from cause
    write_whole(_description_path(store, name), json.dumps(asdict(description)).encode())


def _read_description(catalog: Catalog, name: str, *, width: int) -> _Description | None:
    """None where there is none, or the graph holds a shard that has gone: its rows may count again or not."""
    try:
        body = json.loads(_description_path(catalog.store, name).read_text(encoding="utf-8"))
        shards = tuple((str(shard), int(num_rows)) for shard, num_rows in body["shards"])
        found = _Description(int(body["width"]), int(body["num_vectors"]), shards)
    except MALFORMED:
        return None
    names = [shard for shard, _ in shards]
    fits = set(names) <= set(catalog.shard_keys) and len(set(names)) == len(names)
    return found if fits and found.width == width and all(num_rows >= 0 for _, num_rows in shards) else None


def _graph_path(store: Path, name: str) -> Path:
    return _folder(store) / f"{name}.usearch"


def _description_path(store: Path, name: str) -> Path:
    return _folder(store) / f"{name}.json"


def _folder(store: Path) -> Path:
    """Of the graphs of a store, found by where the store lies."""
    import platformdirs

    place = hashlib.sha256(os.fsencode(os.path.realpath(store))).hexdigest()[:32]
    return platformdirs.user_cache_path("vtr", appauthor=False) / "graphs" / place
