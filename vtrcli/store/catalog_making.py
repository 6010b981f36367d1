"""Making a catalogue: reads the headers and the features of the shards that the last one did not know."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vtrcli.errors import StoreError
from vtrcli.store.catalog import TENSORS, Catalog, hashed, masked
from vtrcli.store.config import StoreConfig
from vtrcli.store.names import Names
from vtrcli.store.reader import open_shard_of, require_cut
from vtrcli.store.records import unsound_videos
from vtrcli.store.roots import NO_ROOTS, Roots
from vtrcli.store.shard import DTYPES, Shard, text_crc32

BLOCK_ROWS = 16_384
_NOWHERE = -1
_SHARD_ARRAYS = tuple(name for name, (_, letter) in TENSORS.items() if letter == "S")
_VIDEO_ARRAYS = tuple(name for name, (_, letter) in TENSORS.items() if letter == "V")


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
    return Catalog(store, config, shard_names, arrays, Names.pack(ids), Names.pack(names), left_out)


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
    require_cut(shard)
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
