from __future__ import annotations

import itertools
import json

import numpy as np
import pytest

from vtrcli.errors import InputError
from vtrcli.ranking.metrics import compare, means_ci95, metrics_from_ranks, paired_test


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


def test_each_metric_is_compared_on_the_same_queries() -> None:
    a = metrics_from_ranks(np.array([1, 1, 9, 9, 20, 3]), direction="t2v")
    b = metrics_from_ranks(np.array([1, 1, 1, 1, 10, 2]), direction="t2v")
    tests = compare(a, b)
    assert list(tests) == ["R@1", "R@5", "R@10", "R@50", "MnR"]
    assert tests["R@1"].mean_a == a.recall[1]
    assert tests["R@1"].difference == pytest.approx(b.recall[1] - a.recall[1])
    assert tests["MnR"].difference == pytest.approx(b.mean_rank - a.mean_rank)
    assert tests["R@50"].p_value == 1


def test_ranks_that_count_other_things_or_other_videos_are_refused() -> None:
    ranks = np.array([1, 2, 1, 4])
    a = metrics_from_ranks(ranks, direction="v2t", over="videos")
    with pytest.raises(
        InputError, match="ranks over videos and ranks over captions; v2t ranks that count the"
    ):
        compare(a, metrics_from_ranks(ranks, direction="v2t", over="captions"))
    with pytest.raises(InputError, match="queries of other videos; a paired test needs the same queries"):
        compare(a, metrics_from_ranks(ranks, direction="v2t", over="videos", clusters=np.array([0, 0, 1, 2])))


def test_captions_of_one_video_are_swapped_together() -> None:
    clusters = np.repeat(np.arange(3), 10)
    a = metrics_from_ranks(np.full(30, 2), direction="t2v", clusters=clusters)
    b = metrics_from_ranks(np.full(30, 1), direction="t2v", clusters=clusters)
    test = compare(a, b)["R@1"]
    assert (test.difference, test.num_clusters, test.difference_ci95) == (100.0, 3, None)
    assert test.p_value == pytest.approx(2 / 2**3, abs=0.02)  # not 2 / 2**30


def test_directions_do_not_mix() -> None:
    a, b = (metrics_from_ranks(np.array([1, 2]), direction=d) for d in ("t2v", "v2t"))  # type: ignore[arg-type]
    with pytest.raises(
        InputError, match="a result for t2v and one for v2t; only results of the same direction"
    ):
        compare(a, b)


def test_the_interval_of_a_share_is_the_binomial_one() -> None:
    """Golden: 48 % of 1000 queries, normal approximation 48 +- 1.96 x 1.58."""
    hits = np.repeat([100.0, 0.0], [480, 520])[:, None]
    ((low, high),) = means_ci95(hits, num_bootstrap=20_000)
    assert low == pytest.approx(44.9, abs=0.2)
    assert high == pytest.approx(51.1, abs=0.2)


def test_a_constant_has_no_width() -> None:
    assert means_ci95(np.full((20, 1), 7.0)) == [(7.0, 7.0)]


def test_below_20_clusters_there_is_no_interval() -> None:
    values = np.random.default_rng(0).random((40, 1))
    assert means_ci95(values[:19]) == means_ci95(values, clusters=np.arange(40) % 19) == []
    assert len(means_ci95(values, clusters=np.arange(40) % 20)) == 1
    assert paired_test(values[:19, 0], values[19:38, 0]).difference_ci95 is None


def test_clusters_of_one_query_are_the_queries() -> None:
    values = np.random.default_rng(0).random((50, 2))
    assert means_ci95(values, clusters=np.arange(50)[::-1].copy()) != []
    assert means_ci95(values, clusters=np.arange(50)) == means_ci95(values)


def test_copies_of_every_query_do_not_narrow_the_interval() -> None:
    hits = (np.random.default_rng(0).random(100) < 0.4).astype(float)[:, None]
    copies = np.repeat(hits, 40, axis=0)
    by_cluster = means_ci95(copies, clusters=np.repeat(np.arange(100), 40))
    np.testing.assert_allclose(by_cluster, means_ci95(hits))
    assert np.diff(means_ci95(copies)[0])[0] < 0.3 * np.diff(by_cluster[0])[0]


def test_the_p_value_of_clusters_is_that_of_swapping_whole_clusters() -> None:
    generator = np.random.default_rng(2)
    a, b = generator.random(24), generator.random(24) + 0.2
    clusters = np.arange(24) % 8
    sums = np.bincount(clusters, b - a)
    flips = [abs(sums @ signs) >= abs(sums.sum()) - 1e-12 for signs in itertools.product((1, -1), repeat=8)]
    test = paired_test(a, b, clusters=clusters, num_permutations=50_000)
    assert test.p_value == pytest.approx(np.mean(flips), abs=0.01)
    assert test.num_clusters == 8


def cluster_hits(generator: np.random.Generator, sizes: np.ndarray, *, spread: float) -> np.ndarray:
    """0 or 1 per query; the videos' own chances are Beta with mean .46: some are easy in all their captions."""
    chances = generator.beta(0.46 / spread, 0.54 / spread, size=len(sizes))
    return (generator.random(sizes.sum()) < np.repeat(chances, sizes)).astype(float)


@pytest.mark.slow
def test_intervals_cover_the_truth_in_95_of_100_and_p_values_are_uniform() -> None:
    """MSVD's structure on a small scale: 100 videos with 5 to 75 captions each; 500 repetitions."""
    generator = np.random.default_rng(7)
    sizes = generator.integers(5, 76, size=100)
    clusters = np.repeat(np.arange(100), sizes)
    covered, naive, p_values = [], [], []
    for repetition in range(500):
        hits = cluster_hits(generator, sizes, spread=3.0)
        other = cluster_hits(generator, sizes, spread=3.0)
        for found, own in ((covered, clusters), (naive, None)):
            ((low, high),) = means_ci95(hits[:, None], clusters=own, num_bootstrap=400, seed=repetition)
            found.append(low <= 0.46 <= high)
        p_values.append(paired_test(hits, other, clusters=clusters, num_permutations=400).p_value)
    assert 0.91 <= np.mean(covered) <= 0.98
    assert np.mean(naive) < 0.6
    assert np.mean(np.array(p_values) <= 0.05) == pytest.approx(0.05, abs=0.03)  # 3 deviations of 500 draws
    assert np.mean(np.array(p_values) <= 0.5) == pytest.approx(0.5, abs=0.068)


def test_the_p_value_is_that_of_all_sign_flips() -> None:
    a = np.array([1, 5, 2, 8, 3, 3, 9, 2], np.float64)
    b = np.array([1, 2, 1, 4, 3, 4, 3, 1], np.float64)
    differences = b - a
    observed = abs(differences.sum())
    flips = [
        abs((differences * signs).sum()) >= observed for signs in itertools.product((1, -1), repeat=len(a))
    ]
    test = paired_test(a, b, num_permutations=50_000)
    assert test.p_value == pytest.approx(np.mean(flips), abs=0.01)
    assert test.difference == pytest.approx(differences.mean())
    copies = paired_test(np.tile(a, 3), np.tile(b, 3), num_permutations=10)
    assert copies.difference_ci95 is not None
    assert copies.difference_ci95[0] < test.difference < copies.difference_ci95[1]


def test_equal_results_differ_with_p_1() -> None:
    values = np.array([0.0, 1.0, 1.0])
    test = paired_test(values, values)
    assert (test.difference, test.p_value) == (0.0, 1.0)


def test_a_clear_difference_has_the_smallest_p_value() -> None:
    assert paired_test(np.zeros(200), np.ones(200), num_permutations=999).p_value == 1 / 1000


def test_the_sides_swap() -> None:
    generator = np.random.default_rng(1)
    a, b = generator.random(50), generator.random(50)
    assert paired_test(a, b).difference == -paired_test(b, a).difference


def test_different_numbers_of_queries_are_refused() -> None:
    with pytest.raises(InputError, match="2 and 3 queries; a paired test needs the same queries"):
        paired_test(np.zeros(2), np.zeros(3))
