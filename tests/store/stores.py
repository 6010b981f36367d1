"""Small stores with known contents, for the tests of every room that reads one."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from vtrcli.files import write_whole
from vtrcli.store.config import BackboneInfo, StoreConfig, create_config
from vtrcli.store.records import VideoRecord
from vtrcli.store.shard import shard_bytes
from vtrcli.store.writer import StoreWriter

SHA256 = "ab" * 32


def make_record(video_id: str, *, path: str | None = None, **changes: object) -> VideoRecord:
    values: dict[str, object] = {
        "video_id": video_id,
        "path": path or f"/videos/{video_id}.mp4",
        "num_bytes": 1000,
        "mtime_ns": 1_700_000_000_123_456_789,
        "fingerprint": hashlib.sha256(video_id.encode("utf-8", "surrogatepass")).hexdigest()[:32],
        "duration_seconds": 2.0,
        "width": 320,
        "height": 240,
        "codec": "h264",
        "extracted_at": 1_700_000_001.5,
    }
    return VideoRecord(**{**values, **changes})  # type: ignore[arg-type]


def make_config(*, dim: int = 4, sha256: str = SHA256, name: str = "tiny") -> StoreConfig:
    return StoreConfig(
        backbone=BackboneInfo(name=name, sha256=sha256, dim=dim, input_size=32, logit_scale=100.0),
        sampling={"num_frames": 3},
        preprocessing={"resize": "bicubic"},
    )


def make_store(path: Path, videos: dict[str, np.ndarray], *, dim: int = 4) -> Path:
    """A store with the given float [num_frames, dim] per video id, one frame per second."""
    create_config(path, make_config(dim=dim))
    writer = StoreWriter(path, backbone_sha256=SHA256)
    for video_id, features in videos.items():
        writer.add(make_record(video_id), features, np.arange(len(features)) + 0.5)
    writer.flush()
    return path


def write_shard(
    path: Path,
    records: list[VideoRecord],
    features: list[np.ndarray],
    timestamps: list[np.ndarray],
    *,
    backbone_sha256: str,
) -> None:
    """Write one shard under a name of one's own."""
    bodies = [record.to_json() for record in records]
    write_whole(path, shard_bytes(bodies, features, timestamps, backbone_sha256=backbone_sha256))
