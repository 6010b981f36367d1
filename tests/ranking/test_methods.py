"""Every method against its formula, in both directions, with and without a bank; and what the formulas must keep."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.ranking import brute_force
from vtrcli.errors import UsageError
from vtrcli.ranking.methods import METHODS, Correction, MethodName, Settings, correction
from vtrcli.ranking.metrics import Direction
from vtrcli.ranking.scores import DenseScores, Tile, Transposed, tiles

GENERATOR = np.random.default_rng(5)
# 90 texts, 70 videos, cosines of a plausible spread; tiles of 32 cut both sides unevenly.
SCORES = 0.02 + 0.3 * GENERATOR.random((90, 70))
TEXT_BANK = 0.02 + 0.3 * GENERATOR.random((45, 70))
VIDEO_BANK = 0.02 + 0.3 * GENERATOR.random((90, 50))


def corrected(settings: Settings, direction: Direction, *, bank: np.ndarray | None = None) -> np.ndarray:
    """[num_texts, num_videos], assembled tile by tile."""
    source, other = (None if scores is None else DenseScores(scores) for scores in (SCORES, bank))
    if direction == "v2t":
        source, other = (None if scores is None else Transposed(scores) for scores in (source, other))
    assert source is not None
    found = correction(source, settings, logit_scale=100, edge=32, bank=other)
    result = np.empty(source.shape)
    for tile in tiles(source, edge=32):
        result[tile.rows, tile.columns] = found.apply(tile)
    return result if direction == "t2v" else result.T


def order(scores: np.ndarray, direction: Direction) -> np.ndarray:
    """The ranking of every query's items."""
    return np.argsort(scores if direction == "t2v" else scores.T, axis=1)


def expected(settings: Settings, direction: Direction, bank: np.ndarray | None) -> np.ndarray:
    turn = (lambda x: x) if direction == "t2v" else np.transpose
    scores = brute_force.corrected(
        turn(SCORES),
        settings.method,
        bank=None if bank is None else turn(bank),
        temperature=settings.temperature,
        k=settings.k or METHODS[settings.method].default_k or 1,
        num_rounds=settings.num_rounds,
    )
    return turn(scores)


@pytest.mark.parametrize("direction", ["t2v", "v2t"])
@pytest.mark.parametrize("method", list(METHODS))
@pytest.mark.parametrize("bank", [False, True])
def test_a_method_ranks_as_its_formula(method: MethodName, direction: Direction, bank: bool) -> None:
    settings = Settings(method=method, temperature=0.7, num_rounds=3)
    scores = (TEXT_BANK if direction == "t2v" else VIDEO_BANK) if bank else None
    fast = corrected(settings, direction, bank=scores)
    np.testing.assert_array_equal(
        order(fast, direction), order(expected(settings, direction, scores), direction)
    )


@pytest.mark.parametrize("method", ["dsl", "inverted-softmax", "sinkhorn", "mutual-softmax"])
def test_log_scores_differ_from_the_log_of_the_formula_only_per_query(method: MethodName) -> None:
    settings = Settings(method=method)
    difference = corrected(settings, "t2v") - np.log(expected(settings, "t2v", None))
    np.testing.assert_allclose(difference, np.broadcast_to(difference[:, :1], difference.shape), atol=1e-9)


@pytest.mark.parametrize("method", list(METHODS))
def test_a_single_pair_is_corrected_to_the_same_bits_as_its_tile(method: MethodName) -> None:
    scores = SCORES.astype(np.float32)
    source = DenseScores(scores)
    found = correction(source, Settings(method=method, num_rounds=2), logit_scale=100, edge=64)
    queries, items = (indices.ravel() for indices in np.indices(scores.shape))
    one_by_one = found.of_pairs(scores[queries, items], queries, items)
    for edge in (13, 64, 128):
        for tile in tiles(source, edge=edge):
            alone = one_by_one.reshape(scores.shape)[tile.rows, tile.columns]
            np.testing.assert_array_equal(found.apply(tile), alone)


def test_one_sinkhorn_round_is_the_inverted_softmax() -> None:
    once = corrected(Settings(method="sinkhorn", num_rounds=1), "t2v")
    np.testing.assert_array_equal(once, corrected(Settings(method="inverted-softmax"), "t2v"))


def test_a_small_temperature_neither_overflows_nor_vanishes() -> None:
    assert np.isfinite(corrected(Settings(method="dsl", temperature=0.001), "t2v")).all()


def test_more_neighbours_than_the_bank_has_are_refused() -> None:
    with pytest.raises(UsageError, match="k = 91; there are 90 neighbours to look at; use 1 to 90"):
        corrected(Settings(method="csls", k=91), "t2v")


def test_a_default_k_goes_as_far_as_the_bank() -> None:
    few = corrected(Settings(method="csls"), "t2v", bank=TEXT_BANK[:4])
    np.testing.assert_array_equal(few, corrected(Settings(method="csls", k=4), "t2v", bank=TEXT_BANK[:4]))


def dsl(scores: np.ndarray, bias: np.ndarray) -> np.ndarray:
    tile = Tile(slice(0, scores.shape[0]), slice(0, scores.shape[1]), scores)
    return Correction(bias=bias, log_scale=1.0).apply(tile)


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
