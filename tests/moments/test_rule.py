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

from vtrcli.moments.moment import Moment
from vtrcli.moments.rule import RULE, find_moments, moments_of
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


@pytest.mark.parametrize("rate", [2, 5, 30])
def test_a_short_dip_does_not_part_a_moment_at_any_rate(rate: int) -> None:
    times = np.arange(40 * rate) / rate
    scores = np.where((times >= 20) & (times < 27), 0.5, 0.1)
    scores[(times >= 23) & (times < 23.25)] = 0.15  # below half height
    moments = find_moments(scores, times, 40.0)
    assert len(moments) == 1
    assert moments[0].start_seconds == pytest.approx(20, abs=0.5)
    assert moments[0].end_seconds == pytest.approx(27, abs=0.5)


def test_frames_further_apart_than_what_is_smoothed_stay_as_they_are() -> None:
    scores = np.array([0.1] * 5 + [0.5, 0.28, 0.5] + [0.1] * 5)  # 0.28 lies below half height
    assert spans(find_moments(scores, 2 * np.arange(13.0), 26.0)) == [(9.0, 10.0, 11.0), (13.0, 14.0, 15.0)]
    assert spans(find_moments(scores, np.arange(13.0) / 2, 6.5)) == [(2.25, 2.5, 3.75)]


def test_smoothing_does_not_cross_a_cut() -> None:
    scores = np.array([0.1] * 20 + [0.32] + [0.5] * 9)
    times = np.arange(30.0) / 2
    # The frame before the cut lies above half height (0.3) only as long as the frame after it lifts it.
    assert find_moments(scores, times, 15.0)[0].start_seconds == 9.75
    assert find_moments(scores, times, 15.0, shots=np.array([0, 21]))[0].start_seconds == 10.25


def test_a_video_that_matches_as_a_whole_is_one_moment() -> None:
    scores = 0.3 + 0.01 * np.array([0.2, -0.9, 1.0, -0.1, 0.8, -0.7, 0.1, 0.9, -1.0, 0.3, -0.4, 0.6])
    assert spans(find_moments(scores, np.arange(12.0), 12.0)) == [(0.0, 2.0, 12.0)]


def test_most_of_a_video_can_be_the_moment() -> None:
    scores = np.array([0.1] * 4 + [0.5, 0.52, 0.51, 0.5, 0.53, 0.5, 0.51, 0.52])
    assert spans(find_moments(scores, np.arange(12.0), 12.0)) == [(3.5, 8.0, 12.0)]


def test_equal_moments_come_in_the_order_of_time() -> None:
    scores = np.array([0.1, 0.9, 0.1, 0.1, 0.9, 0.1, 0.1])
    assert [moment.peak_seconds for moment in find_moments(scores, 2 * np.arange(7.0), 14.0)] == [2.0, 8.0]


def test_two_peaks_far_apart_are_two_moments() -> None:
    scores = np.array([0.1, 0.9, 0.1, 0.1, 0.8, 0.1, 0.1])
    assert len(find_moments(scores, 2 * np.arange(7.0), 14.0)) == 2


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


LEVELS = (0.2, 0.35, 0.9)  # of 1.0 over 0.1: below half height, and listed
Truth = list[tuple[float, float]]  # levels, and for how many seconds


@st.composite
def sampled(draw: st.DrawFn) -> tuple[Truth, list[np.ndarray], float]:
    """A video whose score is known at any time, two ways to sample it, and a sample of each of them, in seconds."""
    samplings = [
        (draw(st.floats(0.2, 30)), draw(st.sampled_from([0.0, 0.45])), draw(st.integers(0, 99)))
        for _ in range(2)
    ]
    samples = [(1 + 2 * jitter) / rate for rate, jitter, _ in samplings]
    longest = max(samples)
    seconds = st.floats(max(3, 2.1 * longest), max(8, 4 * longest))
    levels = [1.0, *draw(st.lists(st.sampled_from(LEVELS), max_size=2))]
    truth = [
        part
        for level in draw(st.permutations(levels))
        for part in ((0.1, draw(seconds)), (level, draw(seconds)))
    ]
    matching = sum(length for level, length in truth if level > 0.1)
    truth.append((0.1, max(2.1 * longest, 2 * matching)))  # most of a video does not match
    end = sum(length for _, length in truth)
    stamps = []
    for rate, jitter, seed in samplings:
        slots = np.arange(int(end * rate) + 1)
        moved = np.random.default_rng(seed).uniform(-jitter, jitter, len(slots))
        stamps.append(np.clip((slots + moved) / rate, 0, end))
    return truth, stamps, sum(samples)


@given(sampled())
def test_any_rate_and_uneven_time_stamps_give_the_same_moments_within_a_sample_of_each(
    video: tuple[Truth, list[np.ndarray], float],
) -> None:
    truth, samplings, both_samples = video
    levels, borders = np.array([level for level, _ in truth]), np.cumsum([seconds for _, seconds in truth])
    found = []
    for times in samplings:
        scores = levels[np.minimum(np.searchsorted(borders, times, side="right"), len(levels) - 1)]
        found.append(sorted(spans(find_moments(scores, times, float(borders[-1])))))
    assert len(found[0]) == len(found[1])
    for (start, _, end), (other_start, _, other_end) in zip(*found, strict=True):
        assert abs(start - other_start) <= both_samples
        assert abs(end - other_end) <= both_samples


REAL = Path(os.environ.get("VTR_TEST_DATA", "."), "features", "v_GGSY1Qvo990_clip_vitb32_every_frame")
# ActivityNet's annotation of this video, seconds.
REAL_SPANS = [(0.0, 2.27), (2.91, 6.54), (8.08, 18.16)]


@pytest.mark.skipif("VTR_TEST_DATA" not in os.environ, reason="VTR_TEST_DATA is not set")
def test_dense_sampling_of_a_real_video_loses_nothing() -> None:
    """The mean feature of each annotated span finds it; of three smoothed frames the second was at 0.37."""
    features, times = np.load(f"{REAL}.npy"), np.load(f"{REAL}_ms.npy") / 1000
    for step in (1, 4, 10, 20, 40):
        overlaps = []
        for start, end in REAL_SPANS:
            query = unit_rows(unit_rows(features)[(times >= start) & (times <= end)].mean(axis=0)[None])[0]
            moment = moments_of(features[::step], times[::step], 18.158, query)[0]
            inside = min(end, moment.end_seconds) - max(start, moment.start_seconds)
            overlaps.append(inside / (max(end, moment.end_seconds) - min(start, moment.start_seconds)))
        assert np.mean(overlaps) >= 0.6, (step, overlaps)
        assert min(overlaps) > 0.39, (step, overlaps)
