"""Shots: cuts that are there, none where there is none, at any rate."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vtrcli.moments.rule import SPREAD_FRAMES, shot_starts
from vtrcli.store.reader import unit_rows


def starts_of(frames: np.ndarray, *, fps: float = 0.5) -> list[int]:
    starts = shot_starts(frames, np.arange(len(frames)) / fps)
    assert starts.dtype == np.int64
    return list(starts.tolist())


def scenes(sizes: list[int], *, noise: float, seed: int = 0, dim: int = 64) -> np.ndarray:
    """Frames of one random direction per scene, with a random vector of length `noise` added to each."""
    rng = np.random.default_rng(seed)
    frames = np.repeat(unit_rows(rng.normal(size=(len(sizes), dim))), sizes, axis=0)
    return unit_rows(frames + noise * unit_rows(rng.normal(size=frames.shape)))


@pytest.mark.parametrize("noise", [0.0, 0.2, 0.5])
def test_a_shot_begins_where_the_scene_changes(noise: float) -> None:
    assert starts_of(scenes([7, 12, 5, 9], noise=noise)) == [0, 7, 19, 24]


@pytest.mark.parametrize("noise", [0.0, 0.01, 0.2, 1.0, 3.0])
def test_one_scene_is_one_shot_however_noisy(noise: float) -> None:
    assert starts_of(scenes([200], noise=noise)) == [0]


def test_a_slow_drift_has_no_cut() -> None:
    angles = np.linspace(0, np.pi, 60)
    assert starts_of(np.stack([np.cos(angles), np.sin(angles)], axis=1)) == [0]


def test_a_short_scene_amid_a_long_one_is_a_shot_of_its_own() -> None:
    frames = scenes([1, 1], noise=0)
    assert starts_of(frames[[0] * 20 + [1] * 4 + [0] * 20]) == [0, 20, 24]


@pytest.mark.parametrize("fps", [0.2, 1, 2, 5, 19.62, 30])
def test_a_cut_is_found_to_the_frame_at_any_rate(fps: float) -> None:
    sizes = [round(seconds * fps) for seconds in (31, 22, 40, 25)]
    assert starts_of(scenes(sizes, noise=0.3), fps=fps) == np.cumsum([0, *sizes[:-1]]).tolist()


def test_pictures_that_are_shown_several_times_are_no_shots() -> None:
    """A film of three pictures a second, stored at thirty: nine steps in ten are none, the tenth is motion."""
    angles = np.repeat(np.arange(60) * 0.4, 10)
    assert starts_of(np.stack([np.cos(angles), np.sin(angles)], axis=1), fps=30) == [0]


@pytest.mark.parametrize(("num_frames", "expected"), [(0, []), (1, [0]), (2, [0])])
def test_too_few_frames_to_compare_are_one_shot(num_frames: int, expected: list[int]) -> None:
    assert starts_of(np.eye(3, dtype=np.float32)[:num_frames]) == expected


def test_a_long_video_is_cut_like_a_short_one() -> None:
    sizes = [30] * (3 * SPREAD_FRAMES // 30)
    assert starts_of(scenes(sizes, noise=0.3)) == np.cumsum([0, *sizes[:-1]]).tolist()


def test_zero_rows_and_equal_time_stamps_do_no_harm() -> None:
    assert starts_of(np.zeros((5, 4), np.float32)) == [0]
    assert shot_starts(scenes([3, 3], noise=0), np.full(6, 7.0)).tolist() == [0]


@given(
    st.lists(st.integers(1, 6), min_size=1, max_size=12),
    st.floats(0, 2),
    st.integers(0, 9),
    st.floats(0.2, 30),
)
def test_starts_ascend_from_the_first_frame(sizes: list[int], noise: float, seed: int, fps: float) -> None:
    frames = scenes(sizes, noise=noise, seed=seed, dim=8)
    starts = starts_of(frames, fps=fps)
    assert starts[0] == 0
    assert (np.diff(starts) > 0).all()
    assert starts[-1] < len(frames)


@pytest.mark.skipif("VTR_TEST_DATA" not in os.environ, reason="VTR_TEST_DATA is not set")
@pytest.mark.parametrize("step", [1, 2, 4, 10, 20, 40, 98])
def test_a_real_video_of_one_shot_is_not_cut(step: int) -> None:
    stem = Path(os.environ["VTR_TEST_DATA"], "features", "v_GGSY1Qvo990_clip_vitb32_every_frame")
    frames, times = np.load(f"{stem}.npy"), np.load(f"{stem}_ms.npy") / 1000
    assert shot_starts(frames[::step], times[::step]).tolist() == [0]
