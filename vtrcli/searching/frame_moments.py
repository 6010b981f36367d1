"""The moments of a video from the features of its frames and one query vector."""

from __future__ import annotations

import numpy as np

from vtrcli.searching.moments import Moment, find_moments
from vtrcli.searching.scan import exact_products
from vtrcli.searching.shots import shot_starts
from vtrcli.store.reader import unit_rows


def moments_of(
    features: np.ndarray, timestamps: np.ndarray, duration_seconds: float | None, clip_vector: np.ndarray
) -> list[Moment]:
    """The moments, best first, from the cosines of the frames with the query.

    Args:
        features: float [num_frames, dim], of any length.
        timestamps: float [num_frames], seconds.
        clip_vector: float [dim] of length 1.
    """
    frames = unit_rows(features)
    return find_moments(
        exact_products(frames, clip_vector), timestamps, duration_seconds, shots=shot_starts(frames)
    )
