from __future__ import annotations

import numpy as np
import pytest

from vtrcli.errors import InputError
from vtrcli.ranking.compare import compare
from vtrcli.ranking.metrics import metrics_from_ranks


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
