"""From the scores of a video's frames to the moments that match: start, peak and end of each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_DEVIATION_PER_STEP = 1 / (0.6745 * 2**0.5)  # of a Gaussian, from the median step between two draws
_MIN_NOISE = 1e-4  # a cosine of float16 features is not better known; our choice


@dataclass(frozen=True)
class Moment:
    """Times in seconds from the start of the video; `score` is the peak frame's, as it came in."""

    start_seconds: float
    peak_seconds: float
    end_seconds: float
    score: float


@dataclass(frozen=True, kw_only=True)
class MomentRule:
    """What makes frames a moment. "Height" is how far a score lies above the video's background.

    All values are our choice, by `benchmarks/moments.py` (docs/experiments.md has the figures).

    Attributes:
        height_share: frames belong to a moment while they reach this share of the best frame's height: the
            half-height width, as for any peak on a background.
        noise_deviations: and also while they lie less than this many deviations of the noise below it, so that a
            video that matches as a whole is one moment.
        listing_share: a further moment is listed when its best frame reaches this share of the height.
        neighbour_weight: of the frame before and after, against 1 for the frame itself, when scores are
            smoothed; never across shots. 0 is no smoothing.
        crowded_share: the background is the video's median while that lies in the lower part of the scores'
            range, up to this share; above it most of the video matches, and only the lower half of the range counts.
    """

    height_share: float = 0.5
    noise_deviations: float = 2.0
    listing_share: float = 0.75
    neighbour_weight: float = 0.25
    crowded_share: float = 0.67


RULE = MomentRule()


def find_moments(
    scores: np.ndarray,
    timestamps: np.ndarray,
    duration_seconds: float | None,
    *,
    shots: np.ndarray | None = None,
    max_moments: int | None = None,
    rule: MomentRule = RULE,
) -> list[Moment]:
    """The moments of one video, best first; at least one. They never overlap or touch.

    A sampled frame stands for the time half way to its neighbours; the first and the last reach to the ends of
    the video. Where a moment ends follows from smoothed scores; where it peaks, and its score, from the raw ones:
    the score of the first is the maximum over the frames.

    Args:
        scores: float [num_frames], finite, at least one.
        timestamps: float [num_frames], seconds, ascending.
        duration_seconds: of the video; None where it is not known: the last frame is its end then.
        shots: int [num_shots], the first frame of each shot (`shot_starts`); None is one shot.
        max_moments: the most to list.
    """
    raw, times = scores.astype(np.float64), timestamps.astype(np.float64)
    same_shot = np.ones(len(raw) - 1, bool)
    if shots is not None:
        same_shot[shots[1:] - 1] = False
    best = int(np.argmax(raw))
    background = _background(raw, rule.crowded_share)
    smooth = _smoothed(raw, same_shot, rule.neighbour_weight)
    # The best frame belongs to its moment, whatever smoothing made of it.
    top = min(smooth[best], raw[best])
    noise = _noise(raw, same_shot, best)
    floor = top - max((1 - rule.height_share) * (top - background), rule.noise_deviations * noise)
    # Runs of frames at or above the floor: the first frame of each, and one past its last.
    firsts, stops = np.flatnonzero(np.diff(smooth >= floor, prepend=False, append=False)).reshape(-1, 2).T
    peaks = [int(first + np.argmax(raw[first:stop])) for first, stop in zip(firsts, stops, strict=True)]
    listed = min(raw[best], background + rule.listing_share * (raw[best] - background))
    order = sorted((n for n, peak in enumerate(peaks) if raw[peak] >= listed), key=lambda n: -raw[peaks[n]])
    borders = _borders(times, duration_seconds)
    return [
        Moment(
            start_seconds=float(borders[firsts[n]]),
            peak_seconds=float(times[peaks[n]]),
            end_seconds=float(borders[stops[n]]),
            score=float(raw[peaks[n]]),
        )
        for n in order[:max_moments]
    ]


def _background(scores: np.ndarray, crowded_share: float) -> float:
    """What the frames score that do not match (`MomentRule.crowded_share`)."""
    low, high = float(scores.min()), float(scores.max())
    median = _median(scores)
    if median <= low + crowded_share * (high - low):
        return median
    return _median(scores[scores <= (low + high) / 2])


def _median(values: np.ndarray) -> float:
    """The middle of float [n]. NumPy's own loads its masked arrays first, 8 ms of the half second of a search."""
    ordered, middle = np.sort(values), len(values) // 2
    return float((ordered[middle] + ordered[~middle]) / 2)


def _smoothed(scores: np.ndarray, same_shot: np.ndarray, weight: float) -> np.ndarray:
    """The weighted mean of each frame and its neighbours in the shot; equal scores come out exactly equal."""
    weights = weight * same_shot
    drift = weights * np.diff(scores)
    pulls = np.append(drift, 0) - np.append(0, drift)
    return np.asarray(scores + pulls / (1 + np.append(weights, 0) + np.append(0, weights)))


def _noise(scores: np.ndarray, same_shot: np.ndarray, best: int) -> float:
    """The standard deviation of the noise of a score, from the steps between neighbours.

    A robust estimate (the median step), as if a score changed by Gaussian noise alone. Cuts do not count, nor do the
    steps up to the best frame and down from it: with few frames they would make any peak look like noise.
    """
    counts = same_shot.copy()
    counts[max(best - 1, 0) : best + 1] = False
    steps = np.sort(np.abs(np.diff(scores))[counts])
    if len(steps) == 0:
        return _MIN_NOISE
    return max(_MIN_NOISE, _DEVIATION_PER_STEP * float(steps[(len(steps) - 1) // 2]))


def _borders(times: np.ndarray, duration_seconds: float | None) -> np.ndarray:
    """Where each frame's time begins, and where the last one's ends; float64 [num_frames + 1], seconds."""
    middles = (times[1:] + times[:-1]) / 2
    return np.concatenate([[0.0], middles, [max(duration_seconds or 0.0, float(times[-1]))]])
