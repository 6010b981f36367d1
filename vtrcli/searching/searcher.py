"""`Searcher`: one store, opened once, asked as often as you like. The use case behind `vtr search`."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np

from vtrcli.errors import StoreError, UsageError
from vtrcli.index.catalog import Catalog
from vtrcli.index.catalog_file import open_catalog, require_videos
from vtrcli.index.filters import Filters
from vtrcli.retrieval.frame_scores import VideoScore
from vtrcli.retrieval.moments import Moment
from vtrcli.searching.background import make_background
from vtrcli.searching.bank import Bank, open_bank
from vtrcli.searching.encoding import ClipEncoder
from vtrcli.searching.finder import Finder
from vtrcli.searching.frame_moments import moments_of
from vtrcli.searching.options import MIN_RUN_SHORTLIST, POOLING, SearchOptions
from vtrcli.searching.places import CatalogPlaces, find_place
from vtrcli.searching.query import Query
from vtrcli.searching.query_cache import cache_folder
from vtrcli.searching.results import Hit, SearchResult
from vtrcli.searching.run_model import RunEncoder, RunModel
from vtrcli.searching.run_space import RunSpace
from vtrcli.searching.spaces import FrameSpace, Space


class Searcher:
    """Ranks the videos of a store, or the moments in them, by queries.

    Args:
        run: a trained run that ranks instead of plain CLIP.
        pooling: how the frames' cosines become a video's score, without a run.

    Raises:
        StoreError: no store, a damaged one, one without videos, or one of another backbone than the run's.
        WeightsError: no run there.
    """

    def __init__(
        self,
        store: Path,
        *,
        run: Path | None = None,
        pooling: VideoScore = POOLING,
        device: str = "auto",
        on_progress: Callable[[int, int], None] = lambda num_done, total: None,
    ) -> None:
        self.catalog: Catalog = open_catalog(store)
        require_videos(store, self.catalog.num_videos)
        self.on_progress = on_progress
        places, folder, tag = CatalogPlaces(self.catalog), cache_folder(store), self.catalog.config.backbone
        self._clip = ClipEncoder(tag, places, source=store, folder=folder, device=device)
        self._frames = FrameSpace(self.catalog, pooling=pooling)
        self._run: RunSpace | None = None
        if run is not None:
            model = RunModel(run, source=store, backbone=tag, device=device)
            self._run = RunSpace(self.catalog, model)
            self._run.prepare(on_progress)
            self._run_encoder = RunEncoder(model, self._clip, places, folder=folder)

    @property
    def run_name(self) -> str | None:
        """The run that ranks; None for plain CLIP."""
        return None if self._run is None else str(self._run.model.run)

    def prepare_bank(self) -> None:
        """Compute what the captions of the bank score on all videos, and on their best frames."""
        _ = self.finder, self._frame_finder

    def run_vectors(self) -> tuple[RunModel, np.ndarray] | None:
        """The run and its vectors, float16 [num_videos, width] in the order of the catalogue; None for plain CLIP."""
        if self._run is None:
            return None
        return self._run.model, self._run.vectors(range(self.catalog.num_videos))

    def search(self, query: Query, options: SearchOptions | None = None) -> SearchResult:
        """The best videos or moments for a query.

        Raises:
            InputError, UsageError: a query that cannot be used.
            WeightsError, StoreError: the towers cannot be loaded; damaged features.
        """
        options = options or SearchOptions()
        bank_notes = self._bank_notes(query, options)  # what is missing is told before a tower is loaded
        clip_vector = self._clip.encode(query)
        notes = [*self._clip.notes, *bank_notes, *self._left_out()]
        passes = self._passes(query, options.filters)
        num_videos = int(passes.sum())
        if not num_videos:
            of_all = f"no video of {self.catalog.num_videos:,}"
            notes.append(
                f"{of_all} passes the filters" + (" and is another than --like" if query.like else "")
            )
        if options.moments:
            hits = self._moment_hits(query, clip_vector, passes, options)
        else:
            hits = self._video_hits(query, clip_vector, passes, options)
        if num_videos and not hits and options.min_relevance is not None:
            notes.append(f"nothing reaches relevance {options.min_relevance:g}")
        return SearchResult(
            query=query.describe(), num_videos=num_videos, hits=tuple(hits), notes=tuple(dict.fromkeys(notes))
        )

    def _video_hits(
        self, query: Query, clip_vector: np.ndarray, passes: np.ndarray, options: SearchOptions
    ) -> list[Hit]:
        videos, exact = self.finder.best(
            self._vector(query, clip_vector), passes, options, top_k=options.top_k
        )
        return [
            self._hit(
                rank,
                video,
                float(score),
                self.moments(video, clip_vector)[: options.per_video],
                self.finder,
                query,
                options,
            )
            for rank, (video, score) in enumerate(zip(videos, exact, strict=True), start=1)
        ]

    def _moment_hits(
        self, query: Query, clip_vector: np.ndarray, passes: np.ndarray, options: SearchOptions
    ) -> list[Hit]:
        """The best moments of all videos lie in the videos with the best frames: no moment is better than those.

        A run ranks whole videos: there the moments of its best videos are ranked by their frames.
        """
        frame_finder = self._frame_finder
        finder, vector, num_videos = frame_finder, clip_vector, options.top_k
        shortlist = options
        if self._run is not None:
            finder, vector = self.finder, self._vector(query, clip_vector)
            num_videos = max(MIN_RUN_SHORTLIST, options.top_k)
            shortlist = replace(options, min_relevance=None)  # relevance is that of the moments
        videos, _ = finder.best(vector, passes, shortlist, top_k=num_videos)
        found = [
            (moment, video)
            for video in videos
            for moment in self.moments(video, clip_vector)[: options.per_video]
        ]
        correct = frame_finder.correction(options) or (lambda scores, videos: scores)
        values = correct(
            np.array([moment.score for moment, _ in found]), np.array([at for _, at in found], int)
        )
        order = np.argsort(-values, kind="stable").tolist()
        least = options.min_relevance
        # One after the other: a hit looks for its file, and only `top_k` are wanted.
        hits = (
            self._hit(0, found[n][1], found[n][0].score, [found[n][0]], frame_finder, query, options)
            for n in order
        )
        relevant = (hit for hit in hits if least is None or (hit.relevance or 0.0) >= least)
        best = itertools.islice(relevant, options.top_k)
        return [replace(hit, rank=rank) for rank, hit in enumerate(best, start=1)]

    def _vector(self, query: Query, clip_vector: np.ndarray) -> np.ndarray:
        """The query in the space that ranks."""
        return clip_vector if self._run is None else self._run_encoder.encode(query)

    @cached_property
    def finder(self) -> Finder:
        """Finds the best videos by the run, or by the frames."""
        return self._finder_in(self._run or self._frames)

    @cached_property
    def _frame_finder(self) -> Finder:
        """Finds the videos with the best single frames, and knows what frames score."""
        if self._run is None and self._frames.pooling == "max":
            return self.finder
        return self._finder_in(FrameSpace(self.catalog, pooling="max"))

    def _finder_in(self, space: Space) -> Finder:
        background = None
        if isinstance(self.bank, Bank):
            background = make_background(self.catalog, space, self.bank, on_progress=self.on_progress)
        return Finder(self.catalog, space, background, on_progress=self.on_progress)

    @cached_property
    def bank(self) -> Bank | StoreError:
        """The store's query bank, or why there is none to be used."""
        try:
            return open_bank(self.catalog.store, self.catalog.config.backbone)
        except StoreError as error:
            return error

    def _left_out(self) -> list[str]:
        problems = [problem for problems in self.catalog.left_out.values() for problem in problems]
        if not problems:
            return []
        others = f" and {len(problems) - 1:,} more" if len(problems) > 1 else ""
        return [
            f"left out: {problems[0]}{others}; `vtr store verify --repair`, then `vtr extract`, does it again"
        ]

    def _bank_notes(self, query: Query, options: SearchOptions) -> list[str]:
        """Raises StoreError when the options need a bank that is not there."""
        if options.method is None and options.min_relevance is None:
            return []
        if isinstance(self.bank, StoreError):
            raise self.bank
        if not query.is_text:
            raise UsageError(
                "a correction or a relevance for a picture or a video",
                allowed="a bank of captions tells what texts score; pictures score far higher",
                to_do="leave out --dsl, --method and --min-relevance, or --image and --like",
            )
        if options.method is None:
            return []
        note = f"{options.method}: corrected by the bank's {self.bank.num_texts:,} captions, for this query alone"
        if options.method in ("dsl", "inverted-softmax"):
            note += "; it helps where they describe most of the videos, else it costs 2 to 3 points of R@1"
        return [note]

    def moments(self, video: int, clip_vector: np.ndarray) -> list[Moment]:
        """The moments of one video, best first."""
        catalog = self.catalog
        return moments_of(
            catalog.features(video), catalog.timestamps(video), catalog.duration(video), clip_vector
        )

    def _passes(self, query: Query, filters: Filters) -> np.ndarray:
        catalog = self.catalog
        passes = filters.mask(
            paths=catalog.paths.all() if filters.paths else (),
            duration_seconds=catalog["duration_seconds"],
            changed_at=catalog["mtime_ns"] / 1e9,
            num_bytes=catalog["num_bytes"],
        )
        for value in query.like:  # the video itself would be its own best answer
            passes[find_place(catalog, value)[0]] = False
        return passes

    def _hit(
        self,
        rank: int,
        video: int,
        score: float,
        moments: Sequence[Moment],
        finder: Finder,
        query: Query,
        options: SearchOptions,
    ) -> Hit:
        path = self.catalog.paths[video]
        correct, background = finder.correction(options), finder.background
        corrected = relevance = None
        if correct is not None:
            corrected = float(correct(np.array([score], np.float32), np.array([video]))[0])
        if background is not None and query.is_text:
            relevance = float(background.relevance(score))
        return Hit(
            rank=rank,
            video_id=self.catalog.ids[video],
            path=path,
            score=score,
            moments=tuple(moments),
            is_missing=not os.path.exists(path),
            relevance=relevance,
            corrected_score=corrected,
        )
