"""Frames of many videos are packed into batches of one fixed size, and their features handed back per video.

The size never varies, the last batch is padded: kernels may round differently for another batch size, and a
store that was interrupted must come out bit for bit as one that was not.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


class FrameBatcher:
    """Packs frames for one encoder."""

    def __init__(
        self, encode: Callable[[np.ndarray], np.ndarray], *, batch_size: int, input_size: int
    ) -> None:
        self._encode = encode
        self._pixels = np.zeros((batch_size, input_size, input_size, 3), np.uint8)
        self._owners: list[tuple[int, int]] = []
        self._filled = 0

    def push(self, owner: int, pixels: np.ndarray) -> list[tuple[int, np.ndarray]]:
        """Add uint8 [num_frames, size, size, 3] of one video.

        Returns:
            (owner, features float32 [num_rows, dim]) for every batch that became full, in the order of pushing.
        """
        done: list[tuple[int, np.ndarray]] = []
        start = 0
        while start < len(pixels):
            count = min(len(pixels) - start, len(self._pixels) - self._filled)
            self._pixels[self._filled : self._filled + count] = pixels[start : start + count]
            self._owners.append((owner, count))
            self._filled += count
            start += count
            if self._filled == len(self._pixels):
                done += self.flush()
        return done

    def flush(self) -> list[tuple[int, np.ndarray]]:
        """Encode what has gathered, padded with black frames."""
        if not self._filled:
            return []
        self._pixels[self._filled :] = 0
        features = self._encode(self._pixels)
        done = []
        row = 0
        for owner, count in self._owners:
            done.append((owner, features[row : row + count]))
            row += count
        self._owners, self._filled = [], 0
        return done
