"""The first items of every query, corrected or not: for hubness, and for what was found instead of the truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vtrcli.retrieval.evaluate import (
    DEFAULT_MEMORY_BYTES,
    as_source,
    resolve_logit_scale,
    workplace_for,
)
from vtrcli.retrieval.methods import Settings
from vtrcli.retrieval.rerank import plan_corrections
from vtrcli.retrieval.scores import ScoreSource


@dataclass(frozen=True)
class TopItems:
    """`videos` int64 and `scores` float, both [num_texts, k], best first; equal scores by index."""

    videos: np.ndarray
    scores: np.ndarray

    def counts(self, num_videos: int) -> np.ndarray:
        """int64 [num_videos]: in how many of the lists each video is (hubness)."""
        return np.bincount(self.videos.ravel(), minlength=num_videos)


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
        columns = np.arange(tile.videos.start, tile.videos.stop)
        both = np.concatenate([scores[tile.texts], corrected], axis=1)
        names = np.concatenate([videos[tile.texts], np.broadcast_to(columns, corrected.shape)], axis=1)
        # Stable, and earlier tiles stand first: equal scores stay in the order of their indices.
        best = np.argsort(-both, axis=1, kind="stable")[:, :k]
        scores[tile.texts] = np.take_along_axis(both, best, axis=1)
        videos[tile.texts] = np.take_along_axis(names, best, axis=1)
    return TopItems(videos, scores)
