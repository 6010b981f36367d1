"""From ranks to the numbers of a results table, with their intervals, and whether one result is better than another.

Intervals and paired tests resample clusters of queries: the captions of a video stand and fall together. They are
seeded, and exact where a resample can be counted instead of drawn. Without clusters every query is one of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Any, Literal

import numpy as np

from vtrcli.errors import InputError, UsageError

Direction = Literal["t2v", "v2t"]
Ties = Literal["average", "optimistic", "pessimistic"]
# What a rank counts: for t2v always videos; for v2t videos, each by its best caption, or captions.
Over = Literal["videos", "captions"]
RECALL_AT = (1, 5, 10, 50)
RECALLS = {f"R@{k}": k for k in RECALL_AT}
# Which share of the tied incorrect items is placed before the correct one.
TIED_BEFORE: dict[Ties, float] = {"optimistic": 0.0, "average": 0.5, "pessimistic": 1.0}
DEFAULT_NUM_BOOTSTRAP = 1000
DEFAULT_NUM_PERMUTATIONS = 10_000
# Below so many clusters the percentiles of a bootstrap cover clearly less than 95 %: no interval is better.
MIN_CLUSTERS = 20
_DRAWS_AT_ONCE = 4_000_000


@dataclass(frozen=True, kw_only=True)
class DirectionMetrics:
    """One direction of one result.

    Attributes:
        over: what the ranks count, videos or captions.
        num_queries: texts for t2v; videos that have a text for v2t.
        num_clusters: what was resampled for the intervals; the captions of one video are one cluster.
        num_ties: queries whose best correct item shares its score with an incorrect one.
        num_unlisted: of a run that lists the best items only, queries without a correct item in their list: they rank
            last, level with all that is not listed; None: every item has a score.
        more: name -> value, 0 to 1, of the metrics of `gains` that were asked for; for v2t over captions.
        recall: k -> percent of queries whose best correct item is among the first k.
        recall_ci95: k -> (low, high) in percent; empty when no interval was asked for, or when there are fewer than
            `MIN_CLUSTERS` clusters.
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
    ranks: np.ndarray = field(repr=False)
    num_tied: np.ndarray = field(repr=False)
    clusters: np.ndarray = field(repr=False)
    num_unlisted: int | None = None
    more: Mapping[str, float] = field(default_factory=dict)

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
            **({} if self.num_unlisted is None else {"num_unlisted": self.num_unlisted}),
            **{name: round(value, 6) for name, value in self.more.items()},
        }


def metrics_from_ranks(
    ranks: np.ndarray,
    *,
    direction: Direction,
    over: Over | None = None,
    num_tied: np.ndarray | None = None,
    is_listed: np.ndarray | None = None,
    clusters: np.ndarray | None = None,
    more: Mapping[str, float] | None = None,
    ties: Ties = "average",
    num_bootstrap: int = DEFAULT_NUM_BOOTSTRAP,
    seed: int = 0,
) -> DirectionMetrics:
    """Summarise the ranks of one direction.

    Args:
        ranks: float [num_queries]: 1 + incorrect items above + `TIED_BEFORE[ties]` x tied incorrect items.
        over: what the ranks count; None: videos for t2v, captions for v2t.
        num_tied: int [num_queries]; None: no ties.
        is_listed: bool [num_queries], of a run that lists the best items only; None: every item has a score.
        clusters: int [num_queries], equal for queries that depend on each other (the captions of a video); None: each
            query stands alone.
        more: other metrics, for the row.
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
        num_unlisted=None if is_listed is None else int(np.count_nonzero(~is_listed)),
        more=more or {},
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
    require_same_kind(a, b)
    return {
        name: paired_test(
            per_query(a, name, ties=ties),
            per_query(b, name, ties=ties),
            clusters=a.clusters,
            num_permutations=num_permutations,
            seed=seed,
        )
        for name in (*RECALLS, "MnR")
    }


def per_query(metrics: DirectionMetrics, name: str, *, ties: Ties) -> np.ndarray:
    """float64 [num_queries], whose mean is the metric: `R@1` ... in per cent, `MnR` or `MRR`.

    Raises:
        UsageError: another name.
    """
    if name in RECALLS:
        return 100 * recall_hits(metrics.ranks, RECALLS[name], num_tied=metrics.num_tied, ties=ties)
    if name == "MnR":
        return metrics.ranks
    if name == "MRR":
        return _reciprocal_ranks(metrics.ranks, num_tied=metrics.num_tied, ties=ties)
    raise UsageError(
        f"the metric {name!r}",
        allowed=f"{', '.join(RECALLS)}, MnR or MRR: what is a mean over queries",
        to_do="choose one of them",
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values of several tests, raised so that the chance of any false one stays at the level that each is read at
    (Holm 1979)."""
    order = np.argsort(p_values)
    steps = np.array(p_values, np.float64)[order] * np.arange(len(order), 0, -1)
    adjusted = np.empty(len(order))
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return [float(value) for value in adjusted]


def require_same_kind(a: DirectionMetrics, b: DirectionMetrics) -> None:
    """Raises InputError unless both rank the same queries in one direction and count the same things."""
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


def means_ci95(
    values: np.ndarray,
    *,
    clusters: np.ndarray | None = None,
    num_bootstrap: int = DEFAULT_NUM_BOOTSTRAP,
    seed: int = 0,
) -> list[tuple[float, float]]:
    """Percentile intervals of the column means, by the cluster bootstrap (Davison and Hinkley 1997, section 3.8), with
    percentiles that widen for few clusters (`_percentiles`).

    A resample draws whole clusters with replacement; its mean is over all queries drawn. It is a multinomial draw over
    the distinct (sum, size) of the clusters, so that 100,000 queries cost no more than their distinct results.

    Args:
        values: float [num_queries, num_columns].
        clusters: int64 [num_queries], equal within a cluster; None: each query is one.

    Returns:
        (low, high) per column; nothing when `num_bootstrap` is 0 or there are fewer than MIN_CLUSTERS clusters.
    """
    sums, sizes = _by_cluster(values, clusters)
    if num_bootstrap < 1 or len(sums) < MIN_CLUSTERS:
        return []
    distinct, counts = np.unique(np.column_stack([sums, sizes]), axis=0, return_counts=True)
    generator = np.random.default_rng(seed)
    means = []
    for size in _chunks(num_bootstrap, len(distinct)):
        totals = generator.multinomial(len(sums), counts / len(sums), size=size) @ distinct
        means.append(totals[:, :-1] / totals[:, -1:])
    low, high = np.percentile(np.concatenate(means), _percentiles(len(sums)), axis=0)
    return list(zip(low.tolist(), high.tolist(), strict=True))


@dataclass(frozen=True, kw_only=True)
class PairedTest:
    """Two results on the same queries. `difference` is mean_b - mean_a, `p_value` two-sided.

    `difference_ci95` is None below MIN_CLUSTERS clusters.
    """

    mean_a: float
    mean_b: float
    difference: float
    difference_ci95: tuple[float, float] | None
    p_value: float
    num_clusters: int


def paired_test(
    values_a: np.ndarray,
    values_b: np.ndarray,
    *,
    clusters: np.ndarray | None = None,
    num_permutations: int = DEFAULT_NUM_PERMUTATIONS,
    num_bootstrap: int = DEFAULT_NUM_BOOTSTRAP,
    seed: int = 0,
) -> PairedTest:
    """Sign-flip permutation test of the mean difference, with a paired bootstrap interval.

    Under the null hypothesis a and b may be swapped for each cluster on its own (all its queries at once, since they
    depend on each other); the p-value is the share of random swaps with a difference at least as large, the observed
    one counted among them (Phipson and Smyth 2010).

    Args:
        values_a, values_b: float [num_queries], one value per query (a hit, a rank), in the same order.
        clusters: int64 [num_queries], equal within a cluster; None: each query is one.

    Raises:
        InputError: the two do not hold the same number of queries.
    """
    if len(values_a) != len(values_b) or len(values_a) == 0:
        raise InputError(
            f"{len(values_a)} and {len(values_b)} queries",
            allowed="a paired test needs the same queries, at least one, in the same order on both sides",
            to_do="evaluate both on the same split",
        )
    differences = np.asarray(values_b, np.float64) - np.asarray(values_a, np.float64)
    sums = _by_cluster(differences[:, None], clusters)[0][:, 0]
    observed = abs(sums.sum())
    changed = sums[sums != 0]
    generator = np.random.default_rng(seed)
    # A swap that gives the observed sum up to rounding counts as large.
    threshold = observed - 1e-9 * max(1.0, float(np.abs(changed).sum()))
    num_as_large = 0
    for size in _chunks(num_permutations, len(changed)):
        bits = np.unpackbits(
            np.frombuffer(generator.bytes(size * (-(-len(changed) // 8))), np.uint8).reshape(size, -1), axis=1
        )
        flipped = bits[:, : len(changed)] @ changed
        num_as_large += int(np.count_nonzero(np.abs(2 * flipped - changed.sum()) >= threshold))
    intervals = means_ci95(
        differences[:, None], clusters=clusters, num_bootstrap=max(1, num_bootstrap), seed=seed
    )
    return PairedTest(
        mean_a=float(np.mean(values_a)),
        mean_b=float(np.mean(values_b)),
        difference=float(differences.mean()),
        difference_ci95=intervals[0] if intervals else None,
        p_value=(1 + num_as_large) / (1 + num_permutations),
        num_clusters=len(sums),
    )


def _percentiles(num_clusters: int) -> tuple[float, float]:
    """2.5 and 97.5, expanded by Student's t and the n - 1 of a variance (Hesterberg 2015, section 5.3): 1.6 and 98.4
    for 20 clusters, no different for 1,000."""
    freedom, normal = num_clusters - 1, NormalDist()
    z = normal.inv_cdf(0.975)
    # Cornish and Fisher.
    t = z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
    low = 100 * normal.cdf(-t * (num_clusters / freedom) ** 0.5)
    return low, 100 - low


def _by_cluster(values: np.ndarray, clusters: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Sums float64 [num_clusters, num_columns] and sizes int64 [num_clusters]."""
    if clusters is None:
        return np.asarray(values, np.float64), np.ones(len(values), np.int64)
    names, number = np.unique(clusters, return_inverse=True)
    sums = np.zeros((len(names), values.shape[1]))
    np.add.at(sums, number, values)
    return sums, np.bincount(number, minlength=len(names))


def _chunks(total: int, width: int) -> list[int]:
    """Sizes that add up to `total`, each about `_DRAWS_AT_ONCE` values of `width`."""
    size = max(1, _DRAWS_AT_ONCE // max(1, width))
    return [size] * (total // size) + ([total % size] if total % size else [])
