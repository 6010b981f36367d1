"""Archives of features, as they lie in files: an array per video, a matrix with a table of ids and times, or Parquet.

What vtr exports says more of itself: `export.json` (backbone, sampling, preprocessing) and `videos.jsonl` (each
video's id, rows, length and size). Archives of others are their arrays alone.
"""

from __future__ import annotations

import csv
import json
import os
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import groupby, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vtrcli.errors import InputError, UsageError, brief
from vtrcli.store.arrays import ARRAY_SUFFIXES, BadArrayError, read_arrays
from vtrcli.store.config import MALFORMED, is_store
from vtrcli.text_files import decoded_lines

ARCHIVE_FORMAT, ARCHIVE_VERSION = "vtr-export", 1
MANIFEST, VIDEOS = "export.json", "videos.jsonl"
MATRIX, TABLE, PARQUET = "features.npy", "rows.csv", "features.parquet"
FEATURES, SECONDS = "features", "timestamps"  # arrays of a .npz; moment_detr and lighthouse read the first
# What people call them in tables.
ID_COLUMNS = ("video_id", "vid", "video", "id")
SECONDS_COLUMNS = ("seconds", SECONDS, "timestamp", "time")
EMBEDDING_COLUMNS = ("embedding", FEATURES, "feature")
BATCH_ROWS = 16_384


class Loaded(NamedTuple):
    """Features [num_frames, dim] of any number format, and the times of the rows, [num_frames] seconds, if known."""

    features: np.ndarray
    seconds: np.ndarray | None


@dataclass(frozen=True)
class Entry:
    """One video of an archive. `load` raises BadArrayError."""

    video_id: str
    path: Path
    load: Callable[[], Loaded]


@dataclass(frozen=True)
class Archive:
    """What lies in a file or folder.

    Attributes:
        num_videos: None where only reading tells.
        manifest: what `export.json` says; None for archives of others.
        facts: per video id what `videos.jsonl` says of it.
    """

    path: Path
    layout: str
    entries: Callable[[], Iterator[Entry]]
    num_videos: int | None = None
    manifest: dict[str, Any] | None = None
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)


def open_archive(path: Path, *, table: Path | None = None, key: str | None = None) -> Archive:
    """Find out how the features in a file or folder lie; reads no features.

    Args:
        table: a CSV file with a row for each row of a matrix: id, and if known the time.
        key: the array's name, where files hold several.

    Raises:
        InputError: nothing there, no features, or a table that does not fit.
    """
    if not path.exists():
        raise InputError(
            f"{path}: no such file or folder",
            allowed="a folder of features, or one file",
            to_do="check the path",
        )
    names = (key,) if key else (FEATURES,)
    if is_store(path):
        raise InputError(
            f"{path} is a feature store",
            allowed="features that are no store yet",
            to_do="use it as it is: --store takes it",
        )
    if path.is_file():
        return _of_file(path, table, names)
    return _of_folder(path, table, names)


def _of_folder(path: Path, table: Path | None, names: tuple[str, ...]) -> Archive:
    manifest = _manifest(path / MANIFEST)
    lines = _video_lines(path / VIDEOS) if manifest else []
    facts = {line["video_id"]: line for line in lines}
    files = list(array_files(path))
    if parquet := sorted(path.glob("*.parquet")):
        spans = lines if manifest else None
        return Archive(
            path, "parquet", lambda: _parquet_entries(parquet, spans), len(lines) or None, manifest, facts
        )
    table = table or (path / TABLE if (path / TABLE).is_file() else None)
    if table is not None:
        if len(files) != 1:
            raise InputError(
                f"{path} holds {len(files):,} arrays beside a table of rows",
                allowed="one matrix, whose rows the table names",
                to_do="name the matrix itself: `vtr store import MATRIX.npy --table TABLE.csv`",
            )
        found = _of_matrix(files[0], table, names, lines)
        return Archive(path, found.layout, found.entries, found.num_videos, manifest, facts)
    if not files:
        raise InputError(
            f"{path} holds no features",
            allowed=f"files that end in {', '.join((*ARRAY_SUFFIXES, '.parquet'))}",
            to_do="check the folder",
        )
    id_of = {line["file"]: line["video_id"] for line in lines if "file" in line}
    ids = _ids_of_files(path, files, id_of)
    return Archive(
        path,
        "files",
        lambda: (_entry_of_file(name, file, names) for name, file in ids.items()),
        len(ids),
        manifest,
        facts,
    )


def _of_file(path: Path, table: Path | None, names: tuple[str, ...]) -> Archive:
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return Archive(path, "parquet", lambda: _parquet_entries([path], None))
    if suffix not in ARRAY_SUFFIXES:
        raise UsageError(
            f"{path}: a file of type {suffix or 'without suffix'}",
            allowed=f"features are read from {', '.join((*ARRAY_SUFFIXES, '.parquet'))}",
            to_do="save them as .npz or .npy",
        )
    if table is not None:
        return _of_matrix(path, table, names, [])
    return Archive(path, "files", lambda: iter([_entry_of_file(path.stem, path, names)]), 1)


def array_files(folder: Path) -> Iterator[Path]:
    """Files of features in it and below, sorted; links to folders are not followed, hidden ones left out."""
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in ARRAY_SUFFIXES:
                yield Path(parent, name)


def _ids_of_files(folder: Path, files: list[Path], id_of: dict[str, str]) -> dict[str, Path]:
    """Video id -> file: what the archive says, else the path below the folder without its suffix."""
    found: dict[str, Path] = {}
    for file in files:
        relative = file.relative_to(folder).as_posix()
        video_id = id_of.get(relative, relative[: -len(file.suffix)])
        if video_id in found:
            raise InputError(
                f"{found[video_id]} and {file} are both features of {video_id!r}",
                allowed="one file per video",
                to_do="move one of them away",
            )
        found[video_id] = file
    return found


def _entry_of_file(video_id: str, path: Path, names: tuple[str, ...]) -> Entry:
    def load() -> Loaded:
        arrays = read_arrays(path, names, optional=(SECONDS,))
        seconds = arrays.pop(SECONDS, None)
        return Loaded(next(iter(arrays.values())), seconds)

    return Entry(video_id, path, load)


def _of_matrix(path: Path, table: Path, names: tuple[str, ...], lines: list[dict[str, Any]]) -> Archive:
    spans, seconds = _read_table(table)
    if lines:
        spans = list(_spans_of(lines))
    else:
        _require_together([name for name, _, _ in spans], table)
    try:
        matrix = next(iter(read_arrays(path, names).values()))
    except BadArrayError as cause:
        raise InputError(
            f"{path}: {cause}", allowed="a matrix of numbers, [num_rows, dim]", to_do="check the file"
        ) from cause
    num_rows = spans[-1][2] if spans else 0
    if matrix.ndim != 2 or len(matrix) != num_rows or (seconds is not None and len(seconds) != num_rows):
        raise InputError(
            f"{path} has the shape {list(matrix.shape)}, {table} {num_rows:,} rows",
            allowed="a row of the table for each row of the matrix",
            to_do="use the two files that belong together",
        )

    def entry(video_id: str, start: int, stop: int) -> Entry:
        times = None if seconds is None else seconds[start:stop]
        return Entry(video_id, path, lambda: Loaded(matrix[start:stop], times))

    return Archive(path, "matrix", lambda: (entry(*span) for span in spans), len(spans))


def _spans_of(lines: list[dict[str, Any]]) -> Iterator[tuple[str, int, int]]:
    start = 0
    for line in lines:
        yield line["video_id"], start, start + line["num_frames"]
        start += line["num_frames"]


def _read_table(path: Path) -> tuple[list[tuple[str, int, int]], np.ndarray | None]:
    """(id, first row, row behind the last) per video, and float32 [num_rows] seconds if the table has them."""
    starts: list[tuple[str, int]] = []
    seconds = array("f")
    number = 0
    try:
        with open(path, "rb") as file:
            rows = csv.reader(decoded_lines(file, name=str(path)))
            header = [name.strip().lower() for name in next(rows, [])]
            id_at, seconds_at = _column(header, ID_COLUMNS), _column(header, SECONDS_COLUMNS)
            if id_at is None:
                raise ValueError(f"its first line names no column {' or '.join(ID_COLUMNS)}")
            for number, row in enumerate(filter(None, rows)):
                if not starts or row[id_at] != starts[-1][0]:
                    starts.append((row[id_at], number))
                if seconds_at is not None:
                    seconds.append(float(row[seconds_at]))
    except (OSError, ValueError, IndexError, OverflowError, csv.Error) as cause:
        raise InputError(
            f"{path} cannot be used, row {number + 1}: {brief(cause)}",
            allowed="a CSV file with a column video_id and, if known, seconds",
            to_do="mend the table",
        ) from cause
    num_rows = number + 1 if starts else 0
    stops = [start for _, start in islice(starts, 1, None)]
    spans = [(name, start, stop) for (name, start), stop in zip(starts, [*stops, num_rows], strict=True)]
    return spans, np.frombuffer(seconds, np.float32) if seconds_at is not None else None


def _column(header: list[str], names: tuple[str, ...]) -> int | None:
    return next((header.index(name) for name in names if name in header), None)


def _require_together(ids: list[str], path: Path) -> None:
    seen: set[str] = set()
    for name in ids:
        if name in seen:
            raise _scattered(name, path)
        seen.add(name)


def _scattered(video_id: str, path: Path) -> InputError:
    return InputError(
        f"{path}: the rows of {video_id!r} stand in two places",
        allowed="all rows of a video one after the other, in the order of their times",
        to_do="sort the rows by video",
    )


def _manifest(path: Path) -> dict[str, Any] | None:
    try:
        body = json.loads(path.read_bytes())
        if body["format"] != ARCHIVE_FORMAT:
            return None
        if body["version"] > ARCHIVE_VERSION:
            raise InputError(
                f"{path} has version {body['version']}",
                allowed=f"this vtr reads archives up to version {ARCHIVE_VERSION}",
                to_do="update vtr: pip install -U vtrcli",
            )
        return dict(body)
    except FileNotFoundError:
        return None
    except MALFORMED as cause:
        raise _damaged(path, cause) from cause


def _video_lines(path: Path) -> list[dict[str, Any]]:
    """What an export says of its videos, in the order of their rows."""
    try:
        lines = [json.loads(line) for line in path.read_bytes().splitlines() if line.strip()]
        for line in lines:
            if (
                type(line["num_frames"]) is not int
                or line["num_frames"] < 1
                or not isinstance(line["video_id"], str)
                or not isinstance(line.get("file", ""), str)
            ):
                raise ValueError(f"{str(line)[:80]} is no video")
    except MALFORMED as cause:
        raise _damaged(path, cause) from cause
    _require_together([line["video_id"] for line in lines], path)
    return lines


def _damaged(path: Path, cause: Exception) -> InputError:
    return InputError(
        f"{path} cannot be read: {brief(cause)}",
        allowed="what `vtr store export` wrote",
        to_do=f"get the archive again, or delete {MANIFEST} to import its arrays alone",
    )


def pyarrow() -> Any:
    """The package. Raises UsageError where it is not installed."""
    try:
        import pyarrow.parquet
    except ImportError as cause:
        raise UsageError(
            "Parquet needs the package pyarrow",
            allowed="npz and npy need no other package",
            to_do="install it: pip install 'vtrcli[parquet]'",
        ) from cause
    return pyarrow


def _parquet_entries(paths: list[Path], lines: list[dict[str, Any]] | None) -> Iterator[Entry]:
    """One video after the other; no more than one video and one batch of rows is in memory."""
    if lines is not None:
        yield from _cut_by(lines, paths)
        return
    seen: set[str] = set()
    for video_id, group in groupby(_parquet_rows(paths), key=lambda row: row[0]):
        if video_id in seen:
            raise _scattered(video_id, paths[0])
        seen.add(video_id)
        pieces = [(path, loaded) for _, path, loaded in group]
        yield _joined(video_id, pieces[0][0], [loaded for _, loaded in pieces])


def _cut_by(lines: list[dict[str, Any]], paths: list[Path]) -> Iterator[Entry]:
    pieces = _parquet_rows(paths)
    rest: list[Loaded] = []
    for line in lines:
        num_rows, path = line["num_frames"], paths[0]
        while sum(len(piece.features) for piece in rest) < num_rows:
            _, path, piece = next(pieces, ("", path, None))
            if piece is None:
                raise InputError(
                    f"{paths[0]} ends within the rows of {line['video_id']!r}",
                    allowed=f"the rows that {VIDEOS} counts",
                    to_do="get the archive again",
                )
            rest.append(piece)
        whole = _join(rest)
        yield _joined(line["video_id"], path, [_part(whole, slice(0, num_rows))])
        rest = [_part(whole, slice(num_rows, None))]


def _part(rows: Loaded, part: slice) -> Loaded:
    return Loaded(rows.features[part], None if rows.seconds is None else rows.seconds[part])


def _join(pieces: list[Loaded]) -> Loaded:
    if len(pieces) == 1:
        return pieces[0]
    seconds = [piece.seconds for piece in pieces if piece.seconds is not None]
    return Loaded(
        np.concatenate([piece.features for piece in pieces]), np.concatenate(seconds) if seconds else None
    )


def _joined(video_id: str, path: Path, pieces: list[Loaded]) -> Entry:
    return Entry(video_id, path, lambda: _join(pieces))


def _parquet_rows(paths: list[Path]) -> Iterator[tuple[str, Path, Loaded]]:
    """Runs of rows of one video, batch by batch: (id, file, rows)."""
    arrow = pyarrow()
    for path in paths:
        try:
            file = arrow.parquet.ParquetFile(path, pre_buffer=False)  # else all that was read stays in memory
            names = file.schema_arrow.names
            id_at, value_at, seconds_at = (
                next((name for name in known if name in names), None)
                for known in (ID_COLUMNS, EMBEDDING_COLUMNS, SECONDS_COLUMNS)
            )
            if id_at is None or value_at is None:
                raise ValueError(f"its columns are {', '.join(names[:8])}")
            columns = [id_at, value_at, *([seconds_at] if seconds_at else [])]
            for batch in file.iter_batches(BATCH_ROWS, columns=columns):
                features = _matrix_of(batch.column(value_at))
                seconds = np.asarray(batch.column(seconds_at), np.float32) if seconds_at else None
                ids, start = [str(name) for name in batch.column(id_at).to_pylist()], 0
                for video_id, group in groupby(ids):
                    rows = slice(start, start := start + sum(1 for _ in group))
                    yield video_id, path, _part(Loaded(features, seconds), rows)
        except (arrow.ArrowException, OSError, ValueError, TypeError, KeyError) as cause:
            raise InputError(
                f"{path} cannot be used: {brief(cause)}",
                allowed="columns video_id, embedding (a list of numbers per row) and, if known, seconds",
                to_do="check the file, or rename its columns",
            ) from cause


def _matrix_of(column: Any) -> np.ndarray:
    """Lists of numbers, all of one length, as float [num_rows, dim]. Raises ValueError."""
    if column.null_count:
        raise ValueError(f"{column.null_count:,} rows have no embedding")
    flat = np.asarray(column.flatten())
    if len(column) == 0 or len(flat) % len(column) or flat.dtype.kind != "f":
        raise ValueError("its embeddings are not lists of numbers of one length")
    lengths = np.asarray(column.value_lengths()) if hasattr(column, "value_lengths") else None
    if lengths is not None and len(set(lengths.tolist())) > 1:
        raise ValueError("its embeddings have several lengths")
    return flat.reshape(len(column), -1)
