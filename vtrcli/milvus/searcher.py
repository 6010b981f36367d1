"""`MilvusSearcher`: the same answers from what `vtr milvus push` put into Milvus; no feature store is needed here."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import numpy as np

from vtrcli.errors import InputError, UsageError
from vtrcli.milvus.reader import FoundVideo, MilvusIndex, VideoFrames
from vtrcli.moments.moment import Moment
from vtrcli.moments.rule import moments_of
from vtrcli.searching.encoding import QueryEncoder, nearest_frame, split_place
from vtrcli.searching.query import MIN_RUN_SHORTLIST, Query, QueryVectors, SearchSettings
from vtrcli.searching.results import Hit, SearchResult
from vtrcli.searching.run import RunModel

# Where files are missing, five times as many are asked for; a search ends all the same.
MAX_ROUNDS = 4


class MilvusSearcher:
    """Ranks by the best frame, or by a run's vectors; candidates come from Milvus, scores and moments are exact.

    Args:
        index: an open index; closing it is the caller's.
        run: a run whose vectors were pushed.
        cache: folder in which text vectors of queries are kept.

    Raises:
        WeightsError, StoreError: no run there, one of another backbone, or one that was not pushed.
    """

    def __init__(
        self, index: MilvusIndex, *, cache: Path, run: Path | None = None, device: str = "auto"
    ) -> None:
        self._index, self._places = index, _IndexPlaces(index)
        source, backbone = Path(index.name), index.backbone
        self._run: RunModel | None = None
        if run is not None:
            self._run = RunModel(run, source=source, backbone=backbone, device=device)
            self._run.require_vectors()
            index.require_space(space_name(self._run))
        self._encoder = QueryEncoder(
            backbone, self._places, source=source, folder=cache, device=device, run=self._run
        )

    def search(self, query: Query, options: SearchSettings | None = None) -> SearchResult:
        """The best videos or moments for a query.

        Raises:
            InputError, UsageError: a query that cannot be used; options that need a store.
            StoreError, WeightsError: the connection is lost; the towers cannot be loaded.
        """
        options = options or SearchSettings()
        if options.method is not None or options.min_relevance is not None:
            raise UsageError(
                "a correction or a relevance with --milvus",
                allowed="--dsl, --method and --min-relevance need the query bank of a store",
                to_do="search the store itself, or leave them out",
            )
        if query.then:
            raise UsageError(
                "--then with --milvus",
                allowed="a chain of moments is found in all frames of a store",
                to_do="search the store itself, or leave --then out",
            )
        vectors = self._encoder.encode(query)
        own = {self._places.find(value)[0] for value in query.like}
        found, num_missing = self._found(vectors, options, own)
        frames = self._index.frames_of([video.video_id for video in found])
        hits = [
            _hit(video, moments_of(*_facts(frames[video.video_id]), vectors.clip)[: options.per_video])
            for video in found
            if video.video_id in frames
        ]
        if self._run is None:  # the score that the frames themselves give, whatever an index made of it
            hits = sorted((replace(hit, score=hit.moment.score) for hit in hits), key=lambda hit: -hit.score)
        if options.moments:
            hits = sorted(
                (
                    replace(hit, moments=(moment,), score=moment.score)
                    for hit in hits
                    for moment in hit.moments
                ),
                key=lambda hit: -hit.score,
            )
        ranked = tuple(replace(hit, rank=rank) for rank, hit in enumerate(hits[: options.top_k], start=1))
        notes = list(vectors.notes)
        if not ranked:
            missing = f"the {num_missing:,} best videos are missing on this machine; --missing shows them"
            notes.append(missing if num_missing else "nothing was found there")
        return SearchResult(
            query=query.describe(),
            num_videos=self._index.num_videos,
            hits=ranked,
            notes=tuple(dict.fromkeys(notes)),
            stores=(self._index.name,),
            run=None if self._run is None else str(self._run.run),
            unread_scripts=vectors.unread_scripts,
        )

    def _found(
        self, vectors: QueryVectors, options: SearchSettings, own: Collection[str]
    ) -> tuple[list[FoundVideo], int]:
        """The best videos whose files are there, or all where missing ones are shown; and how many are missing."""
        num_more = len(own)
        for _ in range(MAX_ROUNDS):
            asked = self._candidates(vectors, options, num_more=num_more)
            others = [video for video in asked if video.video_id not in own]
            present = [video for video in others if options.missing or not _is_missing(video)]
            if len(present) >= options.top_k or len(asked) < options.top_k + num_more:
                break
            num_more += 4 * (options.top_k + num_more)
        return present, len(others) - len(present)

    def _candidates(
        self, vectors: QueryVectors, options: SearchSettings, *, num_more: int
    ) -> list[FoundVideo]:
        """The best videos; the best moments lie in those with the best frames, or among the best of a run."""
        top_k = options.top_k + num_more
        if self._run is None:
            return self._index.search_frames(vectors.clip, top_k=top_k, filters=options.filters)
        if options.moments:
            top_k = max(MIN_RUN_SHORTLIST, top_k)
        space = space_name(self._run)
        return self._index.search_vectors(space, vectors.ranking, top_k=top_k, filters=options.filters)


def space_name(run: RunModel) -> str:
    """The name of a run's vectors in Milvus, which allows letters, digits and underscores."""
    return run.key.replace("-", "_")


class _IndexPlaces:
    """Places in the videos of an index, by their ids."""

    def __init__(self, index: MilvusIndex) -> None:
        self._index = index

    def frames_at(self, value: str) -> np.ndarray:
        """float32 [num_frames, dim]; see `Places`."""
        _, seconds, frames = self._found(value)
        return nearest_frame(frames.vectors, frames.timestamps, seconds)

    def find(self, value: str) -> tuple[str, float | None]:
        """Id of the video that VIDEO[@SECONDS] names, and the time. Raises InputError when there is none."""
        return self._found(value)[:2]

    def _found(self, value: str) -> tuple[str, float | None, VideoFrames]:
        for name, seconds in ((value, None), split_place(value)):
            found = self._index.frames_of([name])
            if found:
                return name, seconds, found[name]
        raise InputError(
            f"no video {value!r} in {self._index.name}",
            allowed="--like takes the id of one video of the index",
            to_do="check the id in an earlier answer (`--json`)",
        )


def _facts(frames: VideoFrames) -> tuple[np.ndarray, np.ndarray, float | None]:
    return frames.vectors, frames.timestamps, frames.duration_seconds


def _is_missing(video: FoundVideo) -> bool:
    """Whether its file is gone; imported features have none."""
    return bool(video.path) and not os.path.exists(video.path)


def _hit(video: FoundVideo, moments: list[Moment]) -> Hit:
    return Hit(
        rank=0,
        video_id=video.video_id,
        path=video.path,
        score=video.score,
        moments=tuple(moments),
        is_missing=_is_missing(video),
    )
