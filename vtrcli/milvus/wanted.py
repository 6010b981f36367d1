"""What Milvus should hold: the videos of a feature store, and vectors of trained runs. Reads features when asked."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vtrcli.errors import InputError
from vtrcli.milvus.rows import FRAMES, video_key
from vtrcli.store.reader import FeatureStore, Location, unit_rows
from vtrcli.store.records import VideoRecord

RunVectors = Mapping[str, tuple[Sequence[str], np.ndarray]]


@dataclass(frozen=True)
class WantedVideo:
    """A video as it should be in a collection. `version` changes with the content of its rows; `rows` gives them:
    vectors float32 [n, width] and seconds float32 [n]."""

    record: VideoRecord
    version: str
    rows: Callable[[], tuple[np.ndarray, np.ndarray]]


def wanted_frames(store: FeatureStore) -> dict[str, WantedVideo]:
    """Per video key the frames of a store; they are read when they are sent."""

    def video(video_id: str, at: Location) -> WantedVideo:
        return WantedVideo(
            at.record,
            _version_of(store, at),
            lambda: (unit_rows(store.features(video_id)), store.timestamps(video_id)),
        )

    return {video_key(video_id): video(video_id, at) for video_id, at in store.videos.items()}


def wanted_vectors(store: FeatureStore, vectors: RunVectors) -> dict[str, dict[str, WantedVideo]]:
    """Per space and video key one row. Raises InputError where the vectors do not fit the store."""
    spaces: dict[str, dict[str, WantedVideo]] = {}
    for space, (ids, rows) in vectors.items():
        unknown = next((video_id for video_id in ids if video_id not in store.videos), None)
        if space == FRAMES or unknown is not None or rows.ndim != 2 or len(ids) != len(rows):
            raise InputError(
                f"space {space!r}: {len(ids):,} video ids and vectors of shape {list(rows.shape)}"
                + (f", and {unknown!r} is not in the store" if unknown is not None else ""),
                allowed=f"one vector per video of the store, and any name but {FRAMES!r}",
                to_do="make the vectors from this store",
            )
        spaces[space] = {
            video_key(video_id): _run_video(store, store.videos[video_id], np.asarray(row, np.float32))
            for video_id, row in zip(ids, rows, strict=True)
        }
    return spaces


def _run_video(store: FeatureStore, at: Location, vector: np.ndarray) -> WantedVideo:
    # The version of the video comes first: its vector goes when the video changes.
    tag = f"{_version_of(store, at)}-{hashlib.sha256(vector.tobytes()).hexdigest()[:16]}"
    return WantedVideo(at.record, tag, lambda: (vector[None], np.zeros(1, np.float32)))


def _version_of(store: FeatureStore, at: Location) -> str:
    """Says which features these are; where they lie in the store may change."""
    first = store.shards[at.shard].features[at.start : at.start + 1].tobytes().hex()
    text = f"{at.record.extracted_at!r}:{at.num_frames}:{at.record.fingerprint}:{first}"
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
