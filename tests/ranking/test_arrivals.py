from __future__ import annotations

import numpy as np
import pytest

from vtrcli.errors import UsageError
from vtrcli.ranking.arrivals import arrivals
from vtrcli.ranking.evaluate import evaluate
from vtrcli.ranking.truth import Truth

MATRIX = 0.4 * np.random.default_rng(0).random((30, 20), dtype=np.float32)
TRUTH = Truth.from_videos(np.arange(30) % 20, num_videos=20)


@pytest.mark.parametrize("direction", ["t2v", "v2t"])
def test_one_at_a_time_dsl_is_the_plain_result(direction: str) -> None:
    (alone,) = arrivals(MATRIX, TRUTH, [1], direction=direction)  # type: ignore[arg-type]
    plain = getattr(evaluate(MATRIX, TRUTH), direction)
    assert (alone.recall, alone.mean_rank, alone.num_shuffles) == (plain.recall, plain.mean_rank, 1)


@pytest.mark.parametrize("direction", ["t2v", "v2t"])
@pytest.mark.parametrize("method", ["dsl", "csls", "sinkhorn"])
def test_all_at_once_is_the_transductive_result(direction: str, method: str) -> None:
    results = arrivals(MATRIX, TRUTH, [30, 500], direction=direction, method=method)  # type: ignore[arg-type]
    whole = getattr(evaluate(MATRIX, TRUTH, method=method), direction)  # type: ignore[arg-type]
    for result in results:
        assert (result.recall, result.mean_rank) == (whole.recall, whole.mean_rank)


def test_a_batch_knows_only_its_own_queries() -> None:
    (result,) = arrivals(MATRIX, TRUTH, [10], num_shuffles=1, seed=7)
    order = np.random.default_rng(7).permutation(30)
    ranks = [
        evaluate(MATRIX[batch], TRUTH.take_texts(batch), method="dsl").t2v.ranks
        for batch in (order[:10], order[10:20], order[20:])
    ]
    assert result.mean_rank == np.concatenate(ranks).mean()


def test_plain_scores_do_not_mind_batches() -> None:
    results = arrivals(MATRIX, TRUTH, [1, 7, 30], method="none")
    assert len({result.mean_rank for result in results}) == 1


def test_shuffles_are_seeded() -> None:
    assert arrivals(MATRIX, TRUTH, [4], seed=1) == arrivals(MATRIX, TRUTH, [4], seed=1)
    assert arrivals(MATRIX, TRUTH, [4], seed=1) != arrivals(MATRIX, TRUTH, [4], seed=2)


def test_a_chosen_k_shrinks_with_the_batch() -> None:
    assert len(arrivals(MATRIX, TRUTH, [2, 30], method="csls", k=20)) == 2


def test_an_empty_batch_is_refused() -> None:
    with pytest.raises(
        UsageError, match="a batch of 0 queries; queries come at least one at a time; use 1 or more"
    ):
        arrivals(MATRIX, TRUTH, [0])
