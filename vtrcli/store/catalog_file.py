"""The catalogue's file in `index/`: derived, so that it can be deleted and is made again when shards came or went.

Making it reads the headers and the features of the shards that the last one did not know.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vtrcli.errors import StoreError
from vtrcli.store.catalog import TENSORS, Catalog, PackedStrings, hashed, masked
from vtrcli.store.config import INDEX_FOLDER, SHARD_FOLDER, StoreConfig, read_config
from vtrcli.store.derived import read_kept, write_kept
from vtrcli.store.maps import again_if_gone
from vtrcli.store.reader import check_offsets, is_compacted, open_shard_of, shard_paths
from vtrcli.store.records import unsound_videos
from vtrcli.store.roots import NO_ROOTS, Roots, read_roots
from vtrcli.store.shard import DTYPES, Shard, TensorFile, text_crc32

BLOCK_ROWS = 16_384
MAPPED_BYTES = 8 << 20  # a larger catalogue is mapped, so that its memory is everybody's
_NOWHERE = -1
_SHARD_ARRAYS = tuple(name for name, (_, letter) in TENSORS.items() if letter == "S")
_VIDEO_ARRAYS = tuple(name for name, (_, letter) in TENSORS.items() if letter == "V")
CATALOG_NAME = "catalog.safetensors"
CATALOG_FORMAT = "vtr-catalog"
NAMES = ("ids", "paths")


@dataclass
class _Part:
    """What one shard brings, and which ids it takes away from earlier ones. `start` and `stop` count from the shard's
    first row."""

    shard: dict[str, int]
    inverse_norms: np.ndarray
    ids: list[str]
    paths: list[str]
    videos: dict[str, np.ndarray]
    removed: tuple[str, ...] = ()
    left_out: tuple[tuple[str, str], ...] = ()  # id, and what is wrong with it


def make_catalog(
    store: Path, config: StoreConfig, paths: Sequence[Path], kept: Catalog | None, *, roots: Roots = NO_ROOTS
) -> Catalog:
    """The catalogue of the given shards; what `kept` tells of those that are still there is not read again.

    Raises:
        StoreError: a shard is damaged, of another backbone, or holds features that are not finite.
    """
    known = _known_parts(kept, paths) if kept is not None else {}
    parts = [known.get(path.name) or _read_part(open_shard_of(config, path, roots)) for path in paths]
    first_rows = np.cumsum([0, *(len(part.inverse_norms) for part in parts)])
    newest: dict[str, int] = {}
    unsound: dict[str, tuple[str, str]] = {}
    for number, part in enumerate(parts):
        newest.update(dict.fromkeys(part.removed, _NOWHERE))
        newest.update(dict.fromkeys(part.ids, number))
        for video_id in (*part.removed, *part.ids):
            unsound.pop(video_id, None)
        unsound.update((video_id, (paths[number].name, problem)) for video_id, problem in part.left_out)
    ids: list[str] = []
    names: list[str] = []
    videos: dict[str, list[np.ndarray]] = {
        name: [np.zeros(0, DTYPES[TENSORS[name][0]])] for name in _VIDEO_ARRAYS
    }
    for number, part in enumerate(parts):
        current = [row for row, video_id in enumerate(part.ids) if newest[video_id] == number]
        ids += [part.ids[row] for row in current]
        names += [part.paths[row] for row in current]
        columns = {name: part.videos[name][current] for name in part.videos}
        columns["start"], columns["stop"] = (columns[edge] + first_rows[number] for edge in ("start", "stop"))
        columns["video_shard"] = np.full(len(current), number)
        for name, column in columns.items():
            videos[name].append(column)
    arrays = {name: np.array([part.shard[name] for part in parts], np.int64) for name in _SHARD_ARRAYS}
    arrays["inverse_norms"] = np.concatenate(
        [np.zeros(0, np.float32), *(part.inverse_norms for part in parts)]
    )
    arrays |= {name: np.concatenate(pieces) for name, pieces in videos.items()}
    shard_names = tuple(path.name for path in paths)
    left_out: dict[str, list[str]] = {}
    for name, problem in unsound.values():
        left_out.setdefault(name, []).append(problem)
    return Catalog(
        store, config, shard_names, arrays, PackedStrings.pack(ids), PackedStrings.pack(names), left_out
    )


def _known_parts(kept: Catalog, paths: Sequence[Path]) -> dict[str, _Part]:
    """The parts of the last catalogue that can be used again.

    It holds current videos only: when a shard has gone, those that it superseded or took away may count again, so that
    shards with such videos are read once more. So are tombstones: what they take away is not in it.
    """
    now = file_states(paths)
    states = kept.file_states()
    has_lost = any(now.get(name) != state for name, state in states.items())
    ids, names = kept.ids.all(), kept.paths.all()
    edges = np.searchsorted(kept["video_shard"], np.arange(len(kept.shard_names) + 1))
    parts = {}
    for number, name in enumerate(kept.shard_names):
        here = slice(int(edges[number]), int(edges[number + 1]))
        is_whole = here.stop - here.start == kept["shard_videos"][number]
        if now.get(name) != states[name] or not kept["shard_videos"][number] or (has_lost and not is_whole):
            continue
        if name in kept.left_out:
            continue
        rows = slice(int(kept.first_rows[number]), int(kept.first_rows[number + 1]))
        videos = {key: kept[key][here] for key in _VIDEO_ARRAYS if key != "video_shard"}
        videos["start"], videos["stop"] = (videos[edge] - rows.start for edge in ("start", "stop"))
        parts[name] = _Part(
            {key: int(kept[key][number]) for key in _SHARD_ARRAYS},
            kept["inverse_norms"][rows],
            ids[here],
            names[here],
            videos,
        )
    return parts


def file_states(paths: Sequence[Path]) -> dict[str, tuple[int, int]]:
    """Per file name its size and time; what has just gone is not in it."""
    states = {}
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            status = path.stat()
            states[path.name] = (status.st_size, status.st_mtime_ns)
    return states


def _read_part(shard: Shard) -> _Part:
    check_offsets(shard)
    records = shard.records
    unsound = unsound_videos(records, shard.timestamps[:], shard.offsets)
    starts, stops = shard.offsets[:-1], shard.offsets[1:]
    inverse_norms, mean_norms = _norms(shard)
    # What is unsound is left out below; here it must only fit the arrays.
    durations = [
        math.nan if number in unsound or record.duration_seconds is None else record.duration_seconds
        for number, record in enumerate(records)
    ]
    # A shard that holds an id twice: the last one counts, as for a reader of the shards.
    position = {record.video_id: number for number, record in enumerate(records)}
    rows = np.array(sorted(set(position.values()) - unsound.keys()), np.int64)
    left_out = [number for number in position.values() if number in unsound]
    videos = {
        "video_position": np.arange(len(records)),
        "start": starts,
        "stop": stops,
        "mean_norms": mean_norms,
        "duration_seconds": np.array(durations),
        "mtime_ns": np.array([_int64(record.mtime_ns) for record in records], np.int64),
        "num_bytes": np.array([_int64(record.num_bytes) for record in records], np.int64),
        "inode": np.array([masked(record.inode) for record in records], np.int64),
        "ctime_ns": np.array([masked(record.ctime_ns) for record in records], np.int64),
        "content": np.array([hashed(record.content) for record in records], np.int64),
        "fingerprint": np.array([hashed(record.fingerprint) for record in records], np.int64),
    }
    return _Part(
        {
            "shard_bytes": shard.file.num_bytes,
            "shard_mtime_ns": shard.file.mtime_ns,
            "shard_crc32": int(text_crc32(shard.file.metadata.get("crc32", "")), 16),
            "shard_rows": int(shard.offsets[-1]),
            "shard_videos": len(records),
            "features_at": shard.file.position("features"),
            "timestamps_at": shard.file.position("timestamps"),
        },
        inverse_norms,
        [records[row].video_id for row in rows],
        [records[row].path for row in rows],
        {name: column[rows] for name, column in videos.items()},
        (
            *shard.removed,
            *(records[number].video_id for number in left_out),
        ),  # nor are its older rows what it is
        tuple((records[number].video_id, unsound[number]) for number in left_out),
    )


def _int64(number: int) -> int:
    """The nearest that the catalogue can hold: a date beyond the year 2262 is as good as that year."""
    return max(-(2**63), min(number, 2**63 - 1))


def _norms(shard: Shard) -> tuple[np.ndarray, np.ndarray]:
    """1 / length of each row, float32 [rows]; length of the mean of each video's unit rows, float32 [videos]."""
    features, offsets = shard.features, shard.offsets
    inverse = np.empty(len(features), np.float32)
    sums = np.zeros((len(offsets) - 1, features.shape[1]), np.float32)
    video_of = np.repeat(np.arange(len(sums)), np.diff(offsets))
    for first in range(0, len(features), BLOCK_ROWS):
        rows = features[first : first + BLOCK_ROWS].astype(np.float32)
        lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows))
        with np.errstate(divide="ignore", invalid="ignore"):  # what is not finite is refused below
            inverse[first : first + len(rows)] = np.where(lengths > 0, 1 / lengths, 0)
            rows *= inverse[first : first + len(rows), None]
        videos = video_of[first : first + len(rows)]
        edges = np.flatnonzero(np.diff(videos, prepend=-1))
        sums[videos[edges]] += np.add.reduceat(rows, edges, axis=0)
    means = np.sqrt(np.einsum("ij,ij->i", sums, sums)) / np.diff(offsets)
    if not (np.isfinite(inverse).all() and np.isfinite(means).all()):
        raise not_finite(shard.path)
    return inverse, means.astype(np.float32)


def not_finite(where: Path) -> StoreError:
    """The error for damaged features: NaN would push real answers out of the ranking."""
    return StoreError(
        f"{where} holds features that are not finite",
        allowed="features as `vtr extract` writes them",
        to_do="run `vtr store verify --repair`, then `vtr extract` again",
    )


def open_catalog(store: Path) -> Catalog:
    """The catalogue of a store as it is at this moment: read from `index/`, or made and, where possible, kept there.

    Raises:
        StoreError: no store, a damaged shard, or one of another backbone.
    """
    return again_if_gone(lambda: _opened(store))


def _opened(store: Path) -> Catalog:
    config = read_config(store)
    roots, paths = read_roots(store), shard_paths(store)
    kept = _read(store, config, roots)
    if kept is not None and _is_current(kept, paths):
        _ = kept.files  # from now on they can be read, whoever deletes them
        return kept
    catalog = make_catalog(store, config, paths, kept, roots=roots)
    _write(catalog, roots)
    _ = catalog.files
    return catalog


def vanished_shards(store: Path) -> list[tuple[Path, str]]:
    """Shards that the catalogue knew with videos which are nowhere now, and how many: somebody deleted them.

    A shard that `vtr store compact` replaced left one behind that sorts after it.

    Raises:
        StoreError: no store here.
    """
    paths = shard_paths(store)
    kept = _read(store, read_config(store), read_roots(store))
    if kept is None:
        return []
    names = {path.name for path in paths}
    newest_compacted = max((path.name for path in paths if is_compacted(path)), default="")
    numbers = kept["video_shard"].tolist()
    return [
        (store / SHARD_FOLDER / name, f"gone, with {numbers.count(shard):,} videos that were searched before")
        for shard, name in enumerate(kept.shard_names)
        if name not in names and name > newest_compacted and shard in numbers
    ]


def _is_current(catalog: Catalog, paths: list[Path]) -> bool:
    same_names = catalog.shard_names == tuple(path.name for path in paths)
    return same_names and catalog.file_states() == file_states(paths)


def _read(store: Path, config: StoreConfig, roots: Roots) -> Catalog | None:
    """The file in `index/`; None where there is none that can be used, whatever the reason: it is made again."""

    def catalog(file: TensorFile) -> Catalog:
        shard_names = json.loads(file.metadata["shards"])
        sizes: dict[str, int] = {"S": len(shard_names)}
        for name, (dtype, letter) in TENSORS.items():
            (size,) = file.require(name, dtype, (sizes.get(letter),))
            sizes[letter] = size
        # A mapping of a small one would save nothing, some file systems map none, and Windows replaces no mapped file.
        mapped: dict[str, np.ndarray] = {}
        if file.num_bytes > MAPPED_BYTES and os.name != "nt":
            with contextlib.suppress(StoreError):
                mapped = file.mapped()
        names = [_read_names(file, name, sizes["V"], mapped) for name in NAMES]
        arrays = {name: mapped[name] if mapped else file.tensor(name) for name in TENSORS}
        left_out = {
            name: list(map(str, rows)) for name, rows in json.loads(file.metadata["left_out"]).items()
        }
        return Catalog(store, config, tuple(shard_names), arrays, names[0], names[1], left_out)

    path = store / INDEX_FOLDER / CATALOG_NAME
    found = read_kept(path, file_format=CATALOG_FORMAT, made_from=_made_from(config, roots), read=catalog)
    return found if found is not None and _is_sound(found) else None


def _made_from(config: StoreConfig, roots: Roots) -> dict[str, str]:
    """Where a folder moved, the paths are others."""
    return {"backbone_sha256": config.backbone.sha256, "roots": roots.key}


def _is_sound(catalog: Catalog) -> bool:
    """Whether nothing points outside: a store may come from anywhere."""
    rows, starts, stops = catalog["inverse_norms"], catalog["start"], catalog["stop"]
    edges = np.stack([starts, stops], axis=1).ravel()
    last_feature = catalog["features_at"] + catalog["shard_rows"] * catalog.config.backbone.dim * 2
    last_time = catalog["timestamps_at"] + catalog["shard_rows"] * 4
    shards, positions = catalog["video_shard"], catalog["video_position"]
    return bool(
        all(isinstance(name, str) and Path(name).name == name for name in catalog.shard_names)
        and (catalog["shard_rows"] >= 0).all()
        and catalog.first_rows[-1] == len(rows)
        and (stops > starts).all()
        and (np.diff(edges) >= 0).all()
        and edges.min(initial=0) >= 0
        and edges.max(initial=0) <= len(rows)
        and (np.diff(shards) >= 0).all()
        and ((shards >= 0) & (shards < len(catalog.shard_names))).all()
        and (starts >= catalog.first_rows[shards]).all()
        and (stops <= catalog.first_rows[shards + 1]).all()
        and ((positions >= 0) & (positions < catalog["shard_videos"][shards])).all()
        and (np.minimum(catalog["features_at"], catalog["timestamps_at"]) >= 0).all()
        and (np.maximum(last_feature, last_time) <= catalog["shard_bytes"]).all()
        and np.isfinite(rows).all()
        and np.isfinite(catalog["mean_norms"]).all()
        and all(_cuts(names) for names in (catalog.ids, catalog.paths))
    )


def _cuts(names: PackedStrings) -> bool:
    offsets = names.offsets
    return bool(offsets[0] == 0 and offsets[-1] == len(names.body) and (offsets[1:] >= offsets[:-1]).all())


def _read_names(file: TensorFile, name: str, num_videos: int, mapped: dict[str, np.ndarray]) -> PackedStrings:
    keys = (name, f"{name}_offsets")
    file.require(keys[0], "U8", (None,))
    file.require(keys[1], "I64", (num_videos + 1,))
    body, offsets = (mapped[key] if mapped else file.tensor(key) for key in keys)
    return PackedStrings(body, offsets)


def _write(catalog: Catalog, roots: Roots) -> None:
    tensors = {name: array.astype(DTYPES[TENSORS[name][0]]) for name, array in catalog.arrays.items()}
    for name, names in (("ids", catalog.ids), ("paths", catalog.paths)):
        tensors |= {name: names.body, f"{name}_offsets": names.offsets}
    metadata = {
        **_made_from(catalog.config, roots),
        "shards": json.dumps(catalog.shard_names),
        "left_out": json.dumps(catalog.left_out),
    }
    path = catalog.store / INDEX_FOLDER / CATALOG_NAME
    write_kept(path, tensors, file_format=CATALOG_FORMAT, metadata=metadata)
