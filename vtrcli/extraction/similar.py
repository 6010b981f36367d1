"""Near-equal frames of a video, which are encoded once: slides, screens, a camera that does not move.

A frame is compared with the one of its video that was encoded last, never with one that was passed over, so that slow
change adds up until it is seen, and what is encoded does not depend on batches, workers or the order of videos.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vtrcli.errors import UsageError

CELL_PIXELS = (
    16  # side of the squares over which differences are averaged: a half or a whole patch of most towers
)


def require_bound(max_difference: float) -> None:
    """Raises UsageError for a difference that two frames cannot have."""
    if not 0 <= max_difference <= 255:
        raise UsageError(
            f"frames are similar up to {max_difference}",
            allowed="0 (equal frames alone) to 255",
            to_do="change --similar-frames",
        )


class NewFrames:
    """Picks the frames of one video that are to be encoded; give it all of them, in their order.

    Args:
        max_difference: of `cell_difference`; 0: only frames that are the same in every byte are passed over.
    """

    def __init__(self, max_difference: float) -> None:
        self._max_difference = max_difference
        self._last: NDArray[np.uint8] | None = None
        self._num_picked = 0

    def pick(self, pixels: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """uint8 [num_frames, height, width, 3] -> those to encode, and per frame (int64 [num_frames]) the number of the
        one that stands for it, counted over the whole video."""
        is_new = np.zeros(len(pixels), bool)
        numbers = np.zeros(len(pixels), np.int64)
        for index, frame in enumerate(pixels):
            if self._last is None or not self._is_same(frame, self._last):
                self._last = frame
                self._num_picked += 1
                is_new[index] = True
            numbers[index] = self._num_picked - 1
        return (pixels if is_new.all() else pixels[is_new]), numbers

    def _is_same(self, frame: NDArray[np.uint8], other: NDArray[np.uint8]) -> bool:
        if np.array_equal(frame, other):
            return True
        return self._max_difference > 0 and cell_difference(frame, other) <= self._max_difference


def cell_difference(frame: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    """How much two frames, uint8 [height, width, 3], differ where they differ most: of all squares of `CELL_PIXELS` the
    largest mean of absolute differences, 0 to 255 (our choice). A mean over all would not see a small thing appear."""
    apart = np.maximum(frame, other) - np.minimum(frame, other)
    rows, columns = (range(0, size, CELL_PIXELS) for size in apart.shape[:2])
    sums = np.add.reduceat(apart.sum(axis=2, dtype=np.int32), rows, axis=0)
    sums = np.add.reduceat(sums, columns, axis=1)
    heights, widths = (
        np.diff([*edges, size]) for edges, size in zip((rows, columns), apart.shape[:2], strict=True)
    )
    return float((sums / (3 * np.outer(heights, widths))).max())
