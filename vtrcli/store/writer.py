"""Writing a feature store: finished videos are gathered and put down as one whole shard at a time."""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from vtrcli.errors import VideoError
from vtrcli.store.config import StoreConfig, create_config
from vtrcli.store.failures import forget_failures
from vtrcli.store.frames import FRAME_FOLDER, FrameJpegs, write_frame_shard
from vtrcli.store.reader import SHARD_FOLDER, FeatureStore, shard_paths
from vtrcli.store.records import VideoRecord
from vtrcli.store.shard import write_shard, write_tombstone

NUMBER_DIGITS = 20  # nanoseconds since 1970; names of equal length sort by it
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
            VideoError: features that are not finite in float16 (`not-finite`).
            StoreError: the shard cannot be written.
        """
        halves = features.astype(np.float16)
        if len(halves) == 0 or not np.isfinite(halves).all():
            raise VideoError("not-finite", "NaN or infinity in its features", path=record.path)
        self._records.append(record)
        self._features.append(halves)
        self._timestamps.append(timestamps.astype(np.float32))
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
        path = self._store / SHARD_FOLDER / _new_name(self._store)
        frames_path = self._store / FRAME_FOLDER / path.name
        kept = [
            (record, images, times)
            for record, images, times in zip(records, jpegs, timestamps, strict=True)
            if images is not None
        ]
        try:
            if kept:
                write_frame_shard(frames_path, kept)
            write_shard(path, records, features, timestamps, backbone_sha256=self._backbone_sha256)
        finally:
            if not path.exists():
                with contextlib.suppress(OSError):  # it must not hide why the write failed
                    frames_path.unlink()


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
    path = store / SHARD_FOLDER / _new_name(store)
    write_tombstone(
        path, [record.video_id for record in there], dim=backbone.dim, backbone_sha256=backbone.sha256
    )
    return path


def _new_name(store: Path) -> str:
    """A name behind those of all shards there, although the clock may have been set back."""
    beginnings = [path.name.split("-")[0] for path in shard_paths(store)]
    newest = max(
        (int(text) for text in beginnings if text.isdecimal() and len(text) == NUMBER_DIGITS), default=0
    )
    number = max(time.time_ns(), newest + 1)
    return f"{number:0{NUMBER_DIGITS}d}-{os.getpid()}-{secrets.token_hex(4)}.safetensors"
