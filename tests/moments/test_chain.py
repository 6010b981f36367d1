"""Chains of moments: the same as trying all of them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vtrcli.moments import chain
from vtrcli.moments.chain import best_chain, chain_moments, chain_scores

Videos = tuple[list[np.ndarray], list[np.ndarray], float | None]


@st.composite
def videos(draw: st.DrawFn) -> Videos:
    """Scores [num_frames, num_sentences] and time stamps of a few videos, ties among them, and a limit."""
    num_sentences = draw(st.integers(1, 4))
    value = st.one_of(st.sampled_from([0.0, 0.5, 1.0]), st.floats(-3, 3))
    scores, times = [], []
    for length in draw(st.lists(st.integers(1, 9), min_size=1, max_size=6)):
        size = length * num_sentences
        scores.append(np.array(draw(st.lists(value, min_size=size, max_size=size))).reshape(length, -1))
        gaps = draw(st.lists(st.sampled_from([0.0, 0.04, 0.5, 2.0, 7.3]), min_size=length, max_size=length))
        times.append(np.cumsum(gaps))
    return scores, times, draw(st.one_of(st.none(), st.sampled_from([0.04, 0.5, 2.5, 100.0])))


def by_trying_all(scores: np.ndarray, times: np.ndarray, within: float | None) -> float:
    """The best sum over all chains; -inf without one."""
    found = [-np.inf]
    for frames in itertools.combinations(range(len(scores)), scores.shape[1]):
        gaps = np.diff(times[list(frames)])
        if within is None or (np.round(gaps, 3) <= within).all():
            found.append(sum(scores[frame, sentence] for sentence, frame in enumerate(frames)))
    return max(found)


@given(videos(), st.integers(1, 30))
def test_the_best_chain_is_that_of_trying_all(case: Videos, max_cells: int) -> None:
    scores, times, within = case
    stops = np.cumsum([len(part) for part in scores])
    starts = stops - [len(part) for part in scores]
    expected = [by_trying_all(part, at, within) for part, at in zip(scores, times, strict=True)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chain, "MAX_CELLS", max_cells)
        found = chain_scores(
            np.concatenate(scores), np.concatenate(times), starts, stops, within_seconds=within
        )
    np.testing.assert_allclose(found, expected, atol=1e-12)
    for part, at, best in zip(scores, times, expected, strict=True):
        one = best_chain(part, at, within_seconds=within)
        if best == -np.inf:
            assert one is None
            continue
        assert one is not None
        frames, total = one
        assert total == pytest.approx(best, abs=1e-12)
        assert frames == sorted(set(frames))
        assert sum(part[frame, number] for number, frame in enumerate(frames)) == pytest.approx(total)
        if within is not None:
            assert (np.round(np.diff(at[frames]), 3) <= within).all()


def test_rows_between_videos_do_not_count() -> None:
    scores = np.array([[1.0, 0], [9, 9], [0, 1], [9, 9], [2, 0], [0, 2]])
    found = chain_scores(scores, np.arange(6.0), np.array([0, 4]), np.array([1, 6]))
    assert found.tolist() == [-np.inf, 4.0]


def test_a_chain_of_one_sentence_is_the_best_frame() -> None:
    scores = np.array([[0.2], [0.9], [0.4]])
    assert best_chain(scores, np.arange(3.0)) == ([1], 0.9)


def test_the_order_counts() -> None:
    door_then_chair = np.array([[0.9, 0.1], [0.5, 0.5], [0.1, 0.9]])
    found, reverse = (
        best_chain(scores, np.arange(3.0)) for scores in (door_then_chair, door_then_chair[::-1])
    )
    assert found == ([0, 2], 1.8)
    assert reverse is not None
    assert reverse[1] == pytest.approx(0.6)


def test_a_limit_holds_from_each_frame_to_the_next() -> None:
    scores = np.eye(3)
    assert best_chain(scores, 10 * np.arange(3.0), within_seconds=10) == ([0, 1, 2], 3.0)
    assert best_chain(scores, 10 * np.arange(3.0), within_seconds=9.9) is None


def test_moments_of_a_chain_are_in_order_and_meet_where_they_would_overlap() -> None:
    times = np.arange(20.0)
    scores = np.full((20, 2), 0.1)
    scores[4:12, 0] = 0.5
    scores[8:16, 1] = 0.6
    moments = chain_moments(scores, times, 20.0, [6, 12])
    spans = [(moment.start_seconds, moment.peak_seconds, moment.end_seconds) for moment in moments]
    assert spans == [(3.5, 6.0, 9.0), (9.0, 12.0, 15.5)]
    assert [moment.score for moment in moments] == [0.5, 0.6]
