"""Intervals and paired tests that resample clusters of queries: the captions of a video stand and fall together.

Seeded, exact where a resample can be counted instead of drawn. Without clusters every query is one of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from vtrcli.errors import InputError

DEFAULT_NUM_BOOTSTRAP = 1000
DEFAULT_NUM_PERMUTATIONS = 10_000
# Below so many clusters the percentiles of a bootstrap cover clearly less than 95 %: no interval is better.
MIN_CLUSTERS = 20
_DRAWS_AT_ONCE = 4_000_000


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
    t = (
        z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
    )  # Cornish and Fisher
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
