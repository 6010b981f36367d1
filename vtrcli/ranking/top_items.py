"""The first items of every query, corrected or not: for hubness, and for what was found instead of the truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vtrcli.ranking.evaluate import (
    DEFAULT_MEMORY_BYTES,
    as_source,
    resolve_logit_scale,
    workplace_for,
)
from vtrcli.ranking.methods import Settings
from vtrcli.ranking.rerank import plan_corrections
from vtrcli.ranking.scores import ScoreSource


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
    device: str = "cpu",
    memory_bytes: int = DEFAULT_MEMORY_BYTES,
) -> TopItems:
    """The k best videos of every text, the test texts being the bank; fewer if there are fewer.

    Give `scores.Transposed(source)` for the best texts of every video.
    """
    settings = settings or Settings()
    source = as_source(source)
    scale, _ = resolve_logit_scale(source, settings, logit_scale)
    tiles = workplace_for(source, device=device, memory_bytes=memory_bytes).tiles(source)
    plan = plan_corrections(tiles, settings, logit_scale=scale, banks={"t2v": tiles})
    xp = tiles.arrays.xp
    k = min(k, tiles.shape[1])
    videos = np.zeros((tiles.shape[0], k), np.int64)
    scores = np.full((tiles.shape[0], k), -np.inf, tiles.dtype)
    for tile in tiles:
        corrected = tiles.arrays.get(plan.corrections["t2v"].apply(xp, plan.terms.of(xp, tile)))
        place = tile.texts
        videos[place], scores[place] = _merge(videos[place], scores[place], corrected, tile.videos.start)
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
