from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.ranking import brute_force
from vtrcli.ranking.methods import Correction, Settings
from vtrcli.ranking.metrics import TIED_BEFORE
from vtrcli.ranking.ranks import count_ranks, top_videos
from vtrcli.ranking.scores import DenseScores, TakenTexts, Transposed
from vtrcli.ranking.truth import Truth

PLAIN = Correction()
MATRIX = 0.01 + 0.3 * np.random.default_rng(0).random((150, 140))
SMALLEST = 8 * 64 * 64 * 8


@st.composite
def matrix_and_truth(draw: st.DrawFn) -> tuple[np.ndarray, Truth]:
    """Few different values, so that most scores tie; several captions per video and videos per text."""
    num_texts, num_videos = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    matrix = draw(arrays(np.float32, (num_texts, num_videos), elements=st.sampled_from([-1, 0, 0.5, 2])))
    pair = st.tuples(st.integers(0, num_texts - 1), st.integers(0, num_videos - 1))
    first = [(text, draw(st.integers(0, num_videos - 1))) for text in range(num_texts)]
    pairs = first + draw(st.lists(pair, max_size=5))
    return matrix, Truth.from_pairs(pairs, num_texts=num_texts, num_videos=num_videos)


def correct_items(truth: Truth, direction: str) -> list[set[int]]:
    pairs = list(zip(truth.text_index.tolist(), truth.video_index.tolist(), strict=True))
    if direction == "t2v":
        return [{v for t, v in pairs if t == text} for text in range(truth.num_texts)]
    return [{t for t, v in pairs if v == video} for video in range(truth.num_videos)]


@settings(max_examples=150, deadline=None)
@given(matrix_and_truth(), st.integers(1, 10))
def test_ranks_agree_with_the_definition_for_every_tile_size(
    case: tuple[np.ndarray, Truth], edge: int
) -> None:
    matrix, truth = case
    source = DenseScores(matrix)
    texts, videos = truth.text_index, truth.video_index
    counts = {
        "t2v": count_ranks(source, texts, videos, PLAIN, edge=edge),
        "v2t": count_ranks(Transposed(source), videos, texts, PLAIN, edge=edge),
    }
    for direction, scores in (("t2v", matrix), ("v2t", matrix.T)):
        for rule, tied_before in TIED_BEFORE.items():
            wanted = brute_force.ranks(scores, correct_items(truth, direction), tied_before=tied_before)
            np.testing.assert_array_equal(counts[direction].ranks(rule), wanted)


@settings(max_examples=60, deadline=None)
@given(matrix_and_truth(), st.integers(1, 10))
def test_captions_that_count_as_their_video_agree_with_the_definition_for_every_tile_size(
    case: tuple[np.ndarray, Truth], edge: int
) -> None:
    matrix, several = case
    first = np.searchsorted(several.text_index, np.arange(several.num_texts))
    video_of_text = np.sort(several.video_index[first])
    truth = Truth.from_videos(video_of_text, num_videos=several.num_videos)
    turned = Transposed(DenseScores(matrix))
    found = count_ranks(
        turned, video_of_text, np.arange(len(video_of_text)), PLAIN, edge=edge, groups=video_of_text
    )
    asked, own = TakenTexts(turned, truth.videos_with_text), truth.transposed()
    of_asked = count_ranks(asked, own.text_index, own.video_index, PLAIN, edge=edge, groups=video_of_text)
    for rule, tied_before in TIED_BEFORE.items():
        wanted = brute_force.ranks_over_videos(matrix, video_of_text, tied_before=tied_before)
        np.testing.assert_array_equal(found.ranks(rule), wanted)
        np.testing.assert_array_equal(of_asked.ranks(rule), wanted)


def test_the_first_videos_of_every_text() -> None:
    top = top_videos(MATRIX, k=5, memory_bytes=SMALLEST)
    np.testing.assert_array_equal(top.videos, np.argsort(-MATRIX, axis=1)[:, :5])
    np.testing.assert_array_equal(top.scores, -np.sort(-MATRIX, axis=1)[:, :5])


def test_the_first_texts_of_every_video_after_correction() -> None:
    top = top_videos(
        Transposed(DenseScores(MATRIX)), k=4, settings=Settings(method="dsl"), memory_bytes=SMALLEST
    )
    wanted = brute_force.corrected(MATRIX.T, "dsl")
    np.testing.assert_array_equal(top.videos, np.argsort(-wanted, axis=1)[:, :4])


def test_equal_scores_stand_in_the_order_of_their_indices() -> None:
    assert top_videos(np.full((2, 200), 0.5), k=3, memory_bytes=SMALLEST).videos.tolist() == [[0, 1, 2]] * 2


def test_how_often_each_video_is_found() -> None:
    top = top_videos(np.array([[0.9, 0.1, 0.5], [0.8, 0.2, 0.1]]), k=2)
    assert top.counts(3).tolist() == [2, 1, 1]


def test_fewer_videos_than_asked_for() -> None:
    assert top_videos(np.ones((2, 3)), k=10).videos.shape == (2, 3)
