from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from vtrcli.ranking.corrections import Correction, Terms
from vtrcli.ranking.tiles import Tile


def dsl(scores: np.ndarray, bias: np.ndarray) -> np.ndarray:
    tile = Tile(slice(0, scores.shape[0]), slice(0, scores.shape[1]), scores)
    terms = Terms(factor=1.0, log_scale=1.0).of(np, tile)
    return np.asarray(Correction(axis=0, bias=bias).apply(np, terms))


@given(arrays(np.float64, 12, elements=st.floats(-40, 40)))
def test_a_higher_score_of_the_same_item_is_never_worse(scores: np.ndarray) -> None:
    column = np.sort(scores)[:, None]
    assert (np.diff(dsl(column, np.zeros(1))[:, 0]) >= 0).all()


def test_a_positive_score_stands_above_a_negative_one_whatever_the_bias() -> None:
    corrected = dsl(np.array([[0.01, -0.01]]), np.array([30.0, 0.0]))
    assert corrected[0, 0] > corrected[0, 1]


def test_negative_scores_rank_as_under_inverted_softmax() -> None:
    scores, bias = np.array([[-3.0, -1.0, -2.0, 0.0]]), np.array([-2.0, 1.0, 0.0, 0.0])
    assert np.argsort(dsl(scores, bias))[0].tolist() == np.argsort(scores - bias)[0].tolist()


def test_a_tile_is_left_as_it_was() -> None:
    scores = np.array([[0.5, -1.0]])
    dsl(scores, np.zeros(2))
    assert scores.tolist() == [[0.5, -1.0]]
