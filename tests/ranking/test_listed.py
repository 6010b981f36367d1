"""Lists are a matrix with -inf where nothing is listed, and counted without making it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vtrcli.errors import InputError
from vtrcli.ranking import listed
from vtrcli.ranking.evaluate import evaluate
from vtrcli.ranking.listed import ListedScores
from vtrcli.ranking.methods import Correction
from vtrcli.ranking.ranks import count_listed_ranks, count_ranks, top_videos
from vtrcli.ranking.truth import Truth


def lists_of(matrix: np.ndarray, *, order: np.ndarray | None = None) -> ListedScores:
    """The finite scores of a matrix; `order` is that of the texts in the file."""
    starts, lengths = np.zeros(len(matrix), np.int64), np.isfinite(matrix).sum(1)
    videos: list[int] = []
    for text in range(len(matrix)) if order is None else order:
        starts[text] = len(videos)
        videos += np.flatnonzero(np.isfinite(matrix[text])).tolist()
    texts = np.repeat(
        np.arange(len(matrix)) if order is None else order, lengths if order is None else lengths[order]
    )
    columns = np.array(videos, np.int32)
    return ListedScores(starts, lengths, columns, matrix[texts, columns], num_videos=matrix.shape[1])


@st.composite
def worlds(draw: st.DrawFn) -> tuple[np.ndarray, Truth, np.ndarray]:
    num_texts, num_videos = draw(st.integers(1, 6)), draw(st.integers(1, 7))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    matrix = rng.integers(0, 4, (num_texts, num_videos)).astype(float)
    matrix[rng.random(matrix.shape) < draw(st.sampled_from([0.0, 0.3, 0.8, 1.0]))] = -np.inf
    pairs = [
        (text, int(rng.integers(num_videos))) for text in range(num_texts) for _ in range(1 + rng.integers(3))
    ]
    truth = Truth.from_pairs(pairs, num_texts=num_texts, num_videos=num_videos)
    return matrix, truth, rng.permutation(num_texts)


@given(worlds(), st.sampled_from([1, 3, 1 << 20]))
def test_lists_are_counted_as_the_matrix_with_minus_infinity(
    world: tuple[np.ndarray, Truth, np.ndarray], entries_at_once: int
) -> None:
    matrix, truth, order = world
    source, before = lists_of(matrix, order=order), listed._ENTRIES_AT_ONCE
    listed._ENTRIES_AT_ONCE = entries_at_once
    try:
        counted = count_listed_ranks(source, truth.text_index, truth.video_index)
    finally:
        listed._ENTRIES_AT_ONCE = before
    expected = count_ranks(source, truth.text_index, truth.video_index, Correction(), edge=2)
    assert counted.num_above.tolist() == expected.num_above.tolist()
    assert counted.num_tied.tolist() == expected.num_tied.tolist()
    of_right = np.maximum.reduceat(
        matrix[truth.text_index, truth.video_index], np.searchsorted(truth.text_index, np.arange(len(matrix)))
    )
    assert counted.is_listed is not None
    assert counted.is_listed.tolist() == np.isfinite(of_right).tolist()


@given(worlds())
def test_a_block_has_minus_infinity_where_nothing_is_listed(
    world: tuple[np.ndarray, Truth, np.ndarray],
) -> None:
    matrix, _, order = world
    source = lists_of(matrix, order=order)
    rows, columns = np.arange(len(matrix))[::-1], np.arange(matrix.shape[1])[::-1]
    assert np.array_equal(source.block(slice(0, len(matrix)), slice(1, matrix.shape[1])), matrix[:, 1:])
    assert np.array_equal(source.block(rows, columns), matrix[rows][:, columns])
    assert source.is_complete == bool(np.isfinite(matrix).all())


def test_what_is_not_listed_ranks_last_in_no_order() -> None:
    matrix = np.array([[3.0, 2.0, -np.inf, -np.inf, -np.inf]])
    result = evaluate(lists_of(matrix), Truth.from_videos([4], num_videos=5), num_bootstrap=0)
    # Two are listed; the right one is the third, fourth or fifth.
    assert (result.t2v.mean_rank, result.t2v.num_ties, result.t2v.num_unlisted) == (4, 1, 1)
    assert result.t2v.recall[5] == 100
    assert result.v2t is None
    assert result.to_json()[0]["num_unlisted"] == 1
    for ties, rank in (("optimistic", 3), ("pessimistic", 5)):
        assert (
            evaluate(lists_of(matrix), Truth.from_videos([4], num_videos=5), ties=ties).t2v.mean_rank == rank
        )


def test_a_correction_of_lists_is_refused() -> None:
    matrix = np.array([[3.0, 2.0, -np.inf], [1.0, -np.inf, -np.inf]])
    with pytest.raises(InputError) as caught:
        evaluate(lists_of(matrix), Truth.from_videos([0, 1], num_videos=3), method="dsl")
    assert str(caught.value) == (
        "dsl on a run that lists 3 of 6 pairs; a correction weighs every score of a video against all texts: it needs "
        "all pairs; write the run with all videos for every text, or give the matrix with --similarities"
    )


def test_the_best_videos_are_those_listed() -> None:
    matrix = np.array([[3.0, -np.inf, 4.0], [-np.inf, -np.inf, 1.0]])
    best = top_videos(lists_of(matrix), k=3)
    assert best.videos[0, :2].tolist() == [2, 0]
    assert best.counts(3).tolist() == [1, 0, 2]
