"""Writing a feature store: finished videos are gathered and put down as one whole shard at a time."""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from vtrcli.errors import VideoError
from vtrcli.files import TEMPORARY_PREFIX, is_abandoned, publish, staged
from vtrcli.store.config import CONFIG_NAME, SHARD_FOLDER, StoreConfig, create_config, make_folder
from vtrcli.store.failures import forget_failures
from vtrcli.store.frames import FRAME_FOLDER, FrameJpegs, frame_shard_bytes
from vtrcli.store.reader import NUMBER_DIGITS, FeatureStore, is_compacted, shard_paths
from vtrcli.store.records import VideoRecord, unsound_videos
from vtrcli.store.shard import shard_bytes, tombstone_bytes

SUFFIX = ".safetensors"
MAX_SHARD_VIDEOS = 4096
MAX_SHARD_BYTES = 64 * 1024 * 1024
# A kill loses at most this much work: 5 s at first, later 5 % of the run, so that long runs leave few files.
MIN_FLUSH_SECONDS, MAX_FLUSH_SECONDS, FLUSH_SHARE = 5.0, 120.0, 0.05


class StoreWriter:
    """Gathers videos and flushes shards. One writer per process; writers need no lock among each other.

    Args:
        config: what the store is to be; a process that put nothing in may have taken the new store away again.
    """

    def __init__(self, store: Path, *, backbone_sha256: str, config: StoreConfig | None = None) -> None:
        self._store, self._config = store, config
        self._backbone_sha256 = backbone_sha256
        self._started = self._last_flush = time.monotonic()
        self._clear()

    def _clear(self) -> None:
        self._records: list[VideoRecord] = []
        self._features: list[np.ndarray] = []
        self._timestamps: list[np.ndarray] = []
        self._jpegs: list[FrameJpegs | None] = []
        self._num_bytes = 0

    def add(
        self,
        record: VideoRecord,
        features: np.ndarray,
        timestamps: np.ndarray,
        *,
        jpegs: FrameJpegs | None = None,
    ) -> None:
        """Take one finished video; flush when enough has gathered.

        Args:
            features: float [num_frames, dim], stored as float16.
            timestamps: float [num_frames], seconds.

        Raises:
            VideoError: features that are not finite in float16 (`not-finite`), or a length or times that no video has
                (`corrupt`): they would spoil the store for the others.
            StoreError: the shard cannot be written.
        """
        halves = features.astype(np.float16)
        if len(halves) == 0 or not np.isfinite(halves).all():
            raise VideoError("not-finite", "NaN or infinity in its features", path=record.path)
        times = timestamps.astype(np.float32)
        problem = unsound_videos([record], times, np.array([0, len(times)]))
        if problem:
            raise VideoError("corrupt", problem[0], path=record.path)
        self._records.append(record)
        self._features.append(halves)
        self._timestamps.append(times)
        self._num_bytes += halves.nbytes
        self._jpegs.append(jpegs)
        if jpegs is not None:
            self._num_bytes += jpegs.num_bytes
        if self._is_due():
            self.flush()

    def _is_due(self) -> bool:
        now = time.monotonic()
        patience = min(max(MIN_FLUSH_SECONDS, FLUSH_SHARE * (now - self._started)), MAX_FLUSH_SECONDS)
        return (
            len(self._records) >= MAX_SHARD_VIDEOS
            or self._num_bytes >= MAX_SHARD_BYTES
            or now - self._last_flush >= patience
        )

    def flush(self) -> None:
        """Write what has gathered as one shard (frames first, so that features never lack their frames).

        What could not be written is given up: a second flush after an error must not try it again under a new name.

        Raises:
            StoreError: the shard cannot be written.
        """
        records, features, timestamps, jpegs = self._records, self._features, self._timestamps, self._jpegs
        self._clear()
        self._last_flush = time.monotonic()
        if not records:
            return
        if self._config is not None:
            create_config(self._store, self._config)
        kept = [
            (record.video_id, images, times)
            for record, images, times in zip(records, jpegs, timestamps, strict=True)
            if images is not None
        ]
        bodies = [record.to_json() for record in records]
        body = shard_bytes(bodies, features, timestamps, backbone_sha256=self._backbone_sha256)
        put_newest(self._store, body, frame_shard_bytes(kept) if kept else None)


def remove_videos(store: Path, video_ids: Iterable[str]) -> Path | None:
    """Take videos out of a store: one small shard is added whose presence takes away what earlier ones hold of them.

    A reader sees all of them or none; whoever writes one of them afterwards brings it back. The bytes go with the next
    `vtr store compact`. Old failures of their files are forgotten: who removes a video does not want to hear of it.

    Returns:
        The new shard; None when `video_ids` holds none that is there.

    Raises:
        StoreError: no store here, a damaged one, or it cannot be written.
    """
    reader = FeatureStore(store)
    there = [
        reader.videos[video_id].record for video_id in dict.fromkeys(video_ids) if video_id in reader.videos
    ]
    if not there:
        return None
    forget_failures(store, (record.path for record in there))
    backbone = reader.config.backbone
    ids = [record.video_id for record in there]
    return put_newest(store, tombstone_bytes(ids, dim=backbone.dim, backbone_sha256=backbone.sha256), None)


def put_newest(store: Path, body: bytes, frames: bytes | None) -> Path:
    """Write a shard (and its frames) that supersedes all that are there. Raises StoreError when it cannot be written.

    Its name is chosen when nothing but a rename is left to do, so that the order of names is that of appearance. Should
    `compact` have put older rows behind that name in this very moment, it gets a newer one.
    """
    path = put(store, body, frames, lambda: _new_name(store))
    while any(is_compacted(other) and other.name > path.name for other in shard_paths(store)):
        newer = path.with_name(_new_name(store))
        with contextlib.suppress(
            OSError
        ):  # it keeps its name; the next extraction finds that it is not current
            if frames is not None:
                os.replace(store / FRAME_FOLDER / path.name, store / FRAME_FOLDER / newer.name)
            os.replace(path, newer)
            path = newer
            continue
        break
    return path


def put(store: Path, body: bytes, frames: bytes | None, name: Callable[[], str]) -> Path:
    """Write a shard and its frames, these first, so that features never lack them; `name` is asked at the last moment.

    Raises:
        StoreError: the disk is full or the folder cannot be written.
    """
    shards, frame_folder = store / SHARD_FOLDER, store / FRAME_FOLDER
    make_folder(shards)  # git and object stores keep no empty folders
    with contextlib.ExitStack() as stack:
        temporary = stack.enter_context(staged(shards, body, suffix=SUFFIX))
        if frames is None:
            path = shards / name()
            publish(temporary, path)
            return path
        make_folder(frame_folder)
        temporary_frames = stack.enter_context(staged(frame_folder, frames, suffix=SUFFIX))
        path = shards / name()
        publish(temporary_frames, frame_folder / path.name)
        try:
            publish(temporary, path)
        finally:
            if not path.exists():
                with contextlib.suppress(OSError):  # it must not hide why the write failed
                    (frame_folder / path.name).unlink()
        return path


def compacted_name(newest: Path) -> str:
    """A name right behind that of a shard: before whatever a writer adds after it."""
    number, generation = newest.name[:NUMBER_DIGITS], newest.name[NUMBER_DIGITS:].split("-")[0]
    count = int(generation[1:]) + 1 if generation[1:].isdecimal() else 1
    return f"{number}_{count:08d}-{secrets.token_hex(4)}{SUFFIX}"


def _new_name(store: Path) -> str:
    """A name behind those of all shards there, although the clock may have been set back."""
    beginnings = [path.name[:NUMBER_DIGITS] for path in shard_paths(store)]
    newest = max(
        (int(text) for text in beginnings if text.isdecimal() and len(text) == NUMBER_DIGITS), default=0
    )
    number = max(time.time_ns(), newest + 1)
    return f"{number:0{NUMBER_DIGITS}d}-{os.getpid()}-{secrets.token_hex(4)}{SUFFIX}"


def leftovers(store: Path) -> Iterator[Path]:
    """What writers that are gone left; never what a running one may still finish."""
    unfinished = [
        *store.glob(f"{TEMPORARY_PREFIX}*"),
        *store.glob(f".{CONFIG_NAME}-*"),
        *store.glob(f"*/{TEMPORARY_PREFIX}*"),
    ]
    yield from filter(is_abandoned, sorted(unfinished))
