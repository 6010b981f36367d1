"""A strip holds the best score of each part, whatever the frames' times."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from vtrcli.searching.strips import as_heat, over_time


@settings(max_examples=30)
@given(st.integers(1, 400), st.integers(1, 130), st.integers(0, 2**32 - 1))
def test_the_best_frame_is_in_its_part(num_frames: int, most: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    times = np.sort(generator.uniform(0, 60, num_frames)).astype(np.float32)
    scores = generator.normal(size=num_frames).astype(np.float32)
    strip = over_time(scores, times, 60.0, most=most)
    assert len(strip) == min(num_frames, most)
    assert strip.max() == scores.max() and set(strip.tolist()) <= set(scores.tolist())
    best = int(scores.argmax())
    edges = np.linspace(0, 60, len(strip) + 1)
    part = int(strip.argmax())
    assert edges[part] <= times[best] <= edges[part + 1] or np.count_nonzero(strip == strip[part]) > 1


def test_strips_have_one_scale() -> None:
    assert as_heat([np.array([0.0, 1.0]), np.array([2.0])]) == [[0, 50], [100]]
    assert as_heat([np.array([0.3])]) == [[0]]
    assert as_heat([]) == []
