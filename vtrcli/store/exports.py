"""A store's features as files that other programs read: `vtr store export`. Videos pass through one at a time."""

from __future__ import annotations

import csv
import json
import math
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from vtrcli import __version__
from vtrcli.errors import InputError, StoreError, UsageError
from vtrcli.files import TEMPORARY_PREFIX
from vtrcli.store.archives import (
    ARCHIVE_FORMAT,
    ARCHIVE_VERSION,
    FEATURES,
    MANIFEST,
    MATRIX,
    PARQUET,
    SECONDS,
    TABLE,
    VIDEOS,
    pyarrow,
)
from vtrcli.store.arrays import begin_npy
from vtrcli.store.config import StoreConfig
from vtrcli.store.reader import FeatureStore, Location, unit_rows

Layout = Literal["npz", "npy", "parquet"]
Dtype = Literal["float16", "float32"]
ROW_GROUP = 16_384  # rows of a Parquet file that are written at a time
MAX_NAME_BYTES = 200  # of a part of a path; file systems take 255
# What some file system does not take in a name, and what would lead out of the folder.
_UNSAFE = re.compile(r'[\x00-\x1f\x7f<>:"\\|?*%]|^\.|[. ]$|[\ud800-\udfff]')

# Controls, and what was no UTF-8.
_ODD = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What was written."""

    folder: Path
    layout: Layout
    dtype: Dtype
    dim: int
    num_videos: int
    num_frames: int
    num_repeated: int = 0

    def to_json(self) -> dict[str, Any]:
        """The keys of `vtr store export --json`."""
        return {**vars(self), "folder": str(self.folder)}


@dataclass(frozen=True)
class _Video:
    """One video as it is written: `seconds` float32 [num_frames]."""

    name: str
    location: Location
    features: np.ndarray
    seconds: np.ndarray


def export_features(
    store: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    *,
    layout: Layout = "npz",
    names: Mapping[str, str] | None = None,
    dtype: Dtype = "float16",
    fps: float | None = None,
    is_unit: bool = False,
    on_progress: Callable[[int, int], None] = lambda num_done, total: None,
) -> Exported:
    """Write features into a new folder, which is there whole or not at all.

    - npz: `NAME.npz` per video with `features` [num_frames, dim], as moment_detr and lighthouse read it; `timestamps`.
    - npy: `features.npy`, all rows one below the other, and `rows.csv` with the id and the time of each.
    - parquet: `features.parquet` with the columns video_id, seconds and embedding.

    Args:
        names: per video id that is wanted the name that it gets; None: all, by their ids.
        dtype: float16 is what a store keeps; float32 holds the same numbers.
        fps: rows at 0, 1 / fps, 2 / fps ..., each the frame nearest to its time; None: the frames as they are.
        is_unit: rows of length 1.

    Raises:
        InputError: the folder is there already; a store without videos; names that one folder cannot hold.
        UsageError: Parquet without its package.
        StoreError: no store, a damaged one, or the folder cannot be written.
    """
    store, folder = Path(store), Path(folder)
    opened = FeatureStore(store)
    chosen = names if names is not None else {video_id: video_id for video_id in opened.videos}
    if not chosen:
        raise InputError(
            f"nothing to export from {store}",
            allowed="at least one video",
            to_do="check --path, or fill the store first",
        )
    if fps is not None and not (math.isfinite(fps) and 0 < fps <= 1000):
        raise UsageError(f"fps is {fps}", allowed="a rate is above 0 and at most 1000", to_do="change --fps")
    if layout == "parquet":
        pyarrow()
    num_repeated = 0

    def videos() -> Iterator[_Video]:
        nonlocal num_repeated
        for number, (video_id, name) in enumerate(chosen.items(), start=1):
            location = opened.videos[video_id]
            rows, times = opened.features(video_id), opened.timestamps(video_id)
            if fps is not None:
                grid = _grid(location, times, fps)
                nearest = _nearest(times, grid)
                num_repeated += len(nearest) - len(set(nearest.tolist()))
                rows, times = rows[nearest], grid
            yield _Video(name, location, (unit_rows(rows) if is_unit else rows).astype(dtype), times)
            on_progress(number, len(chosen))

    num_frames = {video_id: opened.videos[video_id].num_frames for video_id in chosen}
    if fps is not None:
        num_frames = {
            video_id: len(_grid(opened.videos[video_id], opened.timestamps(video_id), fps))
            for video_id in chosen
        }
    total, dim = sum(num_frames.values()), opened.config.backbone.dim
    with new_folder(folder) as inside:
        writers = {"npz": _write_npz, "npy": _write_npy, "parquet": _write_parquet}
        with open(inside / VIDEOS, "w", encoding="ascii") as lines:
            for facts in writers[layout](videos(), inside, total, dim, dtype):
                lines.write(json.dumps(facts) + "\n")
        body = {
            "format": ARCHIVE_FORMAT,
            "version": ARCHIVE_VERSION,
            "vtr": __version__,
            "layout": layout,
            "dtype": dtype,
            "unit_length": is_unit,
            "num_videos": len(chosen),
            "num_frames": total,
            **_made_by(opened.config, fps),
        }
        (inside / MANIFEST).write_text(json.dumps(body, indent=2) + "\n", encoding="ascii")
    return Exported(
        folder=folder,
        layout=layout,
        dtype=dtype,
        dim=dim,
        num_videos=len(chosen),
        num_frames=total,
        num_repeated=num_repeated,
    )


def _made_by(config: StoreConfig, fps: float | None) -> dict[str, Any]:
    backbone = replace(config.backbone, name=config.backbone.bare_name)
    return {
        "backbone": backbone.to_json(),
        "sampling": config.sampling
        if fps is None
        else {"mode": "rate", "fps": fps, "min_frames": 1, "max_frames": None},
        "preprocessing": config.preprocessing,
    }


def _grid(location: Location, times: np.ndarray, fps: float) -> np.ndarray:
    """float32 [num_rows]: 0, 1/fps ... within the video; at least one."""
    length = location.record.duration_seconds or float(times[-1])
    return (np.arange(max(1, math.ceil(length * fps - 1e-9))) / fps).astype(np.float32)


def _nearest(times: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """Index of the time nearest to each of `grid`; both increase."""
    if len(times) == 1:
        return np.zeros(len(grid), np.int64)
    right = np.clip(np.searchsorted(times, grid), 1, len(times) - 1)
    is_left = grid - times[right - 1] <= times[right] - grid
    nearest: np.ndarray = right - is_left
    return nearest


def _facts(video: _Video, **more: Any) -> dict[str, Any]:
    record = video.location.record
    return {
        "video_id": video.name,
        "num_frames": len(video.features),
        **more,
        "duration_seconds": record.duration_seconds,
        "width": record.width,
        "height": record.height,
        "codec": record.codec,
        "precision": record.precision,
    }


def _write_npz(
    videos: Iterator[_Video], folder: Path, num_rows: int, dim: int, dtype: Dtype
) -> Iterator[dict[str, Any]]:
    taken: set[str] = set()
    for video in videos:
        file = safe_name(video.name, taken) + ".npz"
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, **{FEATURES: video.features, SECONDS: video.seconds})  # type: ignore[arg-type]
        yield _facts(video, file=file)


def _write_npy(
    videos: Iterator[_Video], folder: Path, num_rows: int, dim: int, dtype: Dtype
) -> Iterator[dict[str, Any]]:
    with (
        open(folder / MATRIX, "xb") as matrix,
        open(folder / TABLE, "x", encoding="utf-8", newline="") as table,
    ):
        begin_npy(matrix, shape=(num_rows, dim), dtype=dtype)
        rows = csv.writer(table)
        rows.writerow(("video_id", "seconds"))
        for video in videos:
            matrix.write(np.ascontiguousarray(video.features).tobytes())
            rows.writerows((_plain(video.name), str(seconds)) for seconds in video.seconds)
            yield _facts(video)


def _write_parquet(
    videos: Iterator[_Video], folder: Path, num_rows: int, dim: int, dtype: Dtype
) -> Iterator[dict[str, Any]]:
    arrow = pyarrow()
    number = {"float16": arrow.float16(), "float32": arrow.float32()}[dtype]
    schema = arrow.schema(
        [("video_id", arrow.string()), ("seconds", arrow.float32()), ("embedding", arrow.list_(number, dim))]
    )
    with arrow.parquet.ParquetWriter(folder / PARQUET, schema, use_dictionary=["video_id"]) as writer:
        waiting: list[_Video] = []
        num_waiting = 0

        def write() -> None:
            flat = np.concatenate([video.features for video in waiting]).ravel()
            ids = [name for video in waiting for name in [_plain(video.name)] * len(video.features)]
            seconds = np.concatenate([video.seconds for video in waiting])
            embedding = arrow.FixedSizeListArray.from_arrays(arrow.array(flat, number), dim)
            columns = [arrow.array(ids, arrow.string()), arrow.array(seconds, arrow.float32()), embedding]
            writer.write_table(arrow.Table.from_arrays(columns, schema=schema))
            waiting.clear()

        for video in videos:
            waiting.append(video)
            num_waiting += len(video.features)
            if num_waiting >= ROW_GROUP:
                write()
                num_waiting = 0
            yield _facts(video)
        if waiting:
            write()


def _plain(name: str) -> str:
    """A name whose characters any table holds; `videos.jsonl` has it as it is."""
    return _ODD.sub(lambda found: found[0].encode("unicode_escape").decode(), name)


def _escaped(found: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in found[0].encode("utf-8", "surrogatepass"))


def safe_name(name: str, taken: set[str]) -> str:
    """A relative path for a video, with / between folders: its id wherever any file system can hold that, else with
    %XX for what it cannot. `taken` are those that were given, in lower case; `videos.jsonl` says which is which."""
    parts = []
    for part in name.split("/"):
        safe = _UNSAFE.sub(_escaped, part) or "%"
        parts.append(safe.encode()[:MAX_NAME_BYTES].decode(errors="ignore"))
    # A folder x.npz would stand where the file of the video x does.
    parts[:-1] = [re.sub(r"\.(?=npz$)", "%2E", part, flags=re.IGNORECASE) for part in parts[:-1]]
    wanted = found = "/".join(parts)
    number = 1
    while found.lower() in taken:  # A and a are one file on some disks
        number += 1
        found = f"{wanted}%{number}"
    taken.add(found.lower())
    return found


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Yield a folder beside `folder` that gets its name in the end; on any exception it is removed.

    Raises:
        InputError: there is something of that name.
        StoreError: it cannot be written.
    """
    if os.path.lexists(folder):
        raise InputError(
            f"{folder} is there already",
            allowed="a new folder; nothing is overwritten",
            to_do="choose another name, or move it away",
        )
    inside = folder.absolute().with_name(f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}")
    try:
        inside.mkdir(parents=True)
        yield inside
        os.rename(inside, folder)
    except OSError as cause:
        raise StoreError(
            f"cannot write {folder}: {cause.strerror or cause}",
            allowed="the folder must be writable and the disk must have room",
            to_do="free some space or choose another place, then run the same command again",
        ) from cause
    finally:
        shutil.rmtree(inside, ignore_errors=True)
