"""Batches across videos: every frame comes back once, in order, and the batch size never varies."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vtrcli.model.backbone import FrameBatcher


@given(counts=st.lists(st.integers(1, 7), max_size=8), batch_size=st.integers(1, 6))
def test_each_video_gets_its_own_rows_back_in_order(counts: list[int], batch_size: int) -> None:
    shapes = []

    def encode(pixels: np.ndarray) -> np.ndarray:
        shapes.append(pixels.shape)
        return pixels[:, 0, 0, :1].astype(np.float32)

    batcher = FrameBatcher(encode, batch_size=batch_size, input_size=2)
    got: dict[int, list[float]] = {owner: [] for owner in range(len(counts))}
    sent: dict[int, list[float]] = {}
    value = 0
    for owner, count in enumerate(counts):
        pixels = np.zeros((count, 2, 2, 3), np.uint8)
        pixels[:] = np.arange(value, value + count).reshape(-1, 1, 1, 1)
        sent[owner] = [float(number) for number in range(value, value + count)]
        value += count
        for name, rows in batcher.push(owner, pixels):
            got[name] += rows[:, 0].tolist()
    for name, rows in batcher.flush():
        got[name] += rows[:, 0].tolist()
    assert got == sent
    assert set(shapes) <= {(batch_size, 2, 2, 3)}
    assert batcher.flush() == []
