"""What is made from a store and kept in its `index/`: the catalogue, tables with a file per shard, vectors of queries.

All of it is kept one way: a safetensors file whose metadata say what it was made from. One that is missing, damaged or
made from something else is made again; where nothing can be written, it is made each time. Tables lie in
`index/<name>/<shard>`, so that a new shard costs its own file and nothing else; files of shards that have gone are
removed.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from vtrcli.errors import StoreError
from vtrcli.files import write_whole
from vtrcli.store.catalog import Catalog
from vtrcli.store.config import INDEX_FOLDER, MALFORMED, SHARD_FOLDER, delete_file, make_folder
from vtrcli.store.reader import NUMBER_DIGITS, open_shard_of, shard_paths
from vtrcli.store.shard import DTYPES, Shard, TensorFile, open_tensors, tensor_bytes

DERIVED_FORMAT = "vtr-derived"

Table = dict[str, Any]  # arrays, or `Rows` of what is large
_T = TypeVar("_T")


def read_kept(
    path: Path, *, file_format: str, made_from: Mapping[str, str], read: Callable[[TensorFile], _T]
) -> _T | None:
    """What `read` makes of a file that `write_kept` wrote; None where there is none, or none that can be used.

    Args:
        made_from: what the metadata must say.
        read: raises StoreError, or what a damaged file may raise, for one that cannot be used.

    Raises:
        StoreError: too many open files: it is there, and making it again would not help.
    """
    try:
        file = open_tensors(path, file_format=file_format, called="what vtr keeps there")
        if any(file.metadata.get(key, "") != value for key, value in made_from.items()):
            return None
        return read(file)
    except StoreError as error:
        if getattr(error.__cause__, "errno", None) in (errno.EMFILE, errno.ENFILE):
            raise
        return None
    except MALFORMED:
        return None


def write_kept(
    path: Path, tensors: dict[str, np.ndarray], *, file_format: str, metadata: Mapping[str, str]
) -> None:
    """Keep tensors; not where the store may only be read."""
    with contextlib.suppress(StoreError, OSError):
        make_folder(path.parent)
        write_whole(path, tensor_bytes(tensors, file_format, metadata))


def keep_newest(folder: Path, number: int) -> None:
    """Delete the files that were used longest ago when there are more than `number`, so that there is room again.

    Raises:
        StoreError: one cannot be deleted, or the folder leads out of the store.
    """
    paths = kept_paths(folder)
    if len(paths) > number:
        oldest_first = sorted(paths, key=lambda path: path.stat().st_mtime_ns)
        for path in oldest_first[: len(paths) - number * 3 // 4]:
            delete_file(path)


def kept_paths(folder: Path) -> list[Path]:
    """The files that are kept in a folder."""
    return sorted(folder.glob("[!.]*.safetensors"))


@dataclass(frozen=True, kw_only=True)
class TableSpec:
    """What a derived table holds, a row per video of the shard, in their order: per tensor its type (F16, F32, I64) and
    width (None: one number per row).

    Attributes:
        name: names the folder; must change with everything that the rows depend on, except for the shard.
        version: of the rule by which the rows are computed; others are computed again.
    """

    name: str
    tensors: Mapping[str, tuple[str, int | None]]
    version: int


def derived_tables(
    catalog: Catalog,
    spec: TableSpec,
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
    folder = catalog.store / INDEX_FOLDER / spec.name
    sizes = catalog["shard_videos"].tolist()
    made_from = [{"shard": key, "rule": str(spec.version)} for key in catalog.shard_keys]
    tables = [
        _read(folder / name, spec, made_from[number], num_videos=sizes[number])
        for number, name in enumerate(catalog.shard_names)
    ]
    missing = [number for number, table in enumerate(tables) if table is None]
    for done, number in enumerate(missing):
        on_progress(done, len(missing))
        path = catalog.store / SHARD_FOLDER / catalog.shard_names[number]
        computed = compute(open_shard_of(catalog.config, path))
        table = {
            name: np.ascontiguousarray(computed[name], DTYPES[dtype])
            for name, (dtype, _) in spec.tensors.items()
        }
        write_kept(folder / path.name, table, file_format=DERIVED_FORMAT, metadata=made_from[number])
        tables[number] = table
    if missing:
        on_progress(len(missing), len(missing))
        with contextlib.suppress(OSError, StoreError):
            _sweep(folder, set(catalog.shard_names))
    return [table for table in tables if table is not None]


def current_rows(catalog: Catalog) -> np.ndarray:
    """int64 [num_videos]: where the current videos stand among the rows of all tables."""
    rows: np.ndarray = catalog.first_videos[catalog["video_shard"]] + catalog["video_position"]
    return rows


def _read(path: Path, spec: TableSpec, made_from: Mapping[str, str], *, num_videos: int) -> Table | None:
    if not num_videos:  # a shard that only takes videos away
        return {
            name: np.zeros((0,) if width is None else (0, width), DTYPES[dtype])
            for name, (dtype, width) in spec.tensors.items()
        }

    def table(file: TensorFile) -> Table:
        for name, (dtype, width) in spec.tensors.items():
            file.require(name, dtype, (num_videos, *([] if width is None else [width])))
        # A mapping holds a descriptor of which there are few: what is small is read.
        return {
            name: file.tensor(name) if width is None else file.rows(name, is_mapped=True)
            for name, (_, width) in spec.tensors.items()
        }

    return read_kept(path, file_format=DERIVED_FORMAT, made_from=made_from, read=table)


def remove_orphans(store: Path) -> int:
    """Delete the tables of shards that have gone, of whatever kind; returns the bytes that they took.

    Raises:
        StoreError: a table cannot be deleted.
    """
    shard_names = {path.name for path in shard_paths(store)}
    return sum(_sweep(folder, shard_names) for folder in sorted((store / INDEX_FOLDER).glob("*/")))


def remove_tables(store: Path, prefix: str) -> None:
    """Delete, as far as that can be done, the tables whose names begin with `prefix`."""
    for folder in (store / INDEX_FOLDER).glob(f"{prefix}*"):
        with contextlib.suppress(OSError, StoreError):
            _sweep(folder, set())
            folder.rmdir()


def _sweep(folder: Path, shard_names: set[str]) -> int:
    """Delete the tables of other shards than these; returns their bytes. Raises StoreError."""
    num_bytes = 0
    for path in kept_paths(folder):
        # Vectors of queries lie in such a folder too; their names are hashes.
        is_of_shard = path.name[:NUMBER_DIGITS].isdecimal() and path.name[NUMBER_DIGITS] in "-_"
        if is_of_shard and path.name not in shard_names:
            num_bytes += path.stat().st_size
            delete_file(path)
    return num_bytes
