"""The exact best of all videos, although most scores are known only to the digits of float16."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from vtrcli.searching.spaces import VideoScores

# Scores [n] of videos [n] -> what they are ranked by; must not fall where the score rises.
Correct = Callable[[np.ndarray, np.ndarray], np.ndarray]


def best_videos(
    scores: VideoScores, *, top_k: int, passes: np.ndarray, correct: Correct | None = None
) -> tuple[list[int], np.ndarray]:
    """The best `top_k` videos that pass, best first, and their exact scores; equal ones in the order of the videos.

    Only videos that can be among the best, whatever float16 hid, are scored once more: those whose highest possible
    value reaches the `top_k`-th of the lowest possible ones.

    Args:
        passes: bool [num_videos].
        correct: what to rank by; None for the scores themselves.
    """
    candidates = np.flatnonzero(passes)
    top_k = min(top_k, len(candidates))
    if top_k <= 0:
        return [], np.zeros(0, np.float32)
    values = scores.values[candidates]
    error = scores.error if isinstance(scores.error, float) else scores.error[candidates]
    ranked_by = correct or (lambda exact, videos: exact)
    lowest, highest = (ranked_by(values + sign * error, candidates) for sign in (-1, 1))
    floor = np.partition(lowest, len(lowest) - top_k)[len(lowest) - top_k]
    close = candidates[highest >= floor]
    exact = scores.exact(close.tolist())
    order = np.argsort(-ranked_by(exact, close), kind="stable")[:top_k]
    return close[order].tolist(), exact[order]
