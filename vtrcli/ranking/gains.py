"""The metrics of information retrieval beside R@k: nDCG, AP, RR, P, Recall and Success, by the names of ir_measures.

They ask where every right answer stands, not only the best one. Among equal scores each takes its mean over all orders
(McSherry and Najork 2008), as the ranks do (`metrics.recall_hits`); on scores without ties they are trec_eval's. What a
run does not list counts nothing, as there. Discount 1 / log2(1 + place), gain the grade.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from vtrcli.errors import UsageError
from vtrcli.ranking.listed import ListedScores
from vtrcli.ranking.methods import Correction
from vtrcli.ranking.metrics import Ties
from vtrcli.ranking.ranks import pair_scores
from vtrcli.ranking.scores import ScoreSource, tiles

# Whether a metric may, must or need not be cut at a number of places.
_KINDS = {"nDCG": "may", "AP": "may", "RR": "may", "P": "must", "Recall": "must", "Success": "must"}
_ALIASES = {"map": "AP", "mrr": "RR", **{name.lower(): name for name in _KINDS}}


@dataclass(frozen=True)
class Metric:
    """`name` of one metric, cut after `k` places; None: not cut."""

    name: str
    k: int | None

    @classmethod
    def parse(cls, text: str) -> Metric:
        """`nDCG@10`, `AP`, `MAP`, `RR@10`, `P@5`, `Recall@5`, `Success@1`, in any case. Raises UsageError."""
        found = re.fullmatch(r"([A-Za-z]+)(?:@([1-9]\d{0,8}))?", text.strip())
        name = _ALIASES.get(found[1].lower()) if found else None
        if found is None or name is None or (found[2] is None and _KINDS[name] == "must"):
            is_recall = text.strip().lower().startswith("r@")
            raise UsageError(
                f"the metric {text.strip()!r}",
                allowed="nDCG, AP, RR with or without @k; P@k, Recall@k, Success@k",
                to_do="R@k is in the table, and is Success@k in per cent; the share of all right answers is Recall@k"
                if is_recall
                else "write for example --metrics nDCG@10,AP,RR",
            )
        return cls(name, int(found[2]) if found[2] else None)

    def __str__(self) -> str:
        return self.name if self.k is None else f"{self.name}@{self.k}"


@dataclass(frozen=True)
class Places:
    """Where right answers stand: `num_above` items score higher than one, and `num_level` as high, itself counted.

    Attributes:
        num_items: what was ranked.
        queries: int64 [num_pairs], ascending, from 0 without gaps. num_above, num_level: int64 [num_pairs].
        grades: float64 [num_pairs], above 0. is_listed: bool [num_pairs].
    """

    num_items: int
    queries: np.ndarray
    num_above: np.ndarray
    num_level: np.ndarray
    grades: np.ndarray
    is_listed: np.ndarray

    def values(self, metric: Metric, ties: Ties) -> np.ndarray:
        """float64 [num_queries], each 0 to 1."""
        at_most = self.num_items if metric.k is None else min(metric.k, self.num_items)
        if metric.name in ("RR", "Success"):
            return self._of_best(metric, at_most, ties)
        above, level = self._span(ties)
        inside = np.clip(at_most - above, 0, level) * self.is_listed
        if metric.name == "nDCG":
            discounts = np.concatenate([[0.0], np.cumsum(1 / np.log2(np.arange(2, at_most + 2)))])
            start = np.where(inside, above, 0)
            gained = self.grades * (discounts[start + inside] - discounts[start])
            return np.asarray(self._sums(gained / level) / self._ideal(at_most))
        if metric.name == "AP":
            return np.asarray(self._sums(self._precision(above, level, inside)) / self._num_right)
        found = self._sums(inside / level)
        return np.asarray(found / (self._num_right if metric.name == "Recall" else float(metric.k or 1)))

    def _sums(self, values: np.ndarray) -> np.ndarray:
        return np.bincount(self.queries, values)

    @cached_property
    def _num_right(self) -> np.ndarray:
        return np.bincount(self.queries)

    @cached_property
    def _tied(self) -> tuple[np.ndarray, np.ndarray]:
        """int64 [num_pairs] each: right answers level with each one, itself counted, and those above it."""
        keys = self.queries * (self.num_items + 1) + np.where(self.is_listed, self.num_above, self.num_items)
        distinct, group, sizes = np.unique(keys, return_inverse=True, return_counts=True)
        before = np.cumsum(sizes) - sizes
        first_of_query = np.searchsorted(distinct // (self.num_items + 1), np.arange(len(self._num_right)))
        return sizes[group], before[group] - before[first_of_query[self.queries]]

    def _span(self, ties: Ties) -> tuple[np.ndarray, np.ndarray]:
        """The places that a right answer may take: how many are before them, and how many they are."""
        if ties == "average":
            return self.num_above, self.num_level
        level = self._tied[0]
        return self.num_above + (self.num_level - level if ties == "pessimistic" else 0), level

    def _precision(self, above: np.ndarray, level: np.ndarray, inside: np.ndarray) -> np.ndarray:
        """The mean precision at each right answer's place, places after the cut giving 0.

        At the j-th of its places the answer has with it all right ones above, and of the others that are level with it
        the share (j - 1) / (level - 1).
        """
        level_right, right_above = self._tied
        reciprocals = self._reciprocals(above, inside)
        others = (level_right - 1) / np.maximum(level - 1, 1)
        return np.asarray(
            ((right_above + 1) * reciprocals + others * (inside - (above + 1) * reciprocals)) / level
        )

    def _ideal(self, at_most: int) -> np.ndarray:
        """[num_queries]: the sum of discounted gains with the highest grades first."""
        order = np.lexsort((-self.grades, self.queries))
        place = np.arange(len(order)) - np.searchsorted(self.queries, self.queries)
        return self._sums(np.where(place < at_most, self.grades[order] / np.log2(place + 2), 0))

    def _of_best(self, metric: Metric, at_most: int, ties: Ties) -> np.ndarray:
        """Of the best right answer; others that are level with it count as one with it, as in the ranks."""
        in_order = np.lexsort((self.num_above, ~self.is_listed, self.queries))
        firsts = in_order[np.searchsorted(self.queries, np.arange(len(self._num_right)))]
        num_tied = np.where(self.is_listed[firsts], self.num_level[firsts] - self._tied[0][firsts], 0)
        above, level = self.num_above[firsts], np.ones(len(firsts), np.int64)
        if ties == "average":
            level = num_tied + 1
        elif ties == "pessimistic":
            above = above + num_tied
        inside = np.clip(at_most - above, 0, level) * self.is_listed[firsts]
        if metric.name == "Success":
            return np.asarray(inside / level)
        return np.asarray(self._reciprocals(above, inside) / level)

    def _reciprocals(self, above: np.ndarray, inside: np.ndarray) -> np.ndarray:
        """The sum of 1 / place over the `inside` places that follow `above`."""
        harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, self.num_items + 1))])
        start = np.where(inside, above, 0)
        return np.asarray(harmonic[start + inside] - harmonic[start])


def mean_values(
    source: ScoreSource,
    right: tuple[np.ndarray, np.ndarray, np.ndarray | None],
    correction: Correction,
    metrics: Sequence[str],
    *,
    ties: Ties,
    edge: int,
) -> dict[str, float]:
    """Name -> mean over the queries, of those asked for; `right` as `places_of` has it."""
    places = places_of(source, *right, correction, edge=edge)
    return {str(one): float(places.values(one, ties).mean()) for one in map(Metric.parse, metrics)}


def places_of(
    source: ScoreSource,
    queries: np.ndarray,
    items: np.ndarray,
    grades: np.ndarray | None,
    correction: Correction,
    *,
    edge: int,
) -> Places:
    """Count where each right pair stands; queries without one are left out.

    Args:
        queries, items: int64 [num_pairs], in any order, each pair once.
        grades: [num_pairs]; None: 1 each.
    """
    order = np.lexsort((items, queries))
    queries, items = queries[order], items[order]
    if isinstance(source, ListedScores):
        above, level, is_listed = _in_lists(source, queries, items)
    else:
        above, level = _in_tiles(source, queries, items, correction, edge=edge)
        is_listed = np.ones(len(queries), np.bool_)
    return Places(
        source.shape[1],
        np.unique(queries, return_inverse=True)[1],
        above,
        level,
        np.ones(len(queries)) if grades is None else grades[order].astype(np.float64),
        is_listed,
    )


def _in_tiles(
    source: ScoreSource, queries: np.ndarray, items: np.ndarray, correction: Correction, *, edge: int
) -> tuple[np.ndarray, np.ndarray]:
    """One comparison of a row for each of its right answers."""
    scores = correction.of_pairs(pair_scores(source, queries, items, edge=edge), queries, items)
    nth = np.arange(len(queries)) - np.searchsorted(queries, queries)
    by_nth = [np.flatnonzero(nth == number) for number in range(int(nth.max()) + 1)]
    above, level = np.zeros(len(queries), np.int64), np.zeros(len(queries), np.int64)
    for tile in tiles(source, edge=edge):
        corrected = correction.apply(tile)
        for pairs in by_nth:
            of_tile = pairs[slice(*np.searchsorted(queries[pairs], (tile.rows.start, tile.rows.stop)))]
            rows = corrected[queries[of_tile] - tile.rows.start]
            to_beat = scores[of_tile, None]
            above[of_tile] += (rows > to_beat).sum(1)
            level[of_tile] += (rows == to_beat).sum(1)
    return above, level


def _in_lists(
    source: ListedScores, queries: np.ndarray, items: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """By sorting each list once. What is not listed gets no place that counts."""
    above, level, is_listed = (
        source.lengths[queries],
        np.ones(len(queries), np.int64),
        np.zeros(len(queries), np.bool_),
    )
    for part in source.chunks():
        of_part = np.arange(*np.searchsorted(queries, (part.first_text, part.first_text + part.num_texts)))
        pairs = (queries[of_part] - part.first_text) * source.shape[1] + items[of_part]
        keys = part.rows * source.shape[1] + part.videos
        at = np.minimum(np.searchsorted(pairs, keys), len(pairs) - 1)
        entries = np.flatnonzero(pairs[at] == keys)
        order = np.lexsort((-part.scores, part.rows))
        rows, scores = part.rows[order], part.scores[order]
        begins = np.flatnonzero((np.diff(rows, prepend=-1) != 0) | (np.diff(scores, prepend=np.nan) != 0))
        group = np.searchsorted(begins, np.arange(len(order)), "right") - 1
        place = np.empty(len(order), np.int64)
        place[order] = np.arange(len(order))
        found, of_entry = of_part[at[entries]], group[place[entries]]
        above[found] = begins[of_entry] - np.searchsorted(rows, part.rows[entries])
        level[found] = np.diff(begins, append=len(order))[of_entry]
        is_listed[found] = True
    return above, level, is_listed
