from __future__ import annotations

import json

import numpy as np
import pytest

from vtrcli.ranking.metrics import metrics_from_ranks


def test_the_numbers_of_a_table() -> None:
    metrics = metrics_from_ranks(np.array([1, 1, 2, 7, 60]), direction="t2v")
    assert metrics.recall == {1: 40.0, 5: 60.0, 10: 80.0, 50: 80.0}
    assert metrics.median_rank == 2
    assert metrics.mean_rank == 14.2
    assert metrics.mrr == pytest.approx((1 + 1 + 1 / 2 + 1 / 7 + 1 / 60) / 5)
    assert (metrics.num_queries, metrics.num_ties) == (5, 0)


def test_an_even_number_of_queries_has_the_middle_of_two_ranks_as_median() -> None:
    assert metrics_from_ranks(np.array([1, 2, 4, 9]), direction="v2t").median_rank == 3


def test_equal_scores_share_the_places_they_take() -> None:
    """Four items level with the correct one, one above: it is at place 2 to 6 with equal chance."""
    metrics = metrics_from_ranks(np.array([1 + 1 + 4 / 2]), direction="t2v", num_tied=np.array([4]))
    assert metrics.recall == {1: 0.0, 5: pytest.approx(80), 10: 100.0, 50: 100.0}
    assert metrics.mean_rank == 4
    assert metrics.mrr == pytest.approx((1 / 2 + 1 / 3 + 1 / 4 + 1 / 5 + 1 / 6) / 5)
    assert metrics.num_ties == 1


@pytest.mark.parametrize(("ties", "rank", "recall"), [("optimistic", 2, 100.0), ("pessimistic", 6, 0.0)])
def test_the_other_rules_take_the_first_or_the_last_place(ties: str, rank: int, recall: float) -> None:
    metrics = metrics_from_ranks(np.array([rank]), direction="t2v", num_tied=np.array([4]), ties=ties)  # type: ignore[arg-type]
    assert metrics.recall[5] == recall
    assert metrics.mrr == pytest.approx(1 / rank)


def test_intervals_hold_the_value_and_are_seeded() -> None:
    ranks = np.random.default_rng(0).integers(1, 20, size=500)
    metrics = metrics_from_ranks(ranks, direction="t2v", seed=3)
    for k, (low, high) in metrics.recall_ci95.items():
        assert low <= metrics.recall[k] <= high
    assert metrics.recall_ci95 == metrics_from_ranks(ranks, direction="t2v", seed=3).recall_ci95
    assert metrics.recall_ci95 != metrics_from_ranks(ranks, direction="t2v", seed=4).recall_ci95


def test_no_bootstrap_no_interval() -> None:
    metrics = metrics_from_ranks(np.array([1, 2]), direction="t2v", num_bootstrap=0)
    assert metrics.recall_ci95 == {}
    assert "R@1_ci95" not in metrics.to_json()


def test_the_json_keys() -> None:
    row = metrics_from_ranks(np.tile([1, 3], 10), direction="v2t").to_json()
    assert list(row) == [
        "direction", "over", "num_queries", "num_clusters", "num_ties",
        "R@1", "R@5", "R@10", "R@50", "MdR", "MnR", "MRR",
        "R@1_ci95", "R@5_ci95", "R@10_ci95", "R@50_ci95",
    ]  # fmt: skip
    assert json.loads(json.dumps(row)) == row
    assert (row["direction"], row["R@1"], row["MnR"]) == ("v2t", 50.0, 2.0)
