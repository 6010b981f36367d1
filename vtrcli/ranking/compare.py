"""Is result B better than result A? Paired tests per metric on the same queries, for `vtr compare`."""

from __future__ import annotations

import numpy as np

from vtrcli.errors import InputError
from vtrcli.ranking.bootstrap import DEFAULT_NUM_PERMUTATIONS, PairedTest, paired_test
from vtrcli.ranking.metrics import RECALL_AT, DirectionMetrics, Ties, recall_hits


def compare(
    a: DirectionMetrics,
    b: DirectionMetrics,
    *,
    ties: Ties = "average",
    num_permutations: int = DEFAULT_NUM_PERMUTATIONS,
    seed: int = 0,
) -> dict[str, PairedTest]:
    """`R@1`, `R@5`, `R@10`, `R@50` (percent) and `MnR` -> the test of B against A.

    Args:
        ties: the rule under which both were evaluated.

    Raises:
        InputError: the directions, what the ranks count, the numbers of queries or their clusters differ.
    """
    if a.direction != b.direction:
        raise InputError(
            f"a result for {a.direction} and one for {b.direction}",
            allowed="only results of the same direction can be compared",
            to_do="choose the same direction on both sides",
        )
    if a.over != b.over:
        raise InputError(
            f"ranks over {a.over} and ranks over {b.over}",
            allowed=f"{a.direction} ranks that count the same things",
            to_do="evaluate both with the same --v2t-over",
        )
    if len(a.clusters) == len(b.clusters) and not np.array_equal(a.clusters, b.clusters):
        raise InputError(
            "queries of other videos",
            allowed="a paired test needs the same queries, in the same order on both sides",
            to_do="evaluate both on the same split",
        )
    values = {
        f"R@{k}": tuple(100 * recall_hits(x.ranks, k, num_tied=x.num_tied, ties=ties) for x in (a, b))
        for k in RECALL_AT
    }
    values["MnR"] = (a.ranks, b.ranks)
    return {
        name: paired_test(left, right, clusters=a.clusters, num_permutations=num_permutations, seed=seed)
        for name, (left, right) in values.items()
    }
