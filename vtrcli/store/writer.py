"""Writing a feature store: finished videos are gathered and put down as one whole shard at a time."""

from __future__ import annotations

import os
import secrets
import time
from pathlib import Path

import numpy as np

from vtrcli.errors import VideoError
from vtrcli.store.frames import FrameJpegs, write_frame_shard
from vtrcli.store.reader import SHARD_FOLDER
from vtrcli.store.records import VideoRecord
from vtrcli.store.shard import write_shard

MAX_SHARD_VIDEOS = 512
MAX_SHARD_BYTES = 64 * 1024 * 1024
# A kill loses at most this much work: 5 s at first, later 5 % of the run, so that long runs leave few files.
MIN_FLUSH_SECONDS, MAX_FLUSH_SECONDS, FLUSH_SHARE = 5.0, 120.0, 0.05


class StoreWriter:
    """Gathers videos and flushes shards. One writer per process; writers need no lock among each other."""

    def __init__(self, store: Path, *, backbone_sha256: str) -> None:
        self._store = store
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
        """Write what has gathered as one shard (frames first, so that features never lack their frames)."""
        if self._records:
            name = f"{time.time_ns():020d}-{os.getpid()}-{secrets.token_hex(4)}.safetensors"
            kept = [
                (record, jpegs, times)
                for record, jpegs, times in zip(self._records, self._jpegs, self._timestamps, strict=True)
                if jpegs is not None
            ]
            if kept:
                write_frame_shard(self._store / "frames" / name, kept)
            write_shard(
                self._store / SHARD_FOLDER / name,
                self._records,
                self._features,
                self._timestamps,
                backbone_sha256=self._backbone_sha256,
            )
            self._clear()
        self._last_flush = time.monotonic()
