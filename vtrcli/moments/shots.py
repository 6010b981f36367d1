"""Where the shots of a video begin, from the features of its frames; nothing is decoded again."""

from __future__ import annotations

import numpy as np

from vtrcli.store.reader import unit_rows

# A distance is 1 - cosine. All are our choice, by `benchmarks/moments.py` (docs/experiments.md).
STEP_SECONDS = (
    0.5  # frames nearer to each other are alike whatever happens: one in so long a time is compared
)
NUM_NEIGHBOURS = 3  # steps on each side that say how much frames change just there
MIN_RATIO = 1.5  # a cut is that many times as large as those steps: neither noise nor fast motion is one,
SPREAD_SHARE = 0.5  # leads that far of the way to what any two frames of the video differ by,
MIN_DISTANCE = (
    0.2  # and is at least this: within a shot of a real video any two frames differ by up to 0.17 (ViT-B/32)
)
SPREAD_FRAMES = 256  # as many frames, evenly spaced, tell how far any two differ
_CHUNK_ROWS = 256  # as float32 at a time: a core's cache holds them, and BLAS wakes no threads for so few


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
    last = (
        features[:1].astype(np.float32),
        np.ones(1, np.float32),
    )  # the row compared last, and 1 / its length
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
