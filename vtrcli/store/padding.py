"""Videos of unequal length as one array: long ones are thinned, short ones padded."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vtrcli.store.reader import FeatureStore


def padded_frames(
    store: FeatureStore, video_ids: Sequence[str], *, num_frames: int
) -> tuple[np.ndarray, np.ndarray]:
    """Features float16 [num_videos, num_frames, dim], zeros behind the last frame, and their mask, bool
    [num_videos, num_frames]; videos with more frames are thinned evenly."""
    frames = np.zeros((len(video_ids), num_frames, store.config.backbone.dim), np.float16)
    mask = np.zeros((len(video_ids), num_frames), bool)
    for row, video_id in enumerate(video_ids):
        features = store.features(video_id)
        chosen = features[spread(len(features), num_frames)]
        frames[row, : len(chosen)] = chosen
        mask[row, : len(chosen)] = True
    return frames, mask


def spread(num_there: int, num_wanted: int) -> np.ndarray:
    """Indices of `num_wanted` of `num_there` things, the centres of equal parts; all of them when fewer."""
    if num_there <= num_wanted:
        return np.arange(num_there)
    return ((np.arange(num_wanted) + 0.5) * num_there / num_wanted).astype(np.int64)
