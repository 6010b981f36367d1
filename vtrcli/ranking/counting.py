"""Ranks by counting, never by sorting: incorrect items that score above the best correct one, and those that tie.

Items may be grouped (captions by their video): a group then has the score of its best item and counts once.

The score of a correct pair is taken from the same tile, by the same operations, as the scores that it is compared
with. A separate inner product would differ in the last bits and turn ties into wins or losses.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from vtrcli.ranking.corrections import Correction, TileTerms
from vtrcli.ranking.metrics import TIED_BEFORE, Direction, Ties
from vtrcli.ranking.rerank import Plan
from vtrcli.ranking.running import spread
from vtrcli.ranking.tiles import Tiles
from vtrcli.ranking.truth import Truth


@dataclass(frozen=True)
class RankCounts:
    """int64 [num_queries] each: incorrect items (or groups of them) above the best correct one, and level with it."""

    num_above: np.ndarray
    num_tied: np.ndarray

    def ranks(self, ties: Ties) -> np.ndarray:
        """float64 [num_queries], from 1."""
        return 1 + self.num_above + TIED_BEFORE[ties] * self.num_tied


def count_ranks(
    tiles: Tiles, truth: Truth, plan: Plan, groups: Mapping[Direction, np.ndarray] | None = None
) -> dict[Direction, RankCounts]:
    """Rank counts for the directions of `plan`; one product of the source, and one more of the tiles that hold truths.

    Truths that lie together (texts in the order `Truth.texts_by_video`) make the second part small.

    Args:
        groups: per direction int64 [num_items], equal numbers side by side: items that count as one. All correct
            items of a query are one group, and nothing else is in it.
    """
    counters = {
        d: _Counter(tiles, truth, correction, groups=(groups or {}).get(d))
        for d, correction in plan.corrections.items()
    }
    xp = tiles.arrays.xp
    for row, column, pairs in _pairs_by_tile(truth, tiles.edge):
        terms = plan.terms.of(xp, tiles.tile(row, column))
        for counter in counters.values():
            counter.take_correct(terms, pairs)
    for counter in counters.values():
        counter.fix_thresholds()
    for tile in tiles:
        terms = plan.terms.of(xp, tile)
        for counter in counters.values():
            counter.count(terms)
    return {d: counter.result() for d, counter in counters.items()}


class _Counter:
    """One direction. Queries and items are texts and videos for t2v, videos and texts for v2t."""

    def __init__(
        self, tiles: Tiles, truth: Truth, correction: Correction, *, groups: np.ndarray | None
    ) -> None:
        self._arrays, self._correction, self._truth = tiles.arrays, correction, truth
        self._is_t2v = correction.axis == 0
        self._num_queries = tiles.shape[correction.axis]
        self._pair_query = truth.text_index if self._is_t2v else truth.video_index
        self._pair_scores = np.empty(len(truth.text_index), tiles.dtype)
        self._above = np.zeros(self._num_queries, np.int64)
        self._level = np.zeros(self._num_queries, np.int64)
        self._groups = groups
        # The best so far of the group that is cut by the edge of a tile, per query.
        self._begun = tiles.arrays.put(np.empty(self._num_queries, tiles.dtype))

    def take_correct(self, terms: TileTerms, pairs: np.ndarray) -> None:
        """Keep the corrected scores of the correct pairs (indices into the truth's) in this tile."""
        corrected = self._correction.apply(self._arrays.xp, terms)
        rows = self._truth.text_index[pairs] - terms.tile.texts.start
        columns = self._truth.video_index[pairs] - terms.tile.videos.start
        place = self._arrays.put(rows), self._arrays.put(columns)
        self._pair_scores[pairs] = self._arrays.get(corrected[place])

    def fix_thresholds(self) -> None:
        """The best correct score of each query; a video without text counts nothing."""
        best = np.full(self._num_queries, -np.inf, self._pair_scores.dtype)
        np.maximum.at(best, self._pair_query, self._pair_scores)
        correct_level = self._pair_scores == best[self._pair_query]
        self._correct_level = np.bincount(self._pair_query[correct_level], minlength=self._num_queries)
        self._has_truth = np.bincount(self._pair_query, minlength=self._num_queries) > 0
        if self._groups is not None:
            self._correct_level = self._has_truth.astype(np.int64)
        best[~self._has_truth] = np.inf
        self._best = self._arrays.put(best)

    def count(self, terms: TileTerms) -> None:
        """Add the items of one tile."""
        xp, axis = self._arrays.xp, self._correction.axis
        corrected = self._correction.apply(xp, terms)
        queries = terms.tile.texts if self._is_t2v else terms.tile.videos
        best = spread(1 if axis == 0 else 0, self._best[queries])
        items_axis = 1 - axis
        if self._groups is not None:
            items = terms.tile.videos if self._is_t2v else terms.tile.texts
            corrected = self._of_groups(corrected, self._groups, items, queries)
        self._above[queries] += self._arrays.get((corrected > best).sum(items_axis, dtype=xp.int32))
        self._level[queries] += self._arrays.get((corrected == best).sum(items_axis, dtype=xp.int32))

    def _of_groups(self, corrected: Any, groups: np.ndarray, items: slice, queries: slice) -> Any:
        """The best of each group that ends in this tile. Tiles come in the order of the items for each query."""
        axis = 1 - self._correction.axis
        here = groups[items]
        starts = np.flatnonzero(np.diff(here, prepend=here[0] - 1))
        maxima = self._arrays.group_maxima(corrected, starts, axis)
        first, last = (0, -1) if axis == 0 else ((slice(None), 0), (slice(None), -1))
        if items.start > 0 and groups[items.start - 1] == here[0]:
            maxima[first] = self._arrays.xp.maximum(maxima[first], self._begun[queries])
        if items.stop < len(groups) and groups[items.stop] == here[-1]:
            self._begun[queries] = maxima[last]
            maxima = maxima[:-1] if axis == 0 else maxima[:, :-1]
        return maxima

    def result(self) -> RankCounts:
        """For the queries that have a truth, in their order."""
        tied = self._level - self._correct_level
        return RankCounts(self._above[self._has_truth], tied[self._has_truth])


def _pairs_by_tile(truth: Truth, edge: int) -> Iterator[tuple[int, int, Any]]:
    """(row, column, indices of the pairs) of each tile that holds a truth."""
    rows, columns = truth.text_index // edge, truth.video_index // edge
    num_columns = int(columns.max()) + 1
    numbers = rows * num_columns + columns
    order = np.argsort(numbers, kind="stable")
    distinct, starts = np.unique(numbers[order], return_index=True)
    for number, pairs in zip(distinct, np.split(order, starts[1:]), strict=True):
        yield int(number) // num_columns, int(number) % num_columns, pairs
