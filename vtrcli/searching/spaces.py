"""What videos are ranked by: the cosines of their frames (CLIP), or the vectors of a trained run (run_space.py).

A space scores all videos at once from float16 products, says how far those may lie from the true scores, and computes
the true ones for a few: ranking.py makes an exact order of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from vtrcli.searching.frame_scores import (
    VideoScore,
    pool_frame_scores,
    range_edges,
)
from vtrcli.searching.scan import exact_products, products, rounding_error
from vtrcli.store.catalog import Catalog
from vtrcli.store.reader import unit_rows
from vtrcli.store.shard import Shard
from vtrcli.store.texts import TextRows
from vtrcli.text.streams import STREAMS

# Of the softmax over a video's frames, on logits; the best of benchmarks/moments.py (docs/experiments.md).
SOFTMAX_LOGIT_TEMPERATURE = 2.0
MAX_PRODUCTS = 1 << 24  # of frames and queries at a time: 64 MB


@dataclass(frozen=True)
class VideoScores:
    """Scores of all current videos for one query.

    Attributes:
        values: float32 [num_videos].
        error: float32 [num_videos] or one number: no value lies further from the exact score.
        exact: numbers of some videos -> their exact scores, float32.
    """

    values: np.ndarray
    error: np.ndarray | float
    exact: Callable[[Sequence[int]], np.ndarray]


class Space(Protocol):
    """What Searcher needs of a way to score videos. `key` names it and all it depends on, for derived files."""

    @property
    def key(self) -> str:
        """Part of a folder's name."""

    @property
    def logit_scale(self) -> float:
        """What scores are multiplied by before a softmax."""

    def score(self, query: np.ndarray) -> VideoScores:
        """Scores for a query vector of this space."""

    def bank_vectors(self, rows: TextRows) -> np.ndarray:
        """float32 [num_texts, width]: captions as query vectors of this space."""

    def score_part(self, shard: Shard, videos: slice, queries: np.ndarray) -> np.ndarray:
        """float32 [num_videos, num_queries]: scores of some videos of a shard, by their positions in it."""

    def exact_scores(self, query: np.ndarray, videos: Sequence[int]) -> np.ndarray:
        """float32 [num_videos] of some videos."""


class FrameSpace:
    """Videos by the cosines of their frames with the query, pooled to one score."""

    def __init__(self, catalog: Catalog, *, pooling: VideoScore) -> None:
        self._catalog, self.pooling = catalog, pooling
        self.key = f"frames-{pooling}"
        self.logit_scale = catalog.config.backbone.logit_scale

    def score(self, query: np.ndarray) -> VideoScores:
        """float [dim] of length 1 -> scores."""
        catalog, error = self._catalog, rounding_error(query)
        frames = products(catalog.blocks, query)
        frames *= catalog["inverse_norms"]
        values = self._pool(frames, catalog["start"], catalog["stop"], catalog["mean_norms"])
        return VideoScores(values, self._bound(error), lambda videos: self.exact_scores(query, videos))

    def bank_vectors(self, rows: TextRows) -> np.ndarray:
        """float32 [num_texts, dim] of length 1, of the whole captions."""
        return unit_rows(rows.features[:, STREAMS.index("fusion")])

    def score_part(self, shard: Shard, videos: slice, queries: np.ndarray) -> np.ndarray:
        """float32 [num_videos, num_queries]; the frames meet so many queries at a time that memory stays flat."""
        offsets = shard.offsets[videos.start : videos.stop + 1]
        frames = unit_rows(shard.features[offsets[0] : offsets[-1]])
        starts, stops = offsets[:-1] - offsets[0], offsets[1:] - offsets[0]
        sums = np.add.reduceat(frames, starts, axis=0)
        mean_norms = np.linalg.norm(sums, axis=1) / (stops - starts)
        at_once = max(1, MAX_PRODUCTS // len(frames))
        parts = [
            self._pool(frames @ queries[first : first + at_once].T, starts, stops, mean_norms)
            for first in range(0, len(queries), at_once)
        ]
        return np.concatenate(parts, axis=1)

    def exact_scores(self, query: np.ndarray, videos: Sequence[int]) -> np.ndarray:
        """float32 [num_videos] of some videos."""
        features = [self._catalog.features(video) for video in videos]
        edges = np.cumsum([0, *map(len, features)])
        frames = exact_products(unit_rows(np.concatenate([np.zeros((0, len(query))), *features])), query)
        return self._pool(frames, edges[:-1], edges[1:], self._catalog["mean_norms"][list(videos)])

    def _pool(
        self, frames: np.ndarray, starts: np.ndarray, stops: np.ndarray, mean_norms: np.ndarray
    ) -> np.ndarray:
        """Scores of frames [rows] or [rows, num_queries] -> of videos [num_videos] or [num_videos, num_queries]."""
        if self.pooling != "mean":
            temperature = SOFTMAX_LOGIT_TEMPERATURE / self.logit_scale
            return pool_frame_scores(frames, starts, stops, self.pooling, temperature)
        if not len(starts):
            return np.zeros((0, *frames.shape[1:]), np.float32)
        edges = range_edges(starts, stops)
        sums = np.add.reduceat(frames[starts[0] : stops[-1]], edges, axis=0)[::2]
        # The cosine with the mean of the unit frames: the mean of the cosines over the length of that mean.
        lengths = (stops - starts) * np.maximum(mean_norms, 1e-6)
        pooled: np.ndarray = (sums.T / lengths).T.astype(np.float32)
        return pooled

    def _bound(self, error: float) -> np.ndarray | float:
        """How far pooling may carry an error of the frames' cosines."""
        if self.pooling == "mean":
            return np.asarray(error / np.maximum(self._catalog["mean_norms"], 1e-6))
        if self.pooling == "softmax":
            # d pooled / d score_i = w_i (1 + (score_i - pooled) / T). With x_i = (maximum - score_i) / T the sum of
            # the absolute values is at most 1 + 2 E[x], and E[x] <= log(num_frames), the largest entropy.
            num_frames = self._catalog["stop"] - self._catalog["start"]
            bound: np.ndarray = error * (1 + 2 * np.log(num_frames))
            return bound
        return error
