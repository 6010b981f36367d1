"""Every method against its formula, in both directions, with and without a bank, on NumPy and on torch."""

from __future__ import annotations

import numpy as np
import pytest

from tests.ranking import brute_force
from vtrcli.errors import UsageError
from vtrcli.ranking.arrays import Arrays, NumpyArrays, TorchArrays
from vtrcli.ranking.methods import METHODS, MethodName, Settings
from vtrcli.ranking.metrics import Direction
from vtrcli.ranking.rerank import plan_corrections
from vtrcli.ranking.scores import DenseScores
from vtrcli.ranking.tiles import Tiles

GENERATOR = np.random.default_rng(5)
# 90 texts, 70 videos, cosines of a plausible spread; tiles of 32 cut both sides unevenly.
SCORES = 0.02 + 0.3 * GENERATOR.random((90, 70))
TEXT_BANK = 0.02 + 0.3 * GENERATOR.random((45, 70))
VIDEO_BANK = 0.02 + 0.3 * GENERATOR.random((90, 50))


def corrected(
    settings: Settings, direction: Direction, *, bank: np.ndarray | None = None, arrays: Arrays | None = None
) -> np.ndarray:
    """[num_texts, num_videos], assembled tile by tile."""
    arrays = arrays or NumpyArrays()
    tiles = Tiles(DenseScores(SCORES), arrays=arrays, edge=32)
    bank_tiles = tiles if bank is None else Tiles(DenseScores(bank), arrays=arrays, edge=32)
    plan = plan_corrections(tiles, settings, logit_scale=100, banks={direction: bank_tiles})
    result = np.empty_like(SCORES)
    for tile in tiles:
        terms = plan.terms.of(arrays.xp, tile)
        result[tile.texts, tile.videos] = arrays.get(plan.corrections[direction].apply(arrays.xp, terms))
    return result


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


@pytest.mark.parametrize("direction", ["t2v", "v2t"])
@pytest.mark.parametrize("method", list(METHODS))
@pytest.mark.parametrize("bank", [False, True])
def test_torch_computes_what_numpy_computes(method: MethodName, direction: Direction, bank: bool) -> None:
    """The code for a GPU, run with tensors on the CPU."""
    scores = (TEXT_BANK if direction == "t2v" else VIDEO_BANK) if bank else None
    settings = Settings(method=method, num_rounds=2)
    on_torch = corrected(settings, direction, bank=scores, arrays=TorchArrays("cpu"))
    np.testing.assert_allclose(on_torch, corrected(settings, direction, bank=scores), rtol=1e-12, atol=1e-12)


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
