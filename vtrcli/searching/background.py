"""What the captions of a bank score on each video: corrections for one live query, and a relevance that needs no other.

Per video one number per correction is computed once, so that a query costs nothing more. The corrections are those
of `vtrcli.ranking.methods` with the bank in the place of the test queries.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

import numpy as np

from vtrcli.errors import StoreError, UsageError
from vtrcli.ranking.methods import CSLS_NEIGHBOURS, DEFAULT_ALPHA, NNN_NEIGHBOURS
from vtrcli.searching.bank import Bank
from vtrcli.searching.spaces import Space
from vtrcli.store.catalog import Catalog
from vtrcli.store.derived import Columns, current_rows, derived_tables
from vtrcli.store.shard import Shard

SearchMethod = Literal["dsl", "inverted-softmax", "nnn", "csls"]
# docs/search.md: with captions of other videos nnn is the one that does no harm, at the values of `vtr eval`.
NNN_ALPHA, NNN_K, CSLS_K = DEFAULT_ALPHA, NNN_NEIGHBOURS, CSLS_NEIGHBOURS
RULE_VERSION = 1  # to be raised with these, or with the temperature of a pooling
TINY = float(np.finfo(np.float32).tiny)  # as vtrcli.ranking.methods
MAX_SCORES, MAX_FRAMES = 1 << 24, 16_384
_STATISTICS = ("mean", "mean_square", "log_sum_exp", "nnn", "csls")


@dataclass(frozen=True)
class Background:
    """Per current video, float32 [num_videos], over the captions of the bank: mean and mean square of the scores, log
    of the sum of exp(logit_scale x score), means of the NNN_K and CSLS_K best."""

    logit_scale: float
    num_texts: int
    statistics: dict[str, np.ndarray]

    def correct(self, method: SearchMethod, scores: np.ndarray, videos: np.ndarray) -> np.ndarray:
        """What to rank by: rises with the score. `scores` [n] of the videos [n]."""
        corrected: np.ndarray
        if method == "nnn":
            corrected = scores - NNN_ALPHA * self.statistics["nnn"][videos]
        elif method == "csls":
            corrected = 2 * scores - self.statistics["csls"][videos]
        else:
            logits = self.logit_scale * scores
            corrected = logits - self.statistics["log_sum_exp"][videos]
            if method == "dsl":  # the bank lacks the query, which joins each video's softmax
                corrected = np.log(np.maximum(logits, TINY)) - np.logaddexp(-corrected, 0)
        return corrected

    def relevance(self, scores: np.ndarray | float) -> np.ndarray:
        """How many standard deviations a score lies above what a caption of the bank scores on a video of the store.

        One mean and one deviation for the whole store: measured against a mean and deviation per video it separates
        right from wrong better, and it cannot contradict the ranking (docs/search.md).
        """
        relevance: np.ndarray = (np.asarray(scores) - self.mean) / self.deviation
        return relevance

    @cached_property
    def mean(self) -> float:
        """What a caption of the bank scores on a video, on average."""
        return float(self.statistics["mean"].mean(dtype=np.float64))

    @cached_property
    def deviation(self) -> float:
        """The standard deviation of those scores."""
        variance = float(self.statistics["mean_square"].mean(dtype=np.float64)) - self.mean**2
        return math.sqrt(max(1e-6, variance))


def make_background(
    catalog: Catalog,
    space: Space,
    bank: Bank,
    *,
    on_progress: Callable[[int, int], None] = lambda num_done, total: None,
) -> Background:
    """The background of a bank on the videos of a store; only shards that have none yet are computed."""
    columns = Columns(
        name=f"bank-{bank.id}-{space.key}",
        tensors={name: ("F32", None) for name in _STATISTICS},
        version=RULE_VERSION,
    )
    encoded: list[np.ndarray] = []

    def compute(shard: Shard) -> dict[str, np.ndarray]:
        if not encoded:  # a run's vectors need torch: not before a shard needs them
            encoded.append(space.bank_vectors(bank.rows))
        parts = [
            statistics(space.score_part(shard, videos, encoded[0]), logit_scale=space.logit_scale)
            for videos in _groups(shard, num_texts=len(encoded[0]))
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in _STATISTICS}

    tables = derived_tables(catalog, columns, compute, on_progress=on_progress)
    rows = current_rows(catalog)
    found = {name: np.concatenate([table[name] for table in tables])[rows] for name in _STATISTICS}
    if not all(np.isfinite(values).all() for values in found.values()):
        raise StoreError(
            f"{catalog.store}/index/{columns.name} holds numbers that are not finite",
            allowed="a derived table as a search writes it",
            to_do="delete that folder: it is made again",
        )
    return Background(space.logit_scale, bank.num_texts, found)


def _groups(shard: Shard, *, num_texts: int) -> list[slice]:
    """Neighbouring videos, so many that neither their frames nor their scores take much memory; at least one."""
    max_videos = max(1, MAX_SCORES // num_texts)
    offsets, groups, first = shard.offsets, [], 0
    while first < len(offsets) - 1:
        last = int(np.searchsorted(offsets, offsets[first] + MAX_FRAMES, side="right")) - 1
        stop = max(first + 1, min(last, first + max_videos))
        groups.append(slice(first, stop))
        first = stop
    return groups


def statistics(scores: np.ndarray, *, logit_scale: float) -> dict[str, np.ndarray]:
    """Scores float32 [num_videos, num_texts] -> the numbers of `Background`, [num_videos] each."""
    largest = scores.max(axis=1)
    sums = np.exp(logit_scale * (scores - largest[:, None])).sum(axis=1)
    num_best = max(NNN_K, CSLS_K)
    best = -np.sort(-np.partition(scores, -num_best, axis=1)[:, -num_best:], axis=1)
    return {
        "mean": scores.mean(axis=1),
        "mean_square": np.square(scores).mean(axis=1),
        "log_sum_exp": logit_scale * largest + np.log(sums),
        "nnn": best[:, :NNN_K].mean(axis=1),
        "csls": best[:, :CSLS_K].mean(axis=1),
    }


def require_method(name: str) -> SearchMethod:
    """Raises UsageError for a correction that one live query cannot have."""
    for method in get_args(SearchMethod):
        if method == name:
            return method  # type: ignore[no-any-return]
    raise UsageError(
        f"--method {name} in a search",
        allowed=f"one query alone can be corrected by {', '.join(get_args(SearchMethod))}",
        to_do="choose one of them; the others need all queries at once (`vtr eval`)",
    )
