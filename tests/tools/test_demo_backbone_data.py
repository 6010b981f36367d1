from __future__ import annotations

import random

import numpy as np

from tools.demo_backbone.data import GEOMETRY_DIM, draw_batch


def test_a_batch_has_one_text_per_clip_and_per_frame() -> None:
    batch = draw_batch(random.Random(0), num_clips=7, num_frames=3, size=64)
    assert batch.frames.shape == (7, 3, 64, 64, 3)
    assert batch.frames.dtype == np.uint8
    assert (len(batch.clip_texts), len(batch.frame_texts)) == (7, 21)
    assert batch.geometry.shape == (21, GEOMETRY_DIM)
    assert np.nanmax(np.abs(batch.geometry)) < 4


def test_a_batch_depends_on_its_seed_alone() -> None:
    one, same, other = (
        draw_batch(random.Random(seed), num_clips=2, num_frames=2, size=64) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(one.frames, same.frames)
    assert one.frame_texts == same.frame_texts != other.frame_texts
