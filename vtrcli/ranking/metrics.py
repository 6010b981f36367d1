"""From ranks to the numbers of a results table, with their intervals. Counting the ranks is `counting`'s work."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from vtrcli.ranking.bootstrap import DEFAULT_NUM_BOOTSTRAP, means_ci95

Direction = Literal["t2v", "v2t"]
Ties = Literal["average", "optimistic", "pessimistic"]
# What a rank counts: for t2v always videos; for v2t videos, each by its best caption, or captions.
Over = Literal["videos", "captions"]
RECALL_AT = (1, 5, 10, 50)
# Which share of the tied incorrect items is placed before the correct one.
TIED_BEFORE: dict[Ties, float] = {"optimistic": 0.0, "average": 0.5, "pessimistic": 1.0}


@dataclass(frozen=True, kw_only=True)
class DirectionMetrics:
    """One direction of one result.

    Attributes:
        over: what the ranks count, videos or captions.
        num_queries: texts for t2v; videos that have a text for v2t.
        num_clusters: what was resampled for the intervals; the captions of one video are one cluster.
        num_ties: queries whose best correct item shares its score with an incorrect one.
        recall: k -> percent of queries whose best correct item is among the first k.
        recall_ci95: k -> (low, high) in percent; empty when no interval was asked for, or when there are fewer than
            `bootstrap.MIN_CLUSTERS` clusters.
        median_rank, mean_rank: of the rank of the best correct item, from 1.
        mrr: mean of 1 / rank, 0 to 1.
        ranks: float64 [num_queries], in the order of the queries.
        num_tied: int64 [num_queries], incorrect items with the score of the best correct one.
        clusters: int64 [num_queries], equal within a cluster.
    """

    direction: Direction
    over: Over
    num_queries: int
    num_clusters: int
    num_ties: int
    recall: dict[int, float]
    recall_ci95: dict[int, tuple[float, float]]
    median_rank: float
    mean_rank: float
    mrr: float
    ranks: np.ndarray
    num_tied: np.ndarray
    clusters: np.ndarray

    def to_json(self) -> dict[str, Any]:
        """The keys of `vtr eval --json` that belong to one direction."""
        recall = {f"R@{k}": round(value, 6) for k, value in self.recall.items()}
        intervals = {
            f"R@{k}_ci95": [round(low, 3), round(high, 3)] for k, (low, high) in self.recall_ci95.items()
        }
        return {
            "direction": self.direction,
            "over": self.over,
            "num_queries": self.num_queries,
            "num_clusters": self.num_clusters,
            "num_ties": self.num_ties,
            **recall,
            "MdR": self.median_rank,
            "MnR": round(self.mean_rank, 6),
            "MRR": round(self.mrr, 6),
            **intervals,
        }


def metrics_from_ranks(
    ranks: np.ndarray,
    *,
    direction: Direction,
    over: Over | None = None,
    num_tied: np.ndarray | None = None,
    clusters: np.ndarray | None = None,
    ties: Ties = "average",
    num_bootstrap: int = DEFAULT_NUM_BOOTSTRAP,
    seed: int = 0,
) -> DirectionMetrics:
    """Summarise the ranks of one direction.

    Args:
        ranks: float [num_queries]: 1 + incorrect items above + `TIED_BEFORE[ties]` x tied incorrect items.
        over: what the ranks count; None: videos for t2v, captions for v2t.
        num_tied: int [num_queries]; None: no ties.
        clusters: int [num_queries], equal for queries that depend on each other (the captions of a video); None: each
            query stands alone.
        num_bootstrap: resamples of the clusters for the 95 % intervals; 0: no intervals.
    """
    ranks = np.asarray(ranks, dtype=np.float64)
    tied = np.zeros(len(ranks), np.int64) if num_tied is None else np.asarray(num_tied)
    hits = np.stack([recall_hits(ranks, k, num_tied=tied, ties=ties) for k in RECALL_AT], axis=1)
    own = np.arange(len(ranks)) if clusters is None else np.asarray(clusters)
    intervals = means_ci95(100 * hits, clusters=own, num_bootstrap=num_bootstrap, seed=seed)
    percents = 100 * hits.sum(axis=0) / len(ranks)  # divided last: 52.8, not 52.800000000000004
    return DirectionMetrics(
        direction=direction,
        over=over or ("videos" if direction == "t2v" else "captions"),
        num_queries=len(ranks),
        num_clusters=len(np.unique(own)),
        num_ties=int(np.count_nonzero(tied)),
        recall={k: float(percent) for k, percent in zip(RECALL_AT, percents, strict=True)},
        recall_ci95=dict(zip(RECALL_AT, intervals, strict=True)) if intervals else {},
        median_rank=float(np.median(ranks)),
        mean_rank=float(ranks.mean()),
        mrr=float(_reciprocal_ranks(ranks, num_tied=tied, ties=ties).mean()),
        ranks=ranks,
        num_tied=tied,
        clusters=own,
    )


def recall_hits(ranks: np.ndarray, k: int, *, num_tied: np.ndarray, ties: Ties) -> np.ndarray:
    """float64 [num_queries]: is the best correct item among the first k?

    For `average` the chance that it is when the order among equal scores is random (McSherry and Najork 2008),
    so that a constant matrix gets k / num_items; otherwise 0 or 1.
    """
    first = ranks - TIED_BEFORE[ties] * num_tied
    if ties == "average":
        return np.asarray(np.clip((k + 1 - first) / (num_tied + 1), 0, 1))
    return np.asarray(ranks <= k, np.float64)


def _reciprocal_ranks(ranks: np.ndarray, *, num_tied: np.ndarray, ties: Ties) -> np.ndarray:
    """1 / rank; for `average` its mean over the places that the correct item may take among its equals."""
    if ties != "average" or not num_tied.any():
        return np.asarray(1 / ranks)
    above = np.rint(ranks - TIED_BEFORE[ties] * num_tied).astype(np.int64) - 1
    harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, int((above + num_tied).max()) + 2))])
    return np.asarray((harmonic[above + num_tied + 1] - harmonic[above]) / (num_tied + 1))
