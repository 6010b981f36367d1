"""Where in a video a query matches: its score over the whole length, in a few numbers that can be drawn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

MAX_PARTS = 120
HOTTEST = 100


def over_time(
    scores: np.ndarray, timestamps: np.ndarray, duration_seconds: float | None, *, most: int = MAX_PARTS
) -> np.ndarray:
    """The best score in each of equal parts of a video, float32 [num_parts]; a part without a frame has that of the
    frame nearest to its middle. As many parts as frames, but at most `most`.

    Args:
        scores: float32 [num_frames].
        timestamps: float32 [num_frames], seconds, ascending.
        duration_seconds: of the video; None where it is not known: it ends with its last frame.
    """
    num_parts = min(len(scores), most)
    edges = np.linspace(0.0, max(duration_seconds or 0.0, float(timestamps[-1])), num_parts + 1)
    parts = np.clip(np.searchsorted(edges, timestamps, side="right") - 1, 0, num_parts - 1)
    found = np.full(num_parts, -np.inf, np.float32)
    np.maximum.at(found, parts, scores)
    empty = np.flatnonzero(np.isinf(found))
    middles = (edges[empty] + edges[empty + 1]) / 2
    found[empty] = scores[np.abs(middles[:, None] - timestamps[None]).argmin(axis=1)]
    return found


def as_heat(strips: Sequence[np.ndarray]) -> list[list[int]]:
    """Strips on one scale: 0 for the lowest score in any of them, 100 for the highest (our choice)."""
    if not strips:
        return []
    low, high = min(float(strip.min()) for strip in strips), max(float(strip.max()) for strip in strips)
    scale = HOTTEST / max(high - low, 1e-6)
    return [np.rint((strip - low) * scale).astype(int).tolist() for strip in strips]
