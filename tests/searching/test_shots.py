"""Cuts are found between different scenes, and nowhere else."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vtrcli.searching.shots import SPREAD_FRAMES, shot_starts
from vtrcli.store.reader import unit_rows


def scenes(sizes: list[int], *, noise: float, seed: int = 0, dim: int = 64) -> np.ndarray:
    """Frames of one random direction per scene, with a random vector of length `noise` added to each."""
    rng = np.random.default_rng(seed)
    frames = np.repeat(unit_rows(rng.normal(size=(len(sizes), dim))), sizes, axis=0)
    return unit_rows(frames + noise * unit_rows(rng.normal(size=frames.shape)))


@pytest.mark.parametrize("noise", [0.0, 0.2, 0.5])
def test_a_shot_begins_where_the_scene_changes(noise: float) -> None:
    starts = shot_starts(scenes([7, 12, 5, 9], noise=noise))
    assert starts.dtype == np.int64
    assert starts.tolist() == [0, 7, 19, 24]


@pytest.mark.parametrize("noise", [0.0, 0.01, 0.2, 1.0, 3.0])
def test_one_scene_is_one_shot_however_noisy(noise: float) -> None:
    assert shot_starts(scenes([200], noise=noise)).tolist() == [0]


def test_a_slow_drift_has_no_cut() -> None:
    angles = np.linspace(0, np.pi, 60)
    assert shot_starts(np.stack([np.cos(angles), np.sin(angles)], axis=1)).tolist() == [0]


def test_a_short_scene_amid_a_long_one_is_a_shot_of_its_own() -> None:
    frames = scenes([1, 1], noise=0)
    assert shot_starts(frames[[0] * 20 + [1] * 4 + [0] * 20]).tolist() == [0, 20, 24]


@pytest.mark.parametrize(("num_frames", "expected"), [(0, []), (1, [0]), (2, [0])])
def test_too_few_frames_to_compare_are_one_shot(num_frames: int, expected: list[int]) -> None:
    assert shot_starts(np.eye(3, dtype=np.float32)[:num_frames]).tolist() == expected


def test_a_long_video_is_cut_like_a_short_one() -> None:
    sizes = [30] * (3 * SPREAD_FRAMES // 30)
    assert shot_starts(scenes(sizes, noise=0.3)).tolist() == np.cumsum([0, *sizes[:-1]]).tolist()


def test_zero_rows_do_no_harm() -> None:
    starts = shot_starts(np.zeros((5, 4), np.float32))
    assert starts.tolist() == [0]


@given(st.lists(st.integers(1, 6), min_size=1, max_size=12), st.floats(0, 2), st.integers(0, 9))
def test_starts_ascend_from_the_first_frame(sizes: list[int], noise: float, seed: int) -> None:
    frames = scenes(sizes, noise=noise, seed=seed, dim=8)
    starts = shot_starts(frames)
    assert starts[0] == 0
    assert (np.diff(starts) > 0).all()
    assert starts[-1] < len(frames)


@pytest.mark.skipif("VTR_TEST_DATA" not in os.environ, reason="VTR_TEST_DATA is not set")
@pytest.mark.parametrize("step", [1, 2, 5, 10])
def test_a_real_video_of_one_shot_is_not_cut(step: int) -> None:
    path = Path(os.environ["VTR_TEST_DATA"], "features", "v_GGSY1Qvo990_clip_vitb32_5fps.npy")
    assert shot_starts(unit_rows(np.load(path))[::step]).tolist() == [0]
