"""The best videos of one space for a query vector: from all of them, or from what an approximate index proposes."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np

from vtrcli.errors import StoreError
from vtrcli.index.catalog import Catalog
from vtrcli.index.catalog_making import not_finite
from vtrcli.index.graph import Graph, has_graph, open_graph
from vtrcli.searching.background import Background
from vtrcli.searching.options import SearchOptions
from vtrcli.searching.presence import Presence
from vtrcli.searching.ranking import Correct, best_present, best_videos
from vtrcli.searching.spaces import Space, VideoScores

# Below, looking at every frame takes less than a quarter of a second (benchmarks/search_vectors.py).
AUTO_APPROXIMATE_FRAMES = 8_000_000
MIN_PROPOSED_ROWS, PROPOSED_PER_RESULT, MAX_PROPOSED_ROWS = 128, 8, 8192


class Finder:
    """Ranks the videos of a catalogue in one space, with the corrections of a background if there is one."""

    def __init__(
        self,
        catalog: Catalog,
        space: Space,
        background: Background | None,
        *,
        on_progress: Callable[[int, int], None] = lambda num_done, total: None,
    ) -> None:
        self._catalog, self._space, self.background = catalog, space, background
        self._on_progress = on_progress

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
        space, correct = self._space, self.correction(options)
        if self._wants_graph(options):
            proposed = self._proposed_if_possible(vector, passes, options, top_k)
            if proposed is not None:
                exact = self._finite(space.exact_scores(vector, proposed))
                scores = VideoScores(exact, 0.0, lambda places: exact[list(places)])
                of_places = correct and (lambda values, at: correct(values, np.array(proposed, int)[at]))
                relevant = self._relevant(scores, options)
                places, found = best_videos(scores, top_k=len(proposed), passes=relevant, correct=of_places)
                kept = presence.keep([proposed[place] for place in places], passes.copy())[:top_k]
                if len(kept) == min(top_k, len(places)):
                    of = {proposed[place]: score for place, score in zip(places, found, strict=True)}
                    return kept, np.array([of[video] for video in kept], np.float32)
        scores = space.score(vector)
        self._finite(scores.values)
        return best_present(
            scores, presence, top_k=top_k, passes=passes & self._relevant(scores, options), correct=correct
        )

    def correction(self, options: SearchOptions) -> Correct | None:
        """What the options rank by; None for the plain scores."""
        background, method = self.background, options.method
        if method is None or background is None:
            return None
        return lambda scores, videos: background.correct(method, scores, videos)

    @cached_property
    def graph(self) -> Graph:
        """The approximate index, brought up to date. Raises StoreError when it cannot be written."""
        rows = self._space.graph_rows()
        return open_graph(self._catalog, self._space.graph_name, rows, on_progress=self._on_progress)

    def _wants_graph(self, options: SearchOptions) -> bool:
        if options.approximate is not None:
            return options.approximate
        is_large = len(self._catalog["inverse_norms"]) >= AUTO_APPROXIMATE_FRAMES
        return is_large and has_graph(self._catalog.store, self._space.graph_name)

    def _proposed_if_possible(
        self, vector: np.ndarray, passes: np.ndarray, options: SearchOptions, top_k: int
    ) -> list[int] | None:
        """As `_proposed`; None also where nobody asked for a graph and it cannot be brought up to date."""
        try:
            return self._proposed(vector, passes, top_k)
        except StoreError:
            if options.approximate:
                raise
            return None

    def _proposed(self, vector: np.ndarray, passes: np.ndarray, top_k: int) -> list[int] | None:
        """Videos that may be the best: what the graph holds to be near, or all that pass where those are few.

        None where it gives too few of them: a graph does not find everything, then all videos are looked at.
        """
        num_passing = int(np.count_nonzero(passes))
        if num_passing <= MAX_PROPOSED_ROWS:
            return np.flatnonzero(passes).tolist()
        num_rows = max(MIN_PROPOSED_ROWS, PROPOSED_PER_RESULT * top_k)
        while num_rows <= MAX_PROPOSED_ROWS:
            videos = [
                video for video in self.graph.nearest_videos(vector, num_rows=num_rows) if passes[video]
            ]
            if len(videos) >= 2 * top_k:
                return videos
            num_rows *= 4
        return None

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

    def _finite(self, scores: np.ndarray) -> np.ndarray:
        if not np.isfinite(scores.sum(dtype=np.float64)):  # NaN and infinity go through a sum
            raise not_finite(self._catalog.store)
        return scores
