"""The moments of a video that match a query, from the features of its frames: start, peak and end of each.

A video is cut into shots by the same features; nothing is decoded again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from vtrcli.moments.moment import Moment
from vtrcli.store.reader import unit_rows

_DEVIATION_PER_STEP = 1 / (0.6745 * 2**0.5)  # of a Gaussian, from the median step between two draws
_MIN_NOISE = 1e-4  # a cosine of float16 features is not better known; our choice
_MIN_SECONDS = 1e-6  # frames with one time stamp still count for something
# Of shots, where a distance is 1 - cosine. All are our choice, by `benchmarks/moments.py` (docs/experiments.md).
STEP_SECONDS = 0.5  # frames nearer to each other are alike whatever happens: one in so long is compared
NUM_NEIGHBOURS = 3  # steps on each side that say how much frames change just there
MIN_RATIO = 1.5  # a cut is that many times as large as those steps: neither noise nor fast motion is one,
SPREAD_SHARE = 0.5  # leads that far of the way to what any two frames of the video differ by,
MIN_DISTANCE = 0.2  # and is at least this: any two frames of a real shot differ by up to 0.17 (ViT-B/32)
SPREAD_FRAMES = 256  # as many frames, evenly spaced, tell how far any two differ
_CHUNK_ROWS = 256  # as float32 at a time: a core's cache holds them, and BLAS wakes no threads for so few


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


def moment_around(
    frame: int,
    scores: np.ndarray,
    timestamps: np.ndarray,
    duration_seconds: float | None,
    *,
    shots: np.ndarray | None = None,
) -> Moment:
    """The moment around a frame, which is its peak, whatever else the video has; otherwise as above."""
    curve = _Curve.of(scores, timestamps, duration_seconds, shots=shots, rule=RULE)
    return curve.moment(curve.window(frame))


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
        weights = _weights(times)
        # What a first or last frame stands for beyond its neighbour's distance tells nothing of its surroundings.
        cells = np.concatenate([times[:1] - weights[0] / 2, middles, times[-1:] + weights[-1] / 2])
        edges = np.append(cells[starts], cells[-1])
        smooth = _smoothed(raw, times, cells, edges[shot], edges[shot + 1], rule.smoothing_seconds)
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


def shot_starts(features: np.ndarray, timestamps: np.ndarray) -> np.ndarray:
    """The first frame of each shot.

    A shot begins where a frame differs from the one before it clearly more than the steps around it do. The
    measure adapts to the video, because noise, motion and a low sampling rate all make neighbours less alike.
    Of densely sampled frames one every STEP_SECONDS is compared, and a cut lies at the largest step between two.

    Args:
        features: float [num_frames, dim], of any length, in the order of time.
        timestamps: float [num_frames], seconds, ascending.

    Returns:
        int64 [num_shots], ascending, beginning with 0; empty without frames.
    """
    return scores_and_shots(features, timestamps, np.zeros(features.shape[1], np.float32))[1]


def scores_and_shots(
    features: np.ndarray, timestamps: np.ndarray, queries: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The cosines of frames with queries, and `shot_starts`: the features are read once, and memory stays flat.

    Args:
        features, timestamps: as for `shot_starts`.
        queries: float [dim] or [num_queries, dim], of length 1.

    Returns:
        float32 [num_frames] or [num_frames, num_queries]; int64 [num_shots].
    """
    queries = queries.astype(np.float32)
    if len(features) == 0:
        return np.zeros((0, *queries.shape[:-1]), np.float32), np.zeros(0, np.int64)
    slots = np.rint(timestamps.astype(np.float64) / STEP_SECONDS)
    compared = np.flatnonzero(np.diff(slots, prepend=np.nan))
    scores, steps = [], []
    # The row compared last, and 1 / its length.
    last = features[:1].astype(np.float32), np.ones(1, np.float32)
    for start in range(0, len(features), _CHUNK_ROWS):
        rows = features[start : start + _CHUNK_ROWS].astype(np.float32)
        factors = 1 / np.maximum(np.sqrt(_products(rows, rows)), np.finfo(np.float32).tiny)
        scores.append((rows @ queries.T).T * factors)
        first, stop = np.searchsorted(compared, [start, start + len(rows)])
        chosen = compared[first:stop] - start
        if len(chosen) < len(rows):
            rows, factors = rows[chosen], factors[chosen]
        if len(rows):
            ahead, lengths = np.concatenate([last[0], rows[:-1]]), np.concatenate([last[1], factors[:-1]])
            steps.append(1 - _products(ahead, rows) * lengths * factors)
            last = rows[-1:], factors[-1:]
    cosines = np.concatenate(scores, axis=-1).T
    return cosines, _starts(features, compared, np.concatenate(steps)[1:])


def _starts(features: np.ndarray, compared: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """int64 [num_shots] from the distances float32 [n - 1] between n rows int64 [n]."""
    large = np.flatnonzero(steps > MIN_DISTANCE)
    if len(large) == 0:
        return np.zeros(1, np.int64)
    usual = _usual_steps(steps, large)
    spread = _spread(unit_rows(features[:: -(-len(features) // SPREAD_FRAMES)]))
    needed = np.maximum(usual + SPREAD_SHARE * (spread - usual), MIN_RATIO * usual)
    cuts = large[steps[large] > needed]
    starts = [_largest_step(features, int(compared[cut]), int(compared[cut + 1])) for cut in cuts]
    return np.array([0, *starts], dtype=np.int64)


def _products(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Of each row with its like, float32 [n]: as many tiny matrix products, twice as fast as einsum."""
    return np.asarray((left[:, None, :] @ right[:, :, None]).ravel())


def _largest_step(features: np.ndarray, first: int, last: int) -> int:
    """The frame after the largest step between two frames."""
    if last - first == 1:
        return last
    rows = unit_rows(features[first : last + 1])
    return first + 1 + int(np.argmin(_products(rows[:-1], rows[1:])))


def _usual_steps(steps: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """The median of the steps around each of the steps at `positions`, without itself; mirrored at the ends."""
    padded = np.pad(steps, NUM_NEIGHBOURS, mode="symmetric")
    offsets = np.delete(np.arange(2 * NUM_NEIGHBOURS + 1), NUM_NEIGHBOURS)
    around = np.sort(padded[positions[:, None] + offsets], axis=1)
    return np.asarray((around[:, NUM_NEIGHBOURS - 1] + around[:, NUM_NEIGHBOURS]) / 2)


def _spread(some: np.ndarray) -> float:
    """The mean distance over all pairs of different rows of length 1, by the length of their sum."""
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
    scores, shots = scores_and_shots(features, timestamps, clip_vector)
    return find_moments(scores, timestamps, duration_seconds, shots=shots, num_windows=num_windows)
