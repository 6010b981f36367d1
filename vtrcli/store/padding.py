"""Videos of unequal length as one array: long ones are thinned, short ones padded."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vtrcli.store.reader import FeatureStore


def padded_frames(
    store: FeatureStore, video_ids: Sequence[str], *, num_frames: int
) -> tuple[np.ndarray, np.ndarray]:
    """Features and mask of videos of a store, as `padded`."""
    features = [store.features(video_id) for video_id in video_ids]
    return padded(features, num_frames=num_frames, dim=store.config.backbone.dim)


def padded(features: Sequence[np.ndarray], *, num_frames: int, dim: int) -> tuple[np.ndarray, np.ndarray]:
    """Features float16 [num_videos, num_frames, dim], zeros behind the last frame, and their mask, bool
    [num_videos, num_frames]; videos with more frames are thinned evenly.

    Args:
        features: per video float [its frames, dim].
    """
    frames = np.zeros((len(features), num_frames, dim), np.float16)
    mask = np.zeros((len(features), num_frames), bool)
    for row, rows in enumerate(features):
        chosen = rows[spread(len(rows), num_frames)]
        frames[row, : len(chosen)] = chosen
        mask[row, : len(chosen)] = True
    return frames, mask


def spread(num_there: int, num_wanted: int) -> np.ndarray:
    """Indices of `num_wanted` of `num_there` things, the centres of equal parts; all of them when fewer."""
    if num_there <= num_wanted:
        return np.arange(num_there)
    return ((np.arange(num_wanted) + 0.5) * num_there / num_wanted).astype(np.int64)
