"""Stores and vectors of any size for the search benchmarks: made up, but shaped like CLIP's.

A video is a point in a space of few dimensions whose spread falls off as CLIP's does, its frames lie around it, and all
share a common direction. A query points from elsewhere (the modality gap) at one frame.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from vtrcli.store.config import BackboneInfo, StoreConfig, create_config
from vtrcli.store.records import VideoRecord
from vtrcli.store.writer import StoreWriter
from vtrcli.video.sampling import Uniform

DIM = 512
LATENT_DIM = 64
FRAME_SPREAD = 0.35  # of a frame around its video, as part of the spread of videos
COMMON = 1.2  # length of the shared direction, as part of the spread: two random rows have a cosine near 0.5
QUERY_COSINE = 0.3  # of a query with its frame, as of CLIP's captions with their pictures


class Maker:
    """Draws rows and queries; the same seed draws the same."""

    def __init__(self, *, seed: int = 0, dim: int = DIM) -> None:
        self._generator = np.random.default_rng(seed)
        spread = np.arange(1, LATENT_DIM + 1) ** -0.5
        basis = np.linalg.qr(np.random.default_rng(1).standard_normal((dim, LATENT_DIM)))[0]
        self._map = (basis * spread / np.linalg.norm(spread)).T.astype(np.float32)  # [latent, dim]
        self._common = np.linalg.qr(np.random.default_rng(2).standard_normal((dim, 2)))[0].T.astype(
            np.float32
        )
        self.dim = dim

    def videos(self, num_videos: int, num_frames: int) -> np.ndarray:
        """float16 [num_videos, num_frames, dim], rows of length 1."""
        shape = (num_videos, num_frames, LATENT_DIM)
        latent = self._generator.standard_normal((num_videos, 1, LATENT_DIM), np.float32)
        latent = latent + FRAME_SPREAD * self._generator.standard_normal(shape, np.float32)
        rows = latent @ self._map + COMMON * self._common[0]
        rows += 0.02 * self._generator.standard_normal(rows.shape, np.float32)
        rows /= np.linalg.norm(rows, axis=-1, keepdims=True)
        return np.asarray(rows, np.float16)

    def queries(self, targets: np.ndarray) -> np.ndarray:
        """float32 [num_queries, dim] of length 1, one per target row [num_queries, dim]."""
        aims = (
            targets.astype(np.float32)
            - (targets.astype(np.float32) @ self._common[0])[:, None] * self._common[0]
        )
        aims /= np.linalg.norm(aims, axis=1, keepdims=True)
        noise = self._generator.standard_normal((len(targets), LATENT_DIM), np.float32) @ self._map
        noise /= np.linalg.norm(noise, axis=1, keepdims=True)
        rows = QUERY_COSINE * (aims + 0.7 * noise) + self._common[1]
        found: np.ndarray = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return found.astype(np.float32)


def write_rows(path: Path, num_rows: int, *, num_frames: int = 1) -> np.ndarray:
    """float16 [num_rows, dim] in a plain file, mapped; made once."""
    if not path.exists():
        temporary = path.with_suffix(".tmp")
        with open(temporary, "wb") as file:
            for block in blocks(num_rows, num_frames=num_frames):
                file.write(block.tobytes())
        temporary.rename(path)
    return np.memmap(path, np.float16, "r", shape=(num_rows, DIM))


def blocks(num_rows: int, *, num_frames: int) -> Iterator[np.ndarray]:
    """The rows of `write_rows` in blocks."""
    maker = Maker()
    left = num_rows
    while left > 0:
        rows = maker.videos(8192 // num_frames, num_frames).reshape(-1, DIM)[:left]
        left -= len(rows)
        yield rows


def write_store(
    path: Path,
    info: BackboneInfo,
    *,
    num_videos: int,
    num_frames: int,
    num_distinct: int | None = None,
    files: Path | None = None,
) -> None:
    """A store of made-up videos. Kept if it is there.

    Args:
        num_distinct: so many videos are drawn and come again and again: enough where only time counts.
        files: a folder in which each video has a file, which is empty but has a size; None: their files do not exist.
    """
    if (path / "complete").exists():
        return
    tag = BackboneInfo(
        name=info.name, sha256=info.sha256, dim=DIM, input_size=info.input_size, logit_scale=info.logit_scale
    )
    sampling = Uniform(num_frames=num_frames).to_json()
    create_config(path, StoreConfig(backbone=tag, sampling=sampling, preprocessing={}))
    writer, maker = StoreWriter(path, backbone_sha256=info.sha256), Maker()
    batches: list[np.ndarray] = []
    for number in range(num_videos):
        if number % 1024 == 0:
            turn = number // 1024
            if num_distinct is None or turn * 1024 < num_distinct:
                batches = [*batches[: None if num_distinct else 0], maker.videos(1024, num_frames)]
            batch = batches[turn % len(batches)]
        video_id = f"holiday-{number // 1000:03d}/clip-{number:07d}"
        made = record(video_id)
        if files is not None:
            made = with_file(made, files / f"{video_id}.mp4")
        writer.add(made, batch[number % 1024], np.arange(num_frames) + 0.5)
    writer.flush()
    (path / "complete").touch()


def with_file(made: VideoRecord, path: Path) -> VideoRecord:
    """The record of a file that is there, with a hole where a video would be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        file.truncate(made.num_bytes)
    return replace(made, path=str(path), mtime_ns=path.stat().st_mtime_ns)


def record(video_id: str) -> VideoRecord:
    """A record of a file that was never there."""
    return VideoRecord(
        video_id=video_id,
        path=f"/videos/{video_id}.mp4",
        num_bytes=1_000_000,
        mtime_ns=time.time_ns(),
        fingerprint=secrets.token_hex(16),
        duration_seconds=12.0,
        width=320,
        height=240,
        codec="h264",
        extracted_at=time.time(),
    )
