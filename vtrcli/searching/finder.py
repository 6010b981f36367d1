"""The best videos of one store for one query: exact, there to be shown, each content once."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from vtrcli.searching.frames import FrameSpace
from vtrcli.searching.presence import Presence
from vtrcli.searching.query import QueryVectors, SearchSettings
from vtrcli.searching.scores import Correct, Space, VideoScores, best_videos
from vtrcli.store.catalog import Catalog
from vtrcli.store.catalog_file import not_finite

if TYPE_CHECKING:
    from vtrcli.searching.bank import BankScores
    from vtrcli.searching.run import RerankSpace


class Finder:
    """Ranks the videos of a catalogue in one space, with the corrections of a bank if there is one."""

    def __init__(self, catalog: Catalog, space: Space, bank_scores: BankScores | None) -> None:
        self._catalog, self._space, self.bank_scores = catalog, space, bank_scores

    def best(
        self,
        vectors: QueryVectors,
        allowed: np.ndarray,
        options: SearchSettings,
        presence: Presence,
        *,
        top_k: int,
    ) -> tuple[list[int], np.ndarray]:
        """The best videos that pass (bool [num_videos]) and can be shown, best first, and their exact scores.

        Raises:
            StoreError: features that are not finite.
        """
        scores = self._space.score(self._space.vector(vectors))
        self._require_finite(scores.values)
        relevant = allowed & self._relevant(scores, options)
        return best_present(scores, presence, top_k=top_k, allowed=relevant, correct=self.correction(options))

    def depth(self, options: SearchSettings) -> int:
        """How many videos the list of results may hold."""
        return self._catalog.num_videos

    @property
    def scores_best_frame(self) -> bool:
        """Whether a score is the cosine of a video's best frame, and not something made of several."""
        return isinstance(self._space, FrameSpace) and self._space.pooling == "max"

    @property
    def scored_by(self) -> str:
        """What makes a video's score: run, or the pooling of its frames (max, mean, softmax)."""
        return self._space.pooling if isinstance(self._space, FrameSpace) else "run"

    def score(self, vectors: QueryVectors, video: int) -> float:
        """Of one video, uncorrected."""
        return float(self._space.exact_scores(self._space.vector(vectors), [video])[0])

    def correction(self, options: SearchSettings) -> Correct | None:
        """What the options rank by; None for the plain scores."""
        bank_scores, method = self.bank_scores, options.method
        if method is None or bank_scores is None:
            return None
        return lambda scores, videos: bank_scores.correct(method, scores, videos)

    def _relevant(self, scores: VideoScores, options: SearchSettings) -> np.ndarray:
        """bool, one per score: whose exact score lies far enough above what the bank's captions score."""
        least = options.min_relevance
        if least is None or self.bank_scores is None:
            return np.ones(len(scores.values), bool)
        relevant: np.ndarray = self.bank_scores.relevance(scores.values - scores.error) >= least
        unsure = np.flatnonzero(
            ~relevant & (self.bank_scores.relevance(scores.values + scores.error) >= least)
        )
        relevant[unsure] = self.bank_scores.relevance(scores.exact(unsure.tolist())) >= least
        return relevant

    def _require_finite(self, scores: np.ndarray) -> None:
        if not np.isfinite(scores.sum(dtype=np.float64)):  # NaN and infinity go through a sum
            raise not_finite(self._catalog.store)


class Reranker(Finder):
    """The first hits of another finder, in the order of a run whose score is not one inner product."""

    def __init__(
        self, catalog: Catalog, space: RerankSpace, bank_scores: BankScores | None, first: Finder
    ) -> None:
        super().__init__(catalog, space, bank_scores)
        self._first = first

    def depth(self, options: SearchSettings) -> int:
        """As many as are ranked anew: what follows is in another order."""
        return max(options.top_k, options.num_reranked)

    def best(
        self,
        vectors: QueryVectors,
        allowed: np.ndarray,
        options: SearchSettings,
        presence: Presence,
        *,
        top_k: int,
    ) -> tuple[list[int], np.ndarray]:
        """As `Finder.best`, of the `num_reranked` first of the other finder; of all where there are no more."""
        plain = replace(options, method=None, min_relevance=None)
        number = max(top_k, options.num_reranked)
        if number >= self._catalog.num_videos:
            return super().best(vectors, allowed, options, presence, top_k=top_k)
        videos, _ = self._first.best(vectors, allowed, plain, presence, top_k=number)
        exact = self._space.exact_scores(vectors.ranking, videos)
        self._require_finite(exact)
        known = VideoScores(exact, 0.0, lambda places: exact[list(places)])
        correct, places = self.correction(options), np.flatnonzero(self._relevant(known, options))
        values = correct(exact, np.array(videos)) if correct else exact
        order = places[np.argsort(-values[places], kind="stable")][:top_k]
        return [videos[place] for place in order], exact[order]


def best_present(
    scores: VideoScores,
    presence: Presence,
    *,
    top_k: int,
    allowed: np.ndarray,
    correct: Correct | None = None,
) -> tuple[list[int], np.ndarray]:
    """As `best_videos`, of those that can be shown: who is gone, or the same as a better one, makes room.

    Files are looked for as far down the ranking as it takes, further at each step and never all at once.
    """
    allowed = allowed.copy()
    num_ahead = top_k
    while True:
        videos, exact = best_videos(scores, top_k=top_k, allowed=allowed, correct=correct)
        kept = presence.keep(videos, allowed)
        if len(kept) == len(videos) or presence.is_exhausted:
            places = {video: place for place, video in enumerate(videos)}
            presence.num_better = _num_better(scores, presence.missing, kept, correct)
            return kept, exact[[places[video] for video in kept]]
        if not presence.show_missing and any(presence.state(video) == "missing" for video in videos):
            num_ahead *= 4
            presence.keep(_about_best(scores, allowed, num_ahead), allowed.copy())
            allowed[presence.missing] = False


def _num_better(scores: VideoScores, missing: list[int], kept: list[int], correct: Correct | None) -> int:
    """How many of the missing would stand above the last of those that are kept."""
    if not missing or not kept:
        return len(missing)
    both = np.array([*missing, kept[-1]])
    values = correct(scores.values[both], both) if correct else scores.values[both]
    return int((values[:-1] > values[-1]).sum())


def _about_best(scores: VideoScores, allowed: np.ndarray, number: int) -> list[int]:
    """About the best that pass, about in their order."""
    candidates = np.flatnonzero(allowed)
    values = scores.values[candidates]
    if number < len(candidates):
        first = np.argpartition(-values, number)[:number]
        candidates, values = candidates[first], values[first]
    about: list[int] = candidates[np.argsort(-values, kind="stable")].tolist()
    return about
