from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.ranking import brute_force
from vtrcli.ranking.arrays import NumpyArrays, TorchArrays
from vtrcli.ranking.corrections import Correction, Terms
from vtrcli.ranking.counting import count_ranks
from vtrcli.ranking.metrics import TIED_BEFORE
from vtrcli.ranking.rerank import Plan
from vtrcli.ranking.scores import DenseScores, TakenTexts, Transposed
from vtrcli.ranking.tiles import Tiles
from vtrcli.ranking.truth import Truth

PLAIN = Plan(Terms(), {"t2v": Correction(axis=0), "v2t": Correction(axis=1)})


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
    for backend in (NumpyArrays(), TorchArrays("cpu")):
        counts = count_ranks(Tiles(DenseScores(matrix), arrays=backend, edge=edge), truth, PLAIN)
        for direction, scores in (("t2v", matrix), ("v2t", matrix.T)):
            for rule, tied_before in TIED_BEFORE.items():
                wanted = brute_force.ranks(scores, correct_items(truth, direction), tied_before=tied_before)
                np.testing.assert_array_equal(counts[direction].ranks(rule), wanted)  # type: ignore[index]


@settings(max_examples=60, deadline=None)
@given(matrix_and_truth(), st.integers(1, 10))
def test_captions_that_count_as_their_video_agree_with_the_definition_for_every_tile_size(
    case: tuple[np.ndarray, Truth], edge: int
) -> None:
    matrix, several = case
    first = np.searchsorted(several.text_index, np.arange(several.num_texts))
    video_of_text = np.sort(several.video_index[first])
    truth = Truth.from_videos(video_of_text, num_videos=several.num_videos)
    for backend in (NumpyArrays(), TorchArrays("cpu")):
        tiles = Tiles(DenseScores(matrix), arrays=backend, edge=edge)
        turned = TakenTexts(Transposed(DenseScores(matrix)), truth.videos_with_text)
        found = count_ranks(tiles, truth, PLAIN, {"v2t": video_of_text})["v2t"]
        turned_tiles = Tiles(turned, arrays=backend, edge=edge)
        as_t2v = count_ranks(turned_tiles, truth.transposed(), PLAIN, {"t2v": video_of_text})["t2v"]
        for rule, tied_before in TIED_BEFORE.items():
            wanted = brute_force.ranks_over_videos(matrix, video_of_text, tied_before=tied_before)
            np.testing.assert_array_equal(found.ranks(rule), wanted)
            np.testing.assert_array_equal(as_t2v.ranks(rule), wanted)
