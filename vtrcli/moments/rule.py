"""The moments of a video that match a query, from the features of its frames: start, peak and end of each.

A video is cut into shots by the same features; nothing is decoded again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from vtrcli.store.reader import unit_rows

_DEVIATION_PER_STEP = 1 / (0.6745 * 2**0.5)  # of a Gaussian, from the median step between two draws
_MIN_NOISE = 1e-4  # a cosine of float16 features is not better known; our choice
# Of shots, where a distance is 1 - cosine. All are our choice, by `benchmarks/moments.py` (docs/experiments.md).
NUM_NEIGHBOURS = 3  # steps on each side that say how much frames change just there
MIN_RATIO = 1.5  # a cut is that many times as large as those steps: neither noise nor fast motion is one,
SPREAD_SHARE = 0.5  # leads that far of the way to what any two frames of the video differ by,
MIN_DISTANCE = 0.15  # and is at least this: steps within a shot of a real video reach 0.12 (ViT-B/32, 5 fps)
SPREAD_FRAMES = 256  # as many frames, evenly spaced, tell how far any two differ


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
    rule: MomentRule = RULE,
    num_windows: int | None = None,
) -> list[Moment]:
    """The moments of one video, best first; at least one. They never overlap or touch.

    With `num_windows` all peaks are listed instead, as a mean average precision wants them: up to that many windows,
    best first, the first of them the best moment; a further one may overlap another or lie within it.

    A sampled frame stands for the time half way to its neighbours; the first and the last reach to the ends of
    the video. Where a moment ends follows from smoothed scores; where it peaks, and its score, from the raw ones:
    the score of the first is the maximum over the frames.

    Args:
        scores: float [num_frames], finite, at least one.
        timestamps: float [num_frames], seconds, ascending.
        duration_seconds: of the video; None where it is not known: the last frame is its end then.
        shots: int [num_shots], the first frame of each shot (`shot_starts`); None is one shot.
        num_windows: the most windows to list, at least 1; None lists the moments alone.
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
    height = _Height(background, rule.noise_deviations * noise, rule.height_share)
    borders = _borders(times, duration_seconds)
    if num_windows is None:
        runs = _runs(smooth >= height.floor(top))
        listed = min(raw[best], background + rule.listing_share * (raw[best] - background))
        found = [(first, _peak(raw, first, stop), stop) for first, stop in runs]
        found = [run for run in found if raw[run[1]] >= listed]
    else:
        found = list(_windows(raw, smooth, height, num_windows))
    return [
        Moment(
            start_seconds=float(borders[first]),
            peak_seconds=float(times[peak]),
            end_seconds=float(borders[stop]),
            score=float(raw[peak]),
        )
        for first, peak, stop in sorted(found, key=lambda run: -raw[run[1]])
    ]


@dataclass(frozen=True)
class _Height:
    """How far below its top a moment reaches."""

    background: float
    margin: float
    share: float

    def floor(self, top: float) -> float:
        return top - max((1 - self.share) * (top - self.background), self.margin)


def _runs(belongs: np.ndarray) -> list[tuple[int, int]]:
    """Runs of True in bool [n]: the first of each, and one past its last."""
    edges = np.flatnonzero(np.diff(belongs, prepend=False, append=False))
    return [(int(first), int(stop)) for first, stop in edges.reshape(-1, 2)]


def _peak(scores: np.ndarray, first: int, stop: int) -> int:
    return first + int(np.argmax(scores[first:stop]))


def _windows(
    raw: np.ndarray, smooth: np.ndarray, height: _Height, num_windows: int
) -> Iterator[tuple[int, int, int]]:
    """First frame, peak, and one past the last of up to `num_windows` windows, highest peak first.

    Each is the window of the best frame that none before it holds, down to that frame's own floor; our choice.
    """
    left = raw.copy()
    for _ in range(num_windows):
        peak = int(np.argmax(left))
        if left[peak] == -np.inf:
            return
        below = np.flatnonzero(smooth < height.floor(min(smooth[peak], raw[peak])))
        after = int(np.searchsorted(below, peak))
        first = int(below[after - 1]) + 1 if after else 0
        stop = int(below[after]) if after < len(below) else len(raw)
        yield first, peak, stop
        left[first:stop] = -np.inf


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


def shot_starts(unit_frames: np.ndarray) -> np.ndarray:
    """The first frame of each shot.

    A shot begins where a frame differs from the one before it clearly more than the steps around it do. The
    measure adapts to the video, because noise, motion and a low sampling rate all make neighbours less alike.

    Args:
        unit_frames: float [num_frames, dim], rows of length 1, in the order of time.

    Returns:
        int64 [num_shots], ascending, beginning with 0; empty without frames.
    """
    if len(unit_frames) < 2:
        return np.arange(len(unit_frames), dtype=np.int64)
    # Products of rows as many tiny matrix products: twice as fast as einsum.
    steps = 1 - (unit_frames[1:, None, :] @ unit_frames[:-1, :, None]).ravel()
    large = np.flatnonzero(steps > MIN_DISTANCE)
    usual = _usual_steps(steps, large)
    needed = np.maximum(usual + SPREAD_SHARE * (_spread(unit_frames) - usual), MIN_RATIO * usual)
    cuts = large[steps[large] > needed]
    return np.concatenate([[0], cuts + 1]).astype(np.int64)


def _usual_steps(steps: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """The median of the steps around each of the steps at `positions`, without itself; mirrored at the ends."""
    padded = np.pad(steps, NUM_NEIGHBOURS, mode="symmetric")
    offsets = np.delete(np.arange(2 * NUM_NEIGHBOURS + 1), NUM_NEIGHBOURS)
    around = np.sort(padded[positions[:, None] + offsets], axis=1)
    return np.asarray((around[:, NUM_NEIGHBOURS - 1] + around[:, NUM_NEIGHBOURS]) / 2)


def _spread(unit_frames: np.ndarray) -> float:
    """The mean distance over all pairs of different frames, by the length of their sum."""
    some = unit_frames[:: -(-len(unit_frames) // SPREAD_FRAMES)]
    total = some.sum(axis=0, dtype=np.float64)
    return 1 - float(total @ total - len(some)) / (len(some) * (len(some) - 1))


def moments_of(
    features: np.ndarray,
    timestamps: np.ndarray,
    duration_seconds: float | None,
    clip_vector: np.ndarray,
    *,
    num_windows: int | None = None,
) -> list[Moment]:
    """The moments, best first, from the cosines of the frames with the query.

    Args:
        features: float [num_frames, dim], of any length.
        timestamps: float [num_frames], seconds.
        clip_vector: float [dim] of length 1.
        num_windows: as for `find_moments`.
    """
    frames = unit_rows(features)
    scores = frames @ clip_vector.astype(np.float32)
    return find_moments(
        scores, timestamps, duration_seconds, shots=shot_starts(frames), num_windows=num_windows
    )
