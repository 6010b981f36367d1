"""Tables derived from the videos of a store, one file per shard: a new shard costs its own file and nothing else.

Vectors of a trained run, shots and the background of a query bank are kept this way, in `index/<name>/<shard>`. A file
belongs to one shard, which never changes; files of shards that have gone are removed.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vtrcli.errors import StoreError
from vtrcli.store.catalog import Catalog
from vtrcli.store.config import INDEX_FOLDER, STORE_VERSION, delete_file, make_folder, require_inside
from vtrcli.store.reader import NUMBER_DIGITS, SHARD_FOLDER, open_shard_of, shard_paths
from vtrcli.store.shard import DTYPES, Shard, open_tensors, write_tensors

DERIVED_FORMAT = "vtr-derived"

Table = dict[str, Any]  # arrays, or `Rows` of what is large


@dataclass(frozen=True, kw_only=True)
class Columns:
    """What a derived table holds: per tensor its type (F16, F32, I64) and width (None: one number per row).

    Attributes:
        name: names the folder; must change with everything that the rows depend on, except for the shard.
        version: of the rule by which the rows are computed; others are computed again.
        per_video: whether a row belongs to each video of the shard, in their order; else there may be any number.
    """

    name: str
    tensors: Mapping[str, tuple[str, int | None]]
    version: int
    per_video: bool = True


def derived_tables(
    catalog: Catalog,
    columns: Columns,
    compute: Callable[[Shard], Table],
    *,
    on_progress: Callable[[int, int], None] = lambda num_done, total: None,
) -> list[Table]:
    """The table of each shard of the catalogue, mapped where it was kept.

    Args:
        compute: the table of a shard that has none yet.
        on_progress: (shards done, shards to do); not called when nothing is to be done.

    Raises:
        StoreError: a shard is damaged.
    """
    folder = catalog.store / INDEX_FOLDER / columns.name
    sizes = catalog["shard_videos"].tolist()
    there = [
        _read(folder / name, columns, shard_key=key, num_videos=size) if size else _empty(columns)
        for name, key, size in zip(catalog.shard_names, catalog.shard_keys, sizes, strict=True)
    ]
    missing = [number for number, table in enumerate(there) if table is None]
    for done, number in enumerate(missing):
        on_progress(done, len(missing))
        path = catalog.store / SHARD_FOLDER / catalog.shard_names[number]
        computed = compute(open_shard_of(catalog.config, path))
        table = {
            name: np.ascontiguousarray(computed[name], DTYPES[dtype])
            for name, (dtype, _) in columns.tensors.items()
        }
        _write(folder / path.name, table, columns, shard_key=catalog.shard_keys[number])
        there[number] = table
    if missing:
        on_progress(len(missing), len(missing))
        _remove_orphans(folder, set(catalog.shard_names))
    return [table for table in there if table is not None]


def current_rows(catalog: Catalog) -> np.ndarray:
    """int64 [num_videos]: where the current videos stand among the rows of all per-video tables."""
    rows: np.ndarray = catalog.first_videos[catalog["video_shard"]] + catalog["video_position"]
    return rows


def _read(path: Path, columns: Columns, *, shard_key: str, num_videos: int) -> Table | None:
    """None where there is no such file, or none that can be used: it is made again."""
    num_rows = num_videos if columns.per_video else None
    try:
        file = open_tensors(path, file_format=DERIVED_FORMAT, called="a derived table")
        if (file.metadata.get("shard"), file.metadata.get("rule")) != (shard_key, str(columns.version)):
            return None
        table: Table = {}
        for name, (dtype, width) in columns.tensors.items():
            num_rows, *_ = file.require(name, dtype, (num_rows, *([] if width is None else [width])))
            # A mapping holds a descriptor of which there are few: what is small is read.
            table[name] = file.tensor(name) if width is None else file.rows(name, is_mapped=True)
        return table
    except StoreError as error:
        if getattr(error.__cause__, "errno", None) in (errno.EMFILE, errno.ENFILE):
            raise  # it is there; computing it again would not help
        return None


def _empty(columns: Columns) -> Table:
    """The table of a shard that only takes videos away."""
    return {
        name: np.zeros((0,) if width is None else (0, width), DTYPES[dtype])
        for name, (dtype, width) in columns.tensors.items()
    }


def _write(path: Path, table: Table, columns: Columns, *, shard_key: str) -> None:
    metadata = {
        "format": DERIVED_FORMAT,
        "version": str(STORE_VERSION),
        "shard": shard_key,
        "rule": str(columns.version),
    }
    with contextlib.suppress(StoreError):  # a store that may only be read is searched all the same
        make_folder(path.parent)
        write_tensors(path, table, metadata)


def remove_orphans(store: Path) -> int:
    """Delete the tables of shards that have gone, of whatever kind; returns the bytes that they took.

    Raises:
        StoreError: a table cannot be deleted.
    """
    shard_names = {path.name for path in shard_paths(store)}
    num_bytes = 0
    for path in sorted((store / INDEX_FOLDER).glob("*/[!.]*.safetensors")):
        # Vectors of queries lie there too; their names are hashes.
        is_of_shard = path.name[:NUMBER_DIGITS].isdecimal() and path.name[NUMBER_DIGITS] in "-_"
        if is_of_shard and path.name not in shard_names:
            num_bytes += path.stat().st_size
            delete_file(path)
    return num_bytes


def _remove_orphans(folder: Path, shard_names: set[str]) -> None:
    with contextlib.suppress(OSError, StoreError):
        require_inside(folder)
        for path in folder.glob("[!.]*.safetensors"):
            if path.name not in shard_names:
                path.unlink()
