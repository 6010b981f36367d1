"""Where a video's shots begin, from the features of its sampled frames alone; nothing is decoded again."""

from __future__ import annotations

import numpy as np

# All are our choice, by `benchmarks/moments.py` (docs/experiments.md has the figures). A distance is 1 - cosine.
NUM_NEIGHBOURS = 3  # steps on each side that say how much frames change just there
MIN_RATIO = 1.5  # a cut is that many times as large as those steps: neither noise nor fast motion is one,
SPREAD_SHARE = 0.5  # leads that far of the way to what any two frames of the video differ by,
MIN_DISTANCE = 0.15  # and is at least this: steps within a shot of a real video reach 0.12 (ViT-B/32, 5 fps)
SPREAD_FRAMES = 256  # as many frames, evenly spaced, tell how far any two differ


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


def _usual_steps(steps: np.ndarray, at: np.ndarray) -> np.ndarray:
    """The median of the steps around each of the steps `at`, without itself; mirrored at the ends."""
    padded = np.pad(steps, NUM_NEIGHBOURS, mode="symmetric")
    offsets = np.delete(np.arange(2 * NUM_NEIGHBOURS + 1), NUM_NEIGHBOURS)
    around = np.sort(padded[at[:, None] + offsets], axis=1)
    return np.asarray((around[:, NUM_NEIGHBOURS - 1] + around[:, NUM_NEIGHBOURS]) / 2)


def _spread(unit_frames: np.ndarray) -> float:
    """The mean distance over all pairs of different frames, by the length of their sum."""
    some = unit_frames[:: -(-len(unit_frames) // SPREAD_FRAMES)]
    total = some.sum(axis=0, dtype=np.float64)
    return 1 - float(total @ total - len(some)) / (len(some) * (len(some) - 1))
