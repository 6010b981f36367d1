"""Chains in a store: the best moments of several sentences, one after the other in one video.

`vtrcli.moments.chain` finds them in scores. Here scores of different sentences are made comparable, and every video of
a store is scored exactly, though it is read as float16.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from vtrcli.errors import UsageError
from vtrcli.moments.chain import best_chain, chain_moments, chain_scores
from vtrcli.moments.moment import Moment
from vtrcli.moments.rule import scores_and_shots
from vtrcli.searching.query import Query, QueryVectors, SearchSettings
from vtrcli.searching.results import Hit, Step
from vtrcli.searching.scores import VideoScores, products, rounding_error
from vtrcli.store.catalog import Catalog
from vtrcli.store.catalog_file import not_finite

_MIN_DEVIATION = 1e-4  # of the scores of a sentence that sees no difference between frames


@dataclass(frozen=True)
class Levels:
    """What each sentence scores on all frames that are searched: mean and standard deviation, float64 [num_sentences].

    A score is compared with those of another sentence as a standard score, (score - mean) / deviation: sentences
    differ in how high they score and in how much that varies, and pictures score far higher than texts. Our choice.
    """

    mean: np.ndarray
    deviation: np.ndarray

    def standard(self, scores: np.ndarray) -> np.ndarray:
        """float [..., num_sentences] -> the same as standard scores."""
        return np.asarray((scores - self.mean) / self.deviation)


class StoreChains:
    """The chains of one store. A video's score is the mean of the standard scores of its best chain.

    Attributes:
        levels: of all stores that are searched together.
    """

    def __init__(self, catalog: Catalog, queries: np.ndarray, within_seconds: float | None) -> None:
        self._catalog, self._queries, self._within = catalog, queries, within_seconds
        self._cosines = np.ascontiguousarray(products(catalog.blocks, queries).T)
        self._cosines *= catalog["inverse_norms"][:, None]
        if not np.isfinite(self._cosines.sum(dtype=np.float64)):
            raise not_finite(catalog.store)
        self.levels = _levels([self])

    @property
    def searched(self) -> np.ndarray:
        """float32 [num_rows, num_sentences]: the cosines of the frames of current videos."""
        starts, stops = self._catalog["start"], self._catalog["stop"]
        if np.array_equal(starts[1:], stops[:-1]):
            return self._cosines[starts[0] : stops[-1]]
        inside = np.zeros(len(self._cosines) + 1, np.int64)
        np.add.at(inside, starts, 1)
        np.add.at(inside, stops, -1)
        return self._cosines[np.cumsum(inside)[:-1] > 0]

    def score(self) -> VideoScores:
        """Of all videos; -inf where a video holds no chain."""
        catalog = self._catalog
        totals = chain_scores(
            self.levels.standard(self._cosines),
            catalog.all_timestamps()
            if self._within is not None
            else np.zeros(len(self._cosines), np.float32),
            catalog["start"],
            catalog["stop"],
            within_seconds=self._within,
        )
        errors = [rounding_error(query) for query in self._queries] / self.levels.deviation
        values = (totals / len(self._queries)).astype(np.float32)
        # What float32 takes from a mean of standard scores comes on top.
        return VideoScores(values, float(np.mean(errors)) + 1e-5, self._exact)

    def _exact(self, videos: Sequence[int]) -> np.ndarray:
        found = [self._best(video) for video in videos]
        return np.array([chain[1] / len(self._queries) if chain else -np.inf for chain in found], np.float32)

    def _best(self, video: int) -> tuple[list[int], float] | None:
        cosines, _ = scores_and_shots(
            self._catalog.features(video), self._catalog.timestamps(video), self._queries
        )
        return best_chain(
            self.levels.standard(cosines), self._catalog.timestamps(video), within_seconds=self._within
        )

    def steps(self, video: int, names: Sequence[str]) -> tuple[Step, ...]:
        """The moments of the best chain of a video that has one, each with the sentence it answers."""
        catalog = self._catalog
        features, timestamps = catalog.features(video), catalog.timestamps(video)
        cosines, shots = scores_and_shots(features, timestamps, self._queries)
        chain = best_chain(self.levels.standard(cosines), timestamps, within_seconds=self._within)
        if chain is None:
            raise ValueError(f"video {video} holds no chain")
        frames, _ = chain
        standard = self.levels.standard(cosines)[frames, range(len(frames))].tolist()
        moments = chain_moments(cosines, timestamps, catalog.duration(video), frames, shots=shots)
        return tuple(Step(*step) for step in zip(names, moments, standard, strict=True))

    def why_none(self, allowed: np.ndarray) -> str:
        """Why none of the videos that pass (bool [num_videos]) holds a chain."""
        num_sentences = len(self._queries)
        most = int((self._catalog["stop"] - self._catalog["start"])[allowed].max())
        if most < num_sentences:
            return f"no video has {num_sentences} frames, one for each sentence"
        return (
            f"no video has {num_sentences} frames of which each lies at most {self._within:g} s behind the one before "
            "it; give more time (--within), or extract more frames per second (--fps)"
        )


def store_chains(
    catalogs: Sequence[Catalog], vectors: QueryVectors, within_seconds: float | None
) -> list[StoreChains]:
    """The chains of stores that are searched together, with one scale for all.

    Raises:
        StoreError: features that are not finite.
    """
    queries = np.stack([vectors.clip, *(then.clip for then in vectors.then)])
    stores = [StoreChains(catalog, queries, within_seconds) for catalog in catalogs]
    levels = _levels(stores)
    for store in stores:
        store.levels = levels
    return stores


def chain_hit(hit: Hit, steps: tuple[Step, ...]) -> Hit:
    """A hit with its chain, of which its moment is the whole: from where the first begins to where the last ends."""
    first, last = steps[0].moment, steps[-1].moment
    whole = Moment(first.start_seconds, first.peak_seconds, last.end_seconds, hit.score)
    return replace(hit, moments=(whole,), chain=steps, relevance=None)


def chain_notes(query: Query, options: SearchSettings) -> list[str]:
    """What a person should know of the question. Raises UsageError for what a chain cannot have."""
    if options.method is not None or options.min_relevance is not None:
        raise UsageError(
            "a correction or a relevance for a chain of moments (--then)",
            allowed="a bank of captions tells what one text scores",
            to_do="leave out --dsl, --method and --min-relevance, or --then",
        )
    sentences = query.sentences
    if any(left.casefold() == right.casefold() for left, right in itertools.pairwise(sentences)):
        return [
            "--then repeats the sentence before it: any two frames that match it, one after the other, are an answer"
        ]
    return []


def _levels(stores: Sequence[StoreChains]) -> Levels:
    parts = [store.searched for store in stores]
    count = sum(len(part) for part in parts)
    mean = np.sum([part.sum(axis=0, dtype=np.float64) for part in parts], axis=0) / count
    squares = np.sum([np.square(part - mean).sum(axis=0) for part in parts], axis=0)
    return Levels(mean, np.maximum(np.sqrt(squares / count), _MIN_DEVIATION))
