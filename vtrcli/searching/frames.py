"""Videos ranked by the cosines of their frames with the query, pooled to one score each (plain CLIP)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np

from vtrcli.searching.query import QueryVectors, VideoScore
from vtrcli.searching.scores import (
    MAX_TOGETHER,
    STRIP_ROWS,
    Strip,
    Together,
    VideoScores,
    exact_products,
    rounding_error,
    scan,
)
from vtrcli.store.catalog import Catalog
from vtrcli.store.reader import unit_rows

if TYPE_CHECKING:
    from vtrcli.store.shard import Shard
    from vtrcli.store.texts import TextRows

FramePooling = Literal["max", "softmax"]  # what can be made of the frames' scores alone
# Of the softmax over a video's frames, on logits; the best of benchmarks/moments.py (docs/experiments.md).
SOFTMAX_LOGIT_TEMPERATURE = 2.0
MAX_PRODUCTS = 1 << 24  # of frames, or of videos, and queries at a time: 64 MB


def pool_frame_scores(
    scores: np.ndarray,
    starts: np.ndarray,
    stops: np.ndarray,
    pooling: FramePooling,
    temperature: float = 1.0,
) -> np.ndarray:
    """One score per video from the scores of its frames.

    `softmax` is the mean of the frames' scores weighted by softmax(score / temperature), as in X-Pool's and
    CLIP-hitchhiker's text-conditioned pooling, but of scores instead of features: near 0 it is the maximum, for
    large temperatures the plain mean.

    Args:
        scores: float32 [num_rows] or [num_rows, num_texts].
        starts, stops: int64 [num_videos], the rows of each video: ascending, apart, none empty; rows in no video
            do not count.
        temperature: of `softmax`, above 0, in units of the scores: T / logit_scale for a temperature T on logits.

    Returns:
        float32 [num_videos] or [num_videos, num_texts].
    """
    if len(starts) == 0:
        return np.zeros((0, *scores.shape[1:]), np.float32)
    if pooling == "max" and len(starts) == len(scores):  # one frame each
        return np.asarray(scores, np.float32)
    first, last = int(starts[0]), int(stops[-1])
    if pooling == "max" and np.array_equal(starts[1:], stops[:-1]):
        return np.asarray(np.maximum.reduceat(scores[first:last], starts - first, axis=0))
    rows, edges = scores[first:last], range_edges(starts, stops)
    maxima: np.ndarray = np.maximum.reduceat(rows, edges, axis=0)
    if pooling == "max":
        return np.asarray(maxima[::2])
    # Sums of what lies below the maximum: nothing overflows, and the result cannot rise above the maximum.
    sizes = np.diff(edges, append=last - first)
    below = rows - np.repeat(maxima, sizes, axis=0)
    weights = np.exp(below / np.float32(temperature))
    totals = np.add.reduceat(weights, edges, axis=0)[::2]
    below *= weights
    return np.asarray(maxima[::2] + np.add.reduceat(below, edges, axis=0)[::2] / totals)


def range_edges(starts: np.ndarray, stops: np.ndarray) -> np.ndarray:
    """Edges for `reduceat` over the rows from starts[0] to stops[-1], int64 [2 x num_videos - 1].

    Video i is the segment 2 i; the segment after it is the gap to the next one. reduceat gives a segment without
    rows one row's value, which nobody reads.
    """
    return np.asarray(np.stack([starts, stops], axis=1).ravel()[:-1] - starts[0])


@dataclass(frozen=True)
class VideoStrip(Strip):
    """The frames of neighbouring videos, by their numbers; rows of no current video may lie between them."""

    videos: slice


def video_strips(catalog: Catalog) -> list[VideoStrip]:
    """All current videos, in strips of about STRIP_ROWS frames; no video is cut in two."""
    starts, stops = catalog["start"], catalog["stop"]
    found = []
    for number, block in enumerate(catalog.blocks):
        first, last = np.searchsorted(catalog["video_shard"], [number, number + 1]).tolist()
        origin = int(catalog.first_rows[number])
        while first < last:
            stop = int(np.searchsorted(starts[:last], starts[first] + STRIP_ROWS))
            row, end = int(starts[first]), int(stops[stop - 1])
            found.append(VideoStrip(block, slice(row - origin, end - origin), row, slice(first, stop)))
            first = stop
    return found


class FrameSpace:
    """Videos by the cosines of their frames with the query, pooled to one score."""

    def __init__(self, catalog: Catalog, *, pooling: VideoScore) -> None:
        self._catalog, self.pooling = catalog, pooling
        self.key = f"frames-{pooling}"
        self.logit_scale = catalog.config.backbone.logit_scale
        self._score = Together(self.score_many, most=self._most_together())

    def vector(self, query: QueryVectors) -> np.ndarray:
        """float32 [dim]."""
        return query.clip

    def score(self, query: np.ndarray) -> VideoScores:
        """float [dim] of length 1 -> scores. Threads that ask at once share one pass over the frames."""
        return self._score(query)

    def score_many(self, queries: Sequence[np.ndarray]) -> list[VideoScores]:
        """float [dim] of length 1 each -> their scores, in one pass over the frames.

        The frames' scores are pooled strip by strip, so that only the videos' are ever held for all queries.
        """
        catalog, asked = self._catalog, np.stack(queries)
        inverse_norms, mean_norms = catalog["inverse_norms"], catalog["mean_norms"]
        starts, stops = catalog["start"], catalog["stop"]
        values = np.empty((len(asked), catalog.num_videos), np.float32)

        def pool(strip: VideoStrip, frames: np.ndarray) -> None:
            frames *= inverse_norms[strip.first : strip.first + strip.num_rows]
            videos = strip.videos
            own = starts[videos] - strip.first, stops[videos] - strip.first, mean_norms[videos]
            for row, scores in zip(values, frames, strict=True):
                row[videos] = self._pool(scores, *own)

        scan(self._strips, asked, pool)
        return [self._found(query, row) for query, row in zip(queries, values, strict=True)]

    def _found(self, query: np.ndarray, values: np.ndarray) -> VideoScores:
        bound = self._bound(rounding_error(query))
        return VideoScores(values, bound, lambda videos: self.exact_scores(query, videos))

    @cached_property
    def _strips(self) -> list[VideoStrip]:
        return video_strips(self._catalog)

    def _most_together(self) -> int:
        """So many queries that neither the scores of all videos nor those of a strip's frames take much memory."""
        catalog = self._catalog
        longest = int((catalog["stop"] - catalog["start"]).max(initial=1))
        most = MAX_PRODUCTS // max(catalog.num_videos, STRIP_ROWS + longest)
        return max(1, min(MAX_TOGETHER, most))

    def bank_vectors(self, rows: TextRows) -> np.ndarray:
        """float32 [num_texts, dim] of length 1, of the whole captions."""
        from vtrcli.text.streams import STREAMS

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
