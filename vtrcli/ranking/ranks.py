"""Ranks by counting, never by sorting: incorrect items that score above the best correct one, and those that tie.

One direction at a time: rows are queries and columns are what is ranked. Items may be grouped (captions by their
video): a group then has the score of its best item and counts once.

The score of a correct pair is corrected by the same operations as the scores that it is compared with. Any other way
would differ in the last bits and turn ties into wins or losses.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from vtrcli.ranking.listed import ListedScores
from vtrcli.ranking.methods import Correction, Settings, correction, resolve_logit_scale
from vtrcli.ranking.metrics import TIED_BEFORE, Ties
from vtrcli.ranking.scores import (
    DEFAULT_MEMORY_BYTES,
    ScoreSource,
    Tile,
    as_source,
    held,
    square,
    tile_edge,
    tiles,
)


@dataclass(frozen=True)
class RankCounts:
    """int64 [num_queries] each: incorrect items (or groups of them) above the best correct one, and level with it.

    `is_listed`: bool [num_queries], whether a run names a correct item at all; None: every item has a score.
    """

    num_above: np.ndarray
    num_tied: np.ndarray
    is_listed: np.ndarray | None = None

    def ranks(self, ties: Ties) -> np.ndarray:
        """float64 [num_queries], from 1."""
        return 1 + self.num_above + TIED_BEFORE[ties] * self.num_tied

    def take(self, queries: np.ndarray) -> RankCounts:
        """The counts of these queries (int64), in this order."""
        is_listed = None if self.is_listed is None else self.is_listed[queries]
        return RankCounts(self.num_above[queries], self.num_tied[queries], is_listed)


def count_ranks(
    source: ScoreSource,
    queries: np.ndarray,
    items: np.ndarray,
    correction: Correction,
    *,
    edge: int,
    groups: np.ndarray | None = None,
) -> RankCounts:
    """Rank counts of the queries that have a correct item, in their order.

    Two passes: the tiles that hold correct pairs, then all. Where pairs lie together (texts in the order
    `Truth.texts_by_video`) the first one is small.

    Args:
        queries, items: int64 [num_pairs], the rows and columns of the correct pairs, each pair once.
        groups: int64 [num_items], equal numbers side by side: items that count as one. All correct items of a query
            are one group, and nothing else is in it.
    """
    num_queries = source.shape[0]
    scores = pair_scores(source, queries, items, edge=edge)
    scores = correction.of_pairs(scores, queries, items)
    best = np.full(num_queries, -np.inf, scores.dtype)
    np.maximum.at(best, queries, scores)
    has_correct = np.bincount(queries, minlength=num_queries) > 0
    num_correct = np.bincount(queries[scores == best[queries]], minlength=num_queries)
    if groups is not None:
        num_correct = has_correct.astype(np.int64)
    best[~has_correct] = np.inf  # counts nothing
    above, level = np.zeros(num_queries, np.int64), np.zeros(num_queries, np.int64)
    begun = np.empty(num_queries, scores.dtype)
    for tile in tiles(source, edge=edge):
        corrected = correction.apply(tile)
        if groups is not None:
            corrected = _best_of_groups(tile, corrected, groups, begun)
        to_beat = best[tile.rows, None]
        above[tile.rows] += (corrected > to_beat).sum(1, dtype=np.int32)
        level[tile.rows] += (corrected == to_beat).sum(1, dtype=np.int32)
    return RankCounts(above, level - num_correct).take(np.flatnonzero(has_correct))


def count_listed_ranks(source: ListedScores, queries: np.ndarray, items: np.ndarray) -> RankCounts:
    """What `count_ranks` gives for lists, by going over what is listed once: time grows with the lists and not with the
    gallery. A correct item that is not listed stands below all of its list, level with all that is not listed.

    Args:
        queries, items: int64 [num_pairs], sorted by query and then item, each pair once.
    """
    num_queries, num_items = source.shape
    num_correct = np.bincount(queries, minlength=num_queries)
    best = np.full(num_queries, -np.inf)
    above, level = source.lengths.copy(), num_items - source.lengths - num_correct
    for part in source.chunks():
        texts = slice(part.first_text, part.first_text + part.num_texts)
        of_part = slice(*np.searchsorted(queries, (texts.start, texts.stop)))
        pairs = (queries[of_part] - texts.start) * num_items + items[of_part]
        keys = part.rows * num_items + part.videos
        is_correct = pairs[np.minimum(np.searchsorted(pairs, keys), len(pairs) - 1)] == keys
        np.maximum.at(best[texts], part.rows[is_correct], part.scores[is_correct])
        to_beat = best[texts][part.rows]
        is_level = part.scores == to_beat
        num_above, num_level, num_best = (
            np.bincount(part.rows[which], minlength=part.num_texts)
            for which in (part.scores > to_beat, is_level, is_level & is_correct)
        )
        found = best[texts] > -np.inf
        above[texts][found] = num_above[found]
        level[texts][found] = (num_level - num_best)[found]
    asked = num_correct > 0
    return RankCounts(above, level, best > -np.inf).take(np.flatnonzero(asked))


def pair_scores(source: ScoreSource, queries: np.ndarray, items: np.ndarray, *, edge: int) -> np.ndarray:
    """Plain scores [num_pairs], each from its own square of the grid."""
    scores = np.empty(len(queries), source.dtype)
    for row, column, pairs in _pairs_by_square(queries, items, edge=edge):
        tile = square(source, row, column, edge=edge)
        scores[pairs] = tile.scores[queries[pairs] - tile.rows.start, items[pairs] - tile.columns.start]
    return scores


def _pairs_by_square(
    queries: np.ndarray, items: np.ndarray, *, edge: int
) -> Iterator[tuple[int, int, np.ndarray]]:
    """(row, column, indices of the pairs) of each square that holds a pair."""
    num_columns = int(items.max()) // edge + 1
    numbers = queries // edge * num_columns + items // edge
    order = np.argsort(numbers, kind="stable")
    distinct, starts = np.unique(numbers[order], return_index=True)
    for number, pairs in zip(distinct.tolist(), np.split(order, starts[1:]), strict=True):
        yield number // num_columns, number % num_columns, pairs


def _best_of_groups(tile: Tile, corrected: np.ndarray, groups: np.ndarray, begun: np.ndarray) -> np.ndarray:
    """[rows, num_ended]: the best of each group that ends in this tile.

    `begun` [num_queries] carries the best so far of the group that is cut by the edge of a tile.
    """
    items = tile.columns
    names = groups[items]
    maxima = np.maximum.reduceat(corrected, np.flatnonzero(np.diff(names, prepend=names[0] - 1)), axis=1)
    if items.start > 0 and groups[items.start - 1] == names[0]:
        maxima[:, 0] = np.maximum(maxima[:, 0], begun[tile.rows])
    if items.stop < len(groups) and groups[items.stop] == names[-1]:
        begun[tile.rows] = maxima[:, -1]
        maxima = maxima[:, :-1]
    return np.asarray(maxima)


@dataclass(frozen=True)
class TopItems:
    """`videos` int64 and `scores` float, both [num_texts, k], best first; equal scores by index. Where a text has fewer
    scores that are no padding, the last places have the score -inf and name no video."""

    videos: np.ndarray
    scores: np.ndarray

    def counts(self, num_videos: int) -> np.ndarray:
        """int64 [num_videos]: in how many of the lists each video is (hubness)."""
        return np.bincount(self.videos[np.isfinite(self.scores)], minlength=num_videos)


def top_videos(
    source: ScoreSource | np.ndarray,
    *,
    k: int = 10,
    settings: Settings | None = None,
    logit_scale: float | None = None,
    memory_bytes: int = DEFAULT_MEMORY_BYTES,
) -> TopItems:
    """The k best videos of every text, the test texts being the bank; fewer if there are fewer.

    Give `scores.Transposed(source)` for the best texts of every video.
    """
    settings = settings or Settings()
    source = as_source(source)
    scale = resolve_logit_scale(source, settings, logit_scale).logit_scale
    edge = tile_edge(source, memory_bytes=memory_bytes)
    source = held(source, edge=edge, memory_bytes=memory_bytes)
    found = correction(source, settings, logit_scale=scale, edge=edge)
    k = min(k, source.shape[1])
    videos = np.zeros((source.shape[0], k), np.int64)
    scores = np.full((source.shape[0], k), -np.inf, source.dtype)
    for tile in tiles(source, edge=edge):
        place = tile.rows
        videos[place], scores[place] = _merge(
            videos[place], scores[place], found.apply(tile), tile.columns.start
        )
    return TopItems(videos, scores)


def _merge(
    videos: np.ndarray, scores: np.ndarray, corrected: np.ndarray, first_video: int
) -> tuple[np.ndarray, np.ndarray]:
    """The best k of those so far and of a tile to their right, in order, without sorting the tile."""
    num_texts, k = scores.shape
    within = min(k, corrected.shape[1])
    floor = np.partition(corrected, -within, axis=1)[:, -within]
    rows, columns = np.nonzero((corrected >= floor[:, None]) & (corrected > scores[:, -1:]))
    all_rows = np.concatenate([np.repeat(np.arange(num_texts), k), rows])
    all_videos = np.concatenate([videos.ravel(), columns + first_video])
    all_scores = np.concatenate([scores.ravel(), corrected[rows, columns]])
    order = np.lexsort((all_videos, -all_scores, all_rows))
    starts = np.searchsorted(all_rows[order], np.arange(num_texts))
    best = order[starts[:, None] + np.arange(k)]
    return all_videos[best], all_scores[best]
