"""The best videos of one space for a query vector."""

from __future__ import annotations

import numpy as np

from vtrcli.searching.background import Background
from vtrcli.searching.options import SearchOptions
from vtrcli.searching.presence import Presence
from vtrcli.searching.ranking import Correct, best_present
from vtrcli.searching.spaces import Space, VideoScores
from vtrcli.store.catalog import Catalog
from vtrcli.store.catalog_making import not_finite


class Finder:
    """Ranks the videos of a catalogue in one space, with the corrections of a background if there is one."""

    def __init__(self, catalog: Catalog, space: Space, background: Background | None) -> None:
        self._catalog, self._space, self.background = catalog, space, background

    def best(
        self,
        vector: np.ndarray,
        passes: np.ndarray,
        options: SearchOptions,
        presence: Presence,
        *,
        top_k: int,
    ) -> tuple[list[int], np.ndarray]:
        """The best videos that pass (bool [num_videos]) and can be shown, best first, and their exact scores.

        Raises:
            StoreError: features that are not finite.
        """
        scores = self._space.score(vector)
        self._require_finite(scores.values)
        relevant = passes & self._relevant(scores, options)
        return best_present(scores, presence, top_k=top_k, passes=relevant, correct=self.correction(options))

    def correction(self, options: SearchOptions) -> Correct | None:
        """What the options rank by; None for the plain scores."""
        background, method = self.background, options.method
        if method is None or background is None:
            return None
        return lambda scores, videos: background.correct(method, scores, videos)

    def _relevant(self, scores: VideoScores, options: SearchOptions) -> np.ndarray:
        """bool, one per score: whose exact score lies far enough above the bank's background."""
        least = options.min_relevance
        if least is None or self.background is None:
            return np.ones(len(scores.values), bool)
        relevant: np.ndarray = self.background.relevance(scores.values - scores.error) >= least
        unsure = np.flatnonzero(
            ~relevant & (self.background.relevance(scores.values + scores.error) >= least)
        )
        relevant[unsure] = self.background.relevance(scores.exact(unsure.tolist())) >= least
        return relevant

    def _require_finite(self, scores: np.ndarray) -> None:
        if not np.isfinite(scores.sum(dtype=np.float64)):  # NaN and infinity go through a sum
            raise not_finite(self._catalog.store)
