"""The moments of a video that match a query, from the features of its frames: start, peak and end of each.

A video is cut into shots by the same features; nothing is decoded again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from vtrcli.moments.shots import scores_and_shots

_DEVIATION_PER_STEP = 1 / (0.6745 * 2**0.5)  # of a Gaussian, from the median step between two draws
_MIN_NOISE = 1e-4  # a cosine of float16 features is not better known; our choice
_MIN_SECONDS = 1e-6  # frames with one time stamp still count for something


@dataclass(frozen=True)
class Moment:
    """Times in seconds from the start of the video; `score` is the peak frame's, as it came in."""

    start_seconds: float
    peak_seconds: float
    end_seconds: float
    score: float

    def cut(self, *, start_seconds: float | None = None, end_seconds: float | None = None) -> Moment:
        """The same moment, beginning later or ending earlier."""
        start = self.start_seconds if start_seconds is None else start_seconds
        end = self.end_seconds if end_seconds is None else end_seconds
        return Moment(start, self.peak_seconds, end, self.score)


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
        smoothing_seconds: scores are means over so long a time, never across shots, and noise is what they differ by
            in as long a time. Where frames lie further apart, they stay as they are. 0 is no smoothing.
        crowded_share: the background is the video's median (over time) while that lies in the lower part of the scores'
            range, up to this share; above it most of the video matches, and only the lower half of the range counts.
    """

    height_share: float = 0.5
    noise_deviations: float = 2.0
    listing_share: float = 0.75
    smoothing_seconds: float = 1.0
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
    curve = _Curve.of(scores, timestamps, duration_seconds, shots=shots, rule=rule)
    raw, best = curve.raw, curve.best
    if num_windows is None:
        listed = min(raw[best], curve.background + rule.listing_share * (raw[best] - curve.background))
        runs = curve.runs(curve.floor(best))
        found = [(first, peak, stop) for first, peak, stop in runs if raw[peak] >= listed]
        found.sort(key=lambda run: -raw[run[1]])
    else:
        found = list(curve.windows(num_windows))
    return [curve.moment(run) for run in found]


def windows_around(
    frames: Sequence[int],
    scores: np.ndarray,
    timestamps: np.ndarray,
    duration_seconds: float | None,
    *,
    shots: np.ndarray | None = None,
    rule: MomentRule = RULE,
) -> list[Moment]:
    """The moment around each of some frames, which is its peak, whatever else the video has; otherwise as above."""
    curve = _Curve.of(scores, timestamps, duration_seconds, shots=shots, rule=rule)
    return [curve.moment(curve.window(frame)) for frame in frames]


Run = tuple[int, int, int]  # of frames: the first, the best, one past the last


@dataclass(frozen=True, kw_only=True)
class _Curve:
    """The scores of a video over time. All float64 [num_frames]; `borders` [num_frames + 1] are where each frame's
    time begins, and where the last one's ends; `shot` int64, the number of each frame's shot."""

    raw: np.ndarray
    smooth: np.ndarray
    times: np.ndarray
    borders: np.ndarray
    shot: np.ndarray
    rule: MomentRule
    background: float
    noise: float

    @classmethod
    def of(
        cls,
        scores: np.ndarray,
        timestamps: np.ndarray,
        duration_seconds: float | None,
        *,
        shots: np.ndarray | None,
        rule: MomentRule,
    ) -> _Curve:
        raw, times = scores.astype(np.float64), timestamps.astype(np.float64)
        middles = (times[1:] + times[:-1]) / 2
        borders = np.concatenate([[0.0], middles, [max(duration_seconds or 0.0, float(times[-1]))]])
        starts = np.zeros(1, np.int64) if shots is None else shots
        shot = np.searchsorted(starts, np.arange(len(raw)), side="right") - 1
        edges = np.append(borders[starts], borders[-1])
        smooth = _smoothed(raw, times, borders, edges[shot], edges[shot + 1], rule.smoothing_seconds)
        weights = _weights(times)
        return cls(
            raw=raw,
            smooth=smooth,
            times=times,
            borders=borders,
            shot=shot,
            rule=rule,
            background=_background(raw, weights, rule.crowded_share),
            noise=_noise(smooth, times, weights, shot, int(np.argmax(raw)), rule.smoothing_seconds),
        )

    @property
    def best(self) -> int:
        return int(np.argmax(self.raw))

    def floor(self, peak: int) -> float:
        """What a smoothed score must reach to belong to the moment of a frame."""
        # A peak stands out of its surroundings by itself: its moment is measured from the best mean around it.
        half = self.rule.smoothing_seconds / 2
        first = np.searchsorted(self.times, self.times[peak] - half)
        stop = np.searchsorted(self.times, self.times[peak] + half, side="right")
        near = np.arange(first, stop)
        top = float(self.smooth[near[self.shot[near] == self.shot[peak]]].max())
        rule = self.rule
        depth = max((1 - rule.height_share) * (top - self.background), rule.noise_deviations * self.noise)
        return min(top - depth, float(self.smooth[peak]))

    def runs(self, floor: float) -> list[Run]:
        """All runs of frames at or above a floor."""
        edges = np.flatnonzero(np.diff(self.smooth >= floor, prepend=False, append=False))
        return [
            (int(first), int(first + np.argmax(self.raw[first:stop])), int(stop))
            for first, stop in edges.reshape(-1, 2)
        ]

    def windows(self, most: int) -> Iterator[Run]:
        """The windows of up to so many peaks, highest first.

        Each is the window of the best frame that none before it holds, down to that frame's own floor; our choice.
        """
        left = self.raw.copy()
        for _ in range(most):
            peak = int(np.argmax(left))
            if left[peak] == -np.inf:
                return
            first, peak, stop = self.window(peak)
            yield first, peak, stop
            left[first:stop] = -np.inf

    def window(self, peak: int) -> Run:
        """The run around a frame, down to its own floor."""
        below = np.flatnonzero(self.smooth < self.floor(peak))
        after = int(np.searchsorted(below, peak))
        first = int(below[after - 1]) + 1 if after else 0
        stop = int(below[after]) if after < len(below) else len(self.smooth)
        return first, peak, stop

    def moment(self, run: Run) -> Moment:
        """A run as times."""
        first, peak, stop = run
        return Moment(
            start_seconds=float(self.borders[first]),
            peak_seconds=float(self.times[peak]),
            end_seconds=float(self.borders[stop]),
            score=float(self.raw[peak]),
        )


def _smoothed(
    scores: np.ndarray,
    times: np.ndarray,
    borders: np.ndarray,
    earliest: np.ndarray,
    latest: np.ndarray,
    seconds: float,
) -> np.ndarray:
    """The mean of the scores over `seconds` around each frame, from `earliest` to `latest` at most (float [n] each).

    Each frame's score counts for the time that the frame stands for, so that the mean is exact whatever the rate;
    equal scores come out exactly equal.
    """
    first, last = np.maximum(times - seconds / 2, earliest), np.minimum(times + seconds / 2, latest)
    alone = (first >= borders[:-1]) & (last <= borders[1:])
    if alone.all():
        return scores
    area = np.concatenate([[0.0], np.cumsum((scores - scores[0]) * np.diff(borders))])
    means = (np.interp(last, borders, area) - np.interp(first, borders, area)) / np.where(
        alone, 1, last - first
    )
    return np.asarray(np.where(alone, scores, scores[0] + means))


def _weights(times: np.ndarray) -> np.ndarray:
    """How long each frame stands for, in seconds; the first and the last as if they had a neighbour outside."""
    gaps = np.diff(times)
    if len(gaps) == 0:
        return np.ones(1)
    seconds = (np.append(gaps[:1], gaps) + np.append(gaps, gaps[-1:])) / 2
    return np.asarray(np.maximum(seconds, _MIN_SECONDS))


def _background(scores: np.ndarray, weights: np.ndarray, crowded_share: float) -> float:
    """What the frames score that do not match (`MomentRule.crowded_share`)."""
    low, high = float(scores.min()), float(scores.max())
    median = sum(_middle(scores, weights)) / 2
    if median <= low + crowded_share * (high - low):
        return median
    lower = scores <= (low + high) / 2
    return sum(_middle(scores[lower], weights[lower])) / 2


def _middle(values: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    """The values of float [n] on both sides of the middle of their weights; the same one twice where it lies in it."""
    order = np.argsort(values)
    sums = np.cumsum(weights[order])
    slack = 1e-9 * sums[-1]  # equal weights may add up to a little less than they are
    lower, upper = np.searchsorted(sums, [sums[-1] / 2 - slack, sums[-1] / 2 + slack])
    return float(values[order[lower]]), float(values[order[min(upper, len(order) - 1)]])


def _noise(
    smooth: np.ndarray, times: np.ndarray, weights: np.ndarray, shot: np.ndarray, best: int, seconds: float
) -> float:
    """The standard deviation of the noise of a smoothed score, from how far it changes in `seconds` (or to the next
    frame where that is later).

    A robust estimate (the median change), as if a score changed by Gaussian noise alone. Changes across cuts do not
    count, nor do those to or from around the best frame: with few frames they would make any peak look like noise.
    """
    frames = np.arange(len(times))
    later = np.maximum(np.searchsorted(times, times + seconds * (1 - 1e-9)), frames + 1)
    counts = (later < len(times)) & ((later < best) | (frames > best))
    frames, later = frames[counts], later[counts]
    same = shot[frames] == shot[later]
    if not same.any():
        return _MIN_NOISE
    changes = np.abs(smooth[later[same]] - smooth[frames[same]])
    return max(_MIN_NOISE, _DEVIATION_PER_STEP * _middle(changes, weights[frames[same]])[0])


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
    scores, shots = scores_and_shots(features, timestamps, clip_vector)
    return find_moments(scores, timestamps, duration_seconds, shots=shots, num_windows=num_windows)
