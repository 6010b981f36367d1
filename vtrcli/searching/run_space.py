"""A trained run as a space: one CAMoE vector per video, kept in the store's `index/` and brought up to date there."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from vtrcli.searching.run_model import RunModel
from vtrcli.searching.scan import exact_products, products, rounding_error
from vtrcli.searching.spaces import VideoScores
from vtrcli.store.catalog import Catalog
from vtrcli.store.derived import Columns, current_rows, derived_tables

if TYPE_CHECKING:
    from vtrcli.store.shard import Shard
    from vtrcli.store.texts import TextRows

VECTORS = "vectors"


class RunSpace:
    """Videos by the inner product of their CAMoE vector with the query's."""

    def __init__(self, catalog: Catalog, model: RunModel) -> None:
        self._catalog, self.model = catalog, model
        self.key = model.key
        self.width = model.width
        self._blocks: list[np.ndarray] | None = None

    @property
    def logit_scale(self) -> float:
        """The one that training ended with."""
        return self.model.logit_scale

    def prepare(
        self, on_progress: Callable[[int, int], None] = lambda num_done, total: None
    ) -> list[np.ndarray]:
        """Per shard float16 [shard_videos, width]; computes those of new shards."""
        if self._blocks is None:
            columns = Columns(name=self.key, tensors={VECTORS: ("F16", self.width)}, version=1)
            tables = derived_tables(self._catalog, columns, self._vectors_of, on_progress=on_progress)
            self._blocks = [table[VECTORS] for table in tables]
        return self._blocks

    def score(self, query: np.ndarray) -> VideoScores:
        """float [width] -> scores, in the units of `vtr eval`."""
        blocks, rows = self.prepare(), current_rows(self._catalog)
        # A video's vector is at most as long as the gate allows: sqrt(experts).
        error = rounding_error(query) * math.sqrt(self.model.num_experts)
        values = products(blocks, query)[rows]
        return VideoScores(values, error, lambda videos: self.exact_scores(query, videos))

    def exact_scores(self, query: np.ndarray, videos: Sequence[int]) -> np.ndarray:
        """float32 [num_videos] of some videos."""
        return exact_products(self.vectors(videos), query)

    def bank_vectors(self, rows: TextRows) -> np.ndarray:
        """float32 [num_texts, width]."""
        return self.model.heads.texts(rows)

    def score_part(self, shard: Shard, videos: slice, queries: np.ndarray) -> np.ndarray:
        """float32 [num_videos, num_queries]."""
        block = self.prepare()[self._catalog.shard_names.index(shard.path.name)]
        scores: np.ndarray = block[videos].astype(np.float32) @ queries.T
        return scores

    def vectors(self, videos: Sequence[int]) -> np.ndarray:
        """float16 [num_videos, width] of some videos."""
        catalog, blocks = self._catalog, self.prepare()
        at = zip(catalog["video_shard"][list(videos)], catalog["video_position"][list(videos)], strict=True)
        found = [blocks[shard][position] for shard, position in at]
        return np.stack(found) if found else np.zeros((0, self.width), np.float16)

    def _vectors_of(self, shard: Shard) -> dict[str, np.ndarray]:
        features = shard.features
        videos = [features[start:stop] for start, stop in itertools.pairwise(shard.offsets.tolist())]
        return {VECTORS: self.model.heads.of_frames(videos)}
