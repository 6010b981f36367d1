"""The exact best of all videos, although most scores are known only to the digits of float16."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from vtrcli.searching.presence import Presence
from vtrcli.searching.spaces import VideoScores

BLOCK = 512

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
    top_k = min(top_k, int(np.count_nonzero(passes)))
    if top_k <= 0:
        return [], np.zeros(0, np.float32)
    if correct is None and isinstance(scores.error, float):
        values = scores.values if passes.all() else np.where(passes, scores.values, -np.inf)
        close = np.flatnonzero(values >= kth_largest(values, top_k) - 2 * scores.error)
    else:
        candidates = np.flatnonzero(passes)
        values = scores.values[candidates]
        error = scores.error if isinstance(scores.error, float) else scores.error[candidates]
        bounds = (values - error, values + error)
        lowest, highest = (correct(bound, candidates) if correct else bound for bound in bounds)
        close = candidates[highest >= kth_largest(lowest, top_k)]
    exact = scores.exact(close.tolist())
    order = np.argsort(-(correct(exact, close) if correct else exact), kind="stable")[:top_k]
    return close[order].tolist(), exact[order]


def best_present(
    scores: VideoScores,
    presence: Presence,
    *,
    top_k: int,
    passes: np.ndarray,
    correct: Correct | None = None,
) -> tuple[list[int], np.ndarray]:
    """As `best_videos`, of those that can be shown: who is gone, or the same as a better one, makes room.

    Files are looked for as far down the ranking as it takes, further at each step and never all at once.
    """
    passes = passes.copy()
    num_ahead = top_k
    while True:
        videos, exact = best_videos(scores, top_k=top_k, passes=passes, correct=correct)
        kept = presence.keep(videos, passes)
        if len(kept) == len(videos) or presence.is_exhausted:
            places = {video: place for place, video in enumerate(videos)}
            presence.num_better = _num_better(scores, presence.missing, kept, correct)
            return kept, exact[[places[video] for video in kept]]
        if not presence.show_missing and any(presence.state(video) == "missing" for video in videos):
            num_ahead *= 4
            presence.keep(_about_best(scores, passes, num_ahead), passes.copy())
            passes[presence.missing] = False


def _num_better(scores: VideoScores, missing: list[int], kept: list[int], correct: Correct | None) -> int:
    """How many of the missing would stand above the last of those that are kept."""
    if not missing or not kept:
        return len(missing)
    both = np.array([*missing, kept[-1]])
    values = correct(scores.values[both], both) if correct else scores.values[both]
    return int((values[:-1] > values[-1]).sum())


def _about_best(scores: VideoScores, passes: np.ndarray, number: int) -> list[int]:
    """About the best that pass, about in their order."""
    there = np.flatnonzero(passes)
    values = scores.values[there]
    if number < len(there):
        first = np.argpartition(-values, number)[:number]
        there, values = there[first], values[first]
    about: list[int] = there[np.argsort(-values, kind="stable")].tolist()
    return about


def kth_largest(values: np.ndarray, k: int) -> float:
    """The k-th largest of float [n]; NumPy's partition of so many takes ten times as long.

    The k-th largest of the maxima of blocks is a lower bound of it, and few values reach that.
    """
    if len(values) > 4 * BLOCK * k:
        whole = len(values) // BLOCK * BLOCK
        maxima = values[:whole].reshape(-1, BLOCK).max(axis=1)
        bound = np.partition(maxima, len(maxima) - k)[len(maxima) - k]
        values = values[values >= bound]
    return float(np.partition(values, len(values) - k)[len(values) - k])
