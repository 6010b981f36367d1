"""Features of captions from others and for others, so that a run is trained and evaluated where no text tower is.

They are features of whole captions: what comes in is kept under the tagger `none`, and what goes out is that alone.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from vtrcli.datasets.files import first_few, read_table
from vtrcli.datasets.moment_sets import MOMENT_SETS, load_moments
from vtrcli.datasets.registry import DATASETS, Annotations, text_limit
from vtrcli.datasets.split import Caption, Split
from vtrcli.errors import InputError, UsageError
from vtrcli.store.archives import array_files
from vtrcli.store.arrays import BadArrayError, begin_npy, read_arrays
from vtrcli.store.exports import Dtype, new_folder, safe_name
from vtrcli.store.reader import FeatureStore, unit_rows
from vtrcli.store.shard import TensorFile
from vtrcli.store.texts import TextCache, TextRows, open_texts, text_paths, write_texts
from vtrcli.text.cache import CHUNK_TEXTS, open_text_cache, reading_id
from vtrcli.text.streams import STREAMS, WholeCaptions

MATRIX, TABLE = "captions.npy", "captions.csv"
FEATURE = "pooler_output"  # as moment_detr and lighthouse call it, in qid….npz
ARRAY_NAMES = (FEATURE, "features", "text_features")
ID_COLUMNS = ("caption_id", "qid", "query_id", "id")
TEXT_COLUMNS = ("caption", "sentence", "text", "query")


@dataclass(frozen=True, kw_only=True)
class ImportedCaptions:
    """What came in: of `num_captions` of the data set `num_found` have a feature, `num_imported` of their texts are new
    or changed; `problems` says of captions whose features cannot be used why."""

    store: Path
    num_captions: int
    num_found: int
    num_imported: int
    max_tokens: int | None
    problems: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The keys of `vtr store import --captions --json`."""
        return {**vars(self), "store": str(self.store)}


class _Feature(NamedTuple):
    """Of one caption; `path` is where it is from."""

    caption: Caption
    path: Path
    load: Callable[[], np.ndarray]


def load_splits(
    dataset: str, annotations: Path, names: Sequence[str] = (), *, moments: bool = False
) -> list[Split]:
    """The splits of a data set (all by default; of moments the one that results are published on).

    Args:
        moments: those of its moments, each query a caption by its own id; so are those of a data set that has no other.

    Raises:
        UsageError, InputError: as `registry.load_split` and `moment_sets.load_moments`.
    """
    if not moments and (dataset in DATASETS or dataset not in MOMENT_SETS):
        files = Annotations(dataset, annotations)
        return [files.load(name) for name in names or files.splits]
    found = []
    for name in names or (None,):
        truth, split = load_moments(dataset, annotations, name)
        rows = zip(truth.texts, truth.video_ids, truth.query_ids, strict=True)
        captions = tuple(Caption(text, video_id, str(query_id)) for text, video_id, query_id in rows)
        found.append(Split(split, tuple(dict.fromkeys(truth.video_ids)), captions))
    return found


def _captions_of(splits: Sequence[Split]) -> list[Caption]:
    """Each once, in the data set's order."""
    return list(dict.fromkeys(caption for split in splits for caption in split.captions))


def _limit(dataset: str, max_tokens: int | None, *, moments: bool) -> int | None:
    """How much of a text was read: of queries for moments all that the backbone reads."""
    if max_tokens is not None or moments or dataset not in DATASETS:
        return max_tokens
    return text_limit(dataset)


def import_captions(
    path: Path,
    *,
    store: Path,
    dataset: str,
    annotations: Path,
    splits: Sequence[str] = (),
    moments: bool = False,
    table: Path | None = None,
    key: str | None = None,
    max_tokens: int | None = None,
    on_progress: Callable[[int, int], None] = lambda num_done, total: None,
) -> ImportedCaptions:
    """Put features of whole captions into a store, found by the captions of a data set.

    Args:
        path: a folder with a file per caption, named by its id (`qid….npz` too); or a matrix, whose rows are named by
            `table` (caption_id or caption), else those of the one split, in the data set's order.
        moments: see `load_splits`.
        max_tokens: how much of a text was read; None: as published for the data set.

    Raises:
        UsageError: a matrix without a table, and not one split.
        InputError: no features there, of another dimension, or a table that does not fit.
        StoreError: no store, or it cannot be written.
    """
    opened = FeatureStore(store)
    parts = load_splits(dataset, annotations, splits, moments=moments)
    captions = _captions_of(parts)
    if table is None and path.is_file() and (len(parts) != 1 or not (splits or moments)):
        raise UsageError(
            f"{path} for {len(splits) or 'all'} splits of {dataset}, in an order that nobody knows",
            allowed="the rows of one --split in its order, or a --table that names each row",
            to_do="add --split, or --table with a column caption_id or caption (your captions.csv itself will do)",
        )
    names = (key,) if key else ARRAY_NAMES
    found = list(
        _of_folder(path, captions, names) if path.is_dir() else _of_matrix(path, captions, table, names)
    )
    if not found:
        raise InputError(
            f"{path} holds no feature of the {len(captions):,} captions of {dataset}",
            allowed=f"files named by caption, such as qid{captions[0].caption_id}.npz, or a matrix in their order",
            to_do="check --dataset and --split; --table names the rows of a matrix",
        )
    limit = _limit(dataset, max_tokens, moments=moments)
    whole = open_text_cache(opened, tagger_id=WholeCaptions.id, max_tokens=limit)
    dim, problems, num_imported = opened.config.backbone.dim, {}, 0
    for start in range(0, len(found), CHUNK_TEXTS):
        chunk: dict[str, np.ndarray] = {}
        for feature in found[start : start + CHUNK_TEXTS]:
            try:
                chunk.setdefault(feature.caption.text, _checked(feature.load(), dim))
            except BadArrayError as cause:
                problems[feature.caption.caption_id] = f"{feature.path}: {cause}"
        num_imported += _write(opened, chunk, whole, limit)
        on_progress(min(start + CHUNK_TEXTS, len(found)), len(found))
    if len(problems) == len(found):
        raise InputError(
            f"not one feature of {path} can be used; {next(iter(problems.values()))}",
            allowed=f"a vector of {dim} finite numbers per caption, by the text tower of the store's backbone",
            to_do="check the archive",
        )
    return ImportedCaptions(
        store=store,
        num_captions=len(captions),
        num_found=len(found) - len(problems),
        num_imported=num_imported,
        max_tokens=limit,
        problems=problems,
    )


def _checked(vector: np.ndarray, dim: int) -> np.ndarray:
    """float16 [dim]. Raises BadArrayError."""
    if vector.dtype.kind != "f" or vector.shape not in ((dim,), (1, dim)):
        raise BadArrayError(f"it is {vector.dtype} of shape {list(vector.shape)}, not {dim} numbers")
    with np.errstate(over="ignore"):
        halves: np.ndarray = vector.reshape(dim).astype(np.float16)
    if not np.isfinite(halves).all() or not halves.any():
        raise BadArrayError("its numbers are not finite in float16, or all zero")
    return halves


def _write(store: FeatureStore, chunk: dict[str, np.ndarray], whole: TextCache, limit: int | None) -> int:
    """Write the texts whose feature is not the one that is there; returns how many."""
    new = set(whole.missing(list(chunk)))
    known = [text for text in chunk if text not in new]
    there = whole.rows(known).features[:, 0] if known else np.zeros((0, 1))
    new |= {text for text, row in zip(known, there, strict=True) if row.tobytes() != chunk[text].tobytes()}
    texts = [text for text in chunk if text in new]
    if texts:
        features = np.stack([chunk[text] for text in texts])[:, None].repeat(len(STREAMS), axis=1)
        mask = np.zeros((len(texts), len(STREAMS)), bool)
        mask[:, 0] = True  # a stream that is missing holds the caption, as everywhere
        write_texts(
            store.path,
            texts,
            TextRows(features, mask),
            streams=STREAMS,
            tagger_id=reading_id(WholeCaptions.id, limit),
            backbone_sha256=store.config.backbone.sha256,
        )
    return len(texts)


def _of_folder(folder: Path, captions: list[Caption], names: tuple[str, ...]) -> Iterator[_Feature]:
    if (folder / TABLE).is_file() and (folder / MATRIX).is_file():
        yield from _of_matrix(folder / MATRIX, captions, folder / TABLE, names)
        return
    files = {file.relative_to(folder).with_suffix("").as_posix(): file for file in array_files(folder)}
    for caption in captions:
        name = caption.caption_id
        wanted = (safe_name(f"qid{name}", set()), f"qid{name}", safe_name(name, set()), name)
        file = next((files[stem] for stem in wanted if stem in files), None)
        if file is not None:
            yield _Feature(caption, file, _reader(file, names))


def _reader(file: Path, names: tuple[str, ...]) -> Callable[[], np.ndarray]:
    return lambda: next(iter(read_arrays(file, names).values()))


def _of_matrix(
    path: Path, captions: list[Caption], table: Path | None, names: tuple[str, ...]
) -> Iterator[_Feature]:
    try:
        matrix = _reader(path, names)()
    except BadArrayError as cause:
        raise InputError(
            f"{path}: {cause}", allowed="a matrix of numbers, [num_captions, dim]", to_do="check the file"
        ) from cause
    rows: list[int | None] = list(range(len(captions)))
    num_rows = len(captions)
    if table is not None:
        rows, num_rows = _named_rows(table, captions)
    if matrix.ndim != 2 or len(matrix) != num_rows:
        what = f"{len(captions):,} captions" if table is None else f"{table} with {num_rows:,} rows"
        raise InputError(
            f"{path} has the shape {list(matrix.shape)} for {what}",
            allowed="a row per caption, in the data set's order, or named by a table",
            to_do="choose the --split that it is of, or name its rows with --table",
        )

    def feature(caption: Caption, row: int) -> _Feature:
        return _Feature(caption, path, lambda: matrix[row])

    for caption, at in zip(captions, rows, strict=True):
        if at is not None:
            yield feature(caption, at)


def _named_rows(path: Path, captions: list[Caption]) -> tuple[list[int | None], int]:
    """Per caption its row of the matrix, None where the table does not name it; and how many rows there are."""
    table = read_table(path, required=())
    name = next((name for name in (*ID_COLUMNS, *TEXT_COLUMNS) if name in table.columns), None)
    if name is None:
        raise InputError(
            f"{path} has the columns {', '.join(table.columns)}",
            allowed=f"one of {', '.join((*ID_COLUMNS, *TEXT_COLUMNS))} names the caption of each row",
            to_do="rename the column",
        )
    at = {cells[name]: row for row, (_, cells) in enumerate(table.rows)}
    keys = (caption.text if name in TEXT_COLUMNS else caption.caption_id for caption in captions)
    return [at.get(key) for key in keys], len(table.rows)


@dataclass(frozen=True, kw_only=True)
class ExportedCaptions:
    """What was written; `num_missing` captions have no feature in the store."""

    folder: Path
    layout: Literal["npz", "npy"]
    dtype: Dtype
    num_captions: int
    num_missing: int

    def to_json(self) -> dict[str, Any]:
        """The keys of `vtr store export --captions --json`."""
        return {**vars(self), "folder": str(self.folder)}


def export_captions(
    store: Path,
    folder: Path,
    *,
    layout: Literal["npz", "npy"],
    dataset: str,
    annotations: Path,
    splits: Sequence[str] = (),
    moments: bool = False,
    max_tokens: int | None = None,
    dtype: Dtype = "float16",
    is_unit: bool = False,
) -> ExportedCaptions:
    """Write the features of whole captions that a store has into a new folder, whole or not at all.

    - npz: `qidID.npz` per caption with `pooler_output` [dim], and `captions.csv` with ids and texts.
    - npy: `captions.npy`, a row per caption, and the same table.

    Token features (`last_hidden_state`) are not in a store.

    Raises:
        InputError: the folder is there, or not one caption has a feature.
        StoreError: no store, a damaged one, or the folder cannot be written.
    """
    opened = FeatureStore(store)
    captions = _captions_of(load_splits(dataset, annotations, splits, moments=moments))
    limit = _limit(dataset, max_tokens, moments=moments)
    caches = _caches(opened, limit)
    missing = {caption.text for caption in captions}
    for cache in caches:
        missing &= set(cache.missing(sorted(missing)))
    there = [caption for caption in captions if caption.text not in missing]
    if not there:
        raise InputError(
            f"store {store} has features of not one of {len(captions):,} captions: {first_few([captions[0].text])}",
            allowed="captions that were encoded or imported",
            to_do="run `vtr cache` with the same --dataset and --annotations",
        )
    parts = (there[start : start + CHUNK_TEXTS] for start in range(0, len(there), CHUNK_TEXTS))
    chunks = ((part, _features(caches, [caption.text for caption in part])) for part in parts)
    scaled = ((part, (unit_rows(rows) if is_unit else rows).astype(dtype)) for part, rows in chunks)
    with new_folder(folder) as inside:
        if layout == "npz":
            _write_npz(inside, scaled)
        else:
            _write_npy(inside / MATRIX, scaled, (len(there), opened.config.backbone.dim), dtype)
        with open(inside / TABLE, "x", encoding="utf-8", errors="backslashreplace", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(("caption_id", "video_id", "caption"))
            rows.writerows((one.caption_id, one.video_id, one.text) for one in there)
    return ExportedCaptions(
        folder=folder,
        layout=layout,
        dtype=dtype,
        num_captions=len(there),
        num_missing=len(captions) - len(there),
    )


def _write_npz(folder: Path, chunks: Iterable[tuple[list[Caption], np.ndarray]]) -> None:
    taken: set[str] = set()
    for captions, features in chunks:
        for caption, vector in zip(captions, features, strict=True):
            path = folder / f"{safe_name(f'qid{caption.caption_id}', taken)}.npz"
            path.parent.mkdir(parents=True, exist_ok=True)
            np.savez(path, **{FEATURE: vector})  # type: ignore[arg-type]


def _write_npy(
    path: Path, chunks: Iterable[tuple[list[Caption], np.ndarray]], shape: tuple[int, int], dtype: Dtype
) -> None:
    with open(path, "xb") as file:
        begin_npy(file, shape=shape, dtype=dtype)
        for _, features in chunks:
            file.write(np.ascontiguousarray(features).tobytes())


def _caches(store: FeatureStore, limit: int | None) -> list[TextCache]:
    """What the store has of texts read that far, by whatever tagger: the whole caption is the same for all."""

    def is_of(file: TensorFile) -> bool:
        tagger = file.metadata.get("tagger", "")
        return tagger == reading_id(tagger.partition("+")[0], limit)

    files = [file for file in map(open_texts, text_paths(store.path)) if is_of(file)]
    taggers = dict.fromkeys(file.metadata["tagger"] for file in files)
    sha256 = store.config.backbone.sha256
    return [
        TextCache(store.path, streams=STREAMS, tagger_id=name, backbone_sha256=sha256) for name in taggers
    ]


def _features(caches: list[TextCache], texts: list[str]) -> np.ndarray:
    """float16 [num_texts, dim]; each text is in one of the caches."""
    found: dict[str, np.ndarray] = {}
    for cache in caches:
        absent = set(cache.missing(texts))
        here = [text for text in dict.fromkeys(texts) if text not in absent and text not in found]
        found.update(zip(here, cache.rows(here).features[:, 0], strict=True) if here else ())
    return np.stack([found[text] for text in texts])
