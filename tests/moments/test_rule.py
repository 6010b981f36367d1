"""The moments of a video: by hand for small cases, and the laws that hold for any scores."""

from __future__ import annotations

import itertools
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vtrcli.moments.rule import RULE, SPREAD_FRAMES, Moment, find_moments, shot_starts
from vtrcli.store.reader import unit_rows

TIMES = np.array([1.0, 3, 5, 7, 9])  # of a 10 s video
videos = st.integers(1, 40).flatmap(
    lambda size: st.tuples(
        st.lists(st.floats(-1, 1, width=32), min_size=size, max_size=size),
        st.lists(st.floats(0.1, 5), min_size=size, max_size=size),
        st.lists(st.booleans(), min_size=size, max_size=size),
    )
)
Video = tuple[list[float], list[float], list[bool]]


def spans(moments: list[Moment]) -> list[tuple[float, float, float]]:
    return [(moment.start_seconds, moment.peak_seconds, moment.end_seconds) for moment in moments]


def find(video: Video, num_windows: int | None = None) -> list[Moment]:
    scores, gaps, cuts = video
    times = np.cumsum(gaps)
    shots = np.array([0, *(number for number, cut in enumerate(cuts) if cut and number)])
    return find_moments(
        np.array(scores, np.float32), times, float(times[-1]) + 1, shots=shots, num_windows=num_windows
    )


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([0.1, 0.1, 0.9, 0.1, 0.1], [(4.0, 5.0, 6.0)]),
        ([0.1, 0.8, 0.9, 0.1, 0.1], [(2.0, 5.0, 6.0)]),
        ([0.9, 0.1, 0.1, 0.1, 0.8], [(0.0, 1.0, 2.0), (8.0, 9.0, 10.0)]),
        ([0.9, 0.1, 0.1, 0.1, 0.5], [(0.0, 1.0, 2.0)]),
        ([0.1, 0.1, 0.1, 0.1, 0.9], [(8.0, 9.0, 10.0)]),
        ([0.5, 0.5, 0.5, 0.5, 0.5], [(0.0, 1.0, 10.0)]),
    ],
)
def test_a_moment_reaches_half_way_to_the_first_frame_below_half_height(
    scores: list[float], expected: list[tuple[float, float, float]]
) -> None:
    moments = find_moments(np.array(scores), TIMES, 10.0)
    assert spans(moments) == expected
    assert moments[0].score == max(scores)


def test_a_single_frame_stands_for_the_whole_video() -> None:
    assert spans(find_moments(np.array([0.3]), np.array([0.0]), 4.0)) == [(0.0, 0.0, 4.0)]


@pytest.mark.parametrize("duration", [None, 0.0, 1.5])
def test_a_video_ends_no_earlier_than_its_last_frame(duration: float | None) -> None:
    assert find_moments(np.array([0.3, 0.3]), np.array([0.0, 2.0]), duration)[0].end_seconds == 2.0


def test_a_dip_of_one_frame_does_not_part_a_moment() -> None:
    scores = np.full(40, 0.1)
    scores[20:27] = 0.5
    scores[23] = 0.28  # below half height
    assert spans(find_moments(scores, np.arange(40.0), 40.0)) == [(19.5, 20.0, 26.5)]


def test_smoothing_does_not_cross_a_cut() -> None:
    scores = np.array([0.1] * 20 + [0.32] + [0.5] * 9)
    times = np.arange(30.0)
    # The frame before the cut lies above half height (0.3) only as long as the frame after it lifts it.
    assert find_moments(scores, times, 30.0)[0].start_seconds == 19.5
    assert find_moments(scores, times, 30.0, shots=np.array([0, 21]))[0].start_seconds == 20.5


def test_a_video_that_matches_as_a_whole_is_one_moment() -> None:
    scores = 0.3 + 0.01 * np.array([0.2, -0.9, 1.0, -0.1, 0.8, -0.7, 0.1, 0.9, -1.0, 0.3, -0.4, 0.6])
    assert spans(find_moments(scores, np.arange(12.0), 12.0)) == [(0.0, 2.0, 12.0)]


def test_most_of_a_video_can_be_the_moment() -> None:
    scores = np.array([0.1] * 4 + [0.5, 0.52, 0.51, 0.5, 0.53, 0.5, 0.51, 0.52])
    assert spans(find_moments(scores, np.arange(12.0), 12.0)) == [(3.5, 8.0, 12.0)]


def test_equal_moments_come_in_the_order_of_time() -> None:
    scores = np.array([0.1, 0.9, 0.1, 0.1, 0.9, 0.1, 0.1])
    assert [moment.peak_seconds for moment in find_moments(scores, np.arange(7.0), 7.0)] == [1.0, 4.0]


def test_two_peaks_far_apart_are_two_moments() -> None:
    scores = np.array([0.1, 0.9, 0.1, 0.1, 0.8, 0.1, 0.1])
    assert len(find_moments(scores, np.arange(7.0), 7.0)) == 2


def test_the_best_moment_is_listed_under_any_rule() -> None:
    rule = replace(RULE, listing_share=1.0)
    for seed in range(50):
        scores = np.random.default_rng(seed).normal(size=30)
        assert find_moments(scores, np.arange(30.0), 30.0, rule=rule)[0].score == scores.max()


@given(videos)
def test_the_best_comes_first_with_the_maximum_as_its_score(video: Video) -> None:
    found = [moment.score for moment in find(video)]
    assert found[0] == np.array(video[0], np.float32).max()
    assert found == sorted(found, reverse=True)


@given(videos)
def test_moments_lie_apart_within_the_video_and_hold_their_peaks(video: Video) -> None:
    moments = find(video)
    end = float(np.cumsum(video[1])[-1]) + 1
    for moment in moments:
        assert 0 <= moment.start_seconds <= moment.peak_seconds <= moment.end_seconds <= end
    in_time = sorted(moments, key=lambda moment: moment.start_seconds)
    for left, right in itertools.pairwise(in_time):
        assert left.end_seconds < right.start_seconds


def test_all_peaks_are_windows_each_down_to_its_own_floor() -> None:
    scores = np.full(40, 0.1)
    scores[[9, 10, 11]] = 0.5, 0.9, 0.5
    scores[[29, 30, 31]] = 0.2, 0.3, 0.2  # a fourth of the height: not listed among the moments
    times = np.arange(40.0)
    assert spans(find_moments(scores, times, 40.0)) == [(8.5, 10.0, 11.5)]
    windows = find_moments(scores, times, 40.0, num_windows=3)
    assert spans(windows)[:2] == [(8.5, 10.0, 11.5), (28.5, 30.0, 31.5)]
    assert spans(windows)[2] == (0.0, 0.0, 40.0)  # what is left is background, and that is everywhere
    assert [window.score for window in windows] == [0.9, 0.3, 0.1]


@given(videos, st.integers(1, 12))
def test_windows_are_different_ranked_and_begin_with_the_best_moment(video: Video, num_windows: int) -> None:
    windows = find(video, num_windows)
    assert 1 <= len(windows) <= num_windows
    assert spans(windows)[0] == spans(find(video))[0]
    assert len({(window.start_seconds, window.end_seconds) for window in windows}) == len(windows)
    found = [window.score for window in windows]
    assert found == sorted(found, reverse=True)
    for number, window in enumerate(windows):
        assert window.start_seconds <= window.peak_seconds <= window.end_seconds
        earlier = windows[:number]
        assert not any(other.start_seconds <= window.peak_seconds < other.end_seconds for other in earlier)


@given(videos, st.integers(1, 1000))
def test_later_frames_make_later_moments(video: Video, shift: int) -> None:
    scores, gaps, _ = video
    values, times = np.array(scores), np.cumsum(np.round(gaps, 2) + 0.01)
    before = find_moments(values, times, float(times[-1]))
    after = find_moments(values, times + shift, float(times[-1]) + shift)
    for left, right in zip(before, after, strict=True):
        assert right.peak_seconds == pytest.approx(left.peak_seconds + shift)
        assert right.end_seconds == pytest.approx(left.end_seconds + shift)
        # The first frame reaches to the beginning of the video wherever it lies.
        expected = left.start_seconds + shift if left.start_seconds > 0 else 0.0
        assert right.start_seconds == pytest.approx(expected)


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
