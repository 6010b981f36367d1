"""Ranks by counting, never by sorting: incorrect items that score above the best correct one, and those that tie.

The score of a correct pair is taken from the same tile, by the same operations, as the scores that it is compared
with. A separate inner product would differ in the last bits and turn ties into wins or losses.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from vtrcli.retrieval.corrections import Correction, TileTerms
from vtrcli.retrieval.metrics import TIED_BEFORE, Direction, Ties
from vtrcli.retrieval.rerank import Plan
from vtrcli.retrieval.running import spread
from vtrcli.retrieval.tiles import Tiles
from vtrcli.retrieval.truth import Truth


@dataclass(frozen=True)
class RankCounts:
    """int64 [num_queries] each: incorrect items above the best correct one, and incorrect items level with it."""

    num_above: np.ndarray
    num_tied: np.ndarray

    def ranks(self, ties: Ties) -> np.ndarray:
        """float64 [num_queries], from 1."""
        return 1 + self.num_above + TIED_BEFORE[ties] * self.num_tied


def count_ranks(tiles: Tiles, truth: Truth, plan: Plan) -> dict[Direction, RankCounts]:
    """Rank counts for the directions of `plan`; one product of the source, and one more of the tiles that hold truths.

    Truths that lie together (texts in the order `Truth.texts_by_video`) make the second part small.
    """
    counters = {d: _Counter(tiles, truth, correction) for d, correction in plan.corrections.items()}
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

    def __init__(self, tiles: Tiles, truth: Truth, correction: Correction) -> None:
        self._arrays, self._correction, self._truth = tiles.arrays, correction, truth
        self._is_t2v = correction.axis == 0
        self._num_queries = tiles.shape[correction.axis]
        self._pair_query = truth.text_index if self._is_t2v else truth.video_index
        self._pair_scores = np.empty(len(truth.text_index), tiles.dtype)
        self._above = np.zeros(self._num_queries, np.int64)
        self._level = np.zeros(self._num_queries, np.int64)

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
        best[~self._has_truth] = np.inf
        self._best = self._arrays.put(best)

    def count(self, terms: TileTerms) -> None:
        """Add the items of one tile."""
        xp, axis = self._arrays.xp, self._correction.axis
        corrected = self._correction.apply(xp, terms)
        queries = terms.tile.texts if self._is_t2v else terms.tile.videos
        best = spread(1 if axis == 0 else 0, self._best[queries])
        items_axis = 1 - axis
        self._above[queries] += self._arrays.get((corrected > best).sum(items_axis, dtype=xp.int32))
        self._level[queries] += self._arrays.get((corrected == best).sum(items_axis, dtype=xp.int32))

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
