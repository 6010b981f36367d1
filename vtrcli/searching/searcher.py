"""`Searcher`: one store, opened once, asked as often as you like. The use case behind `vtr search`."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from vtrcli.errors import StoreError, UsageError
from vtrcli.moments.moment import Moment
from vtrcli.moments.rule import moments_of
from vtrcli.searching.encoding import CatalogPlaces, QueryEncoder, Towers, cache_folder
from vtrcli.searching.filters import Filters, VideoFacts
from vtrcli.searching.finder import Finder, Reranker, best_present
from vtrcli.searching.frames import FrameSpace
from vtrcli.searching.presence import Presence
from vtrcli.searching.query import MIN_RUN_SHORTLIST, POOLING, Query, QueryVectors, SearchSettings, VideoScore
from vtrcli.searching.results import Hit, SearchResult
from vtrcli.searching.scores import Space, exact_products
from vtrcli.store.catalog import Catalog
from vtrcli.store.catalog_file import open_catalog
from vtrcli.store.config import BANK_NAME
from vtrcli.store.reader import require_videos, unit_rows

if TYPE_CHECKING:
    from vtrcli.searching.bank import Bank
    from vtrcli.searching.chains import StoreChains
    from vtrcli.searching.run import RerankSpace, RunModel, RunSpace

MAX_DRAWN_LOOKS = 3
NO_RESULT = "no result: "  # how a remark on nothing found begins


@dataclass(frozen=True)
class _Asked:
    """One search: what is asked, among which videos, bool [num_videos], and which of its answers are wanted: those from
    number `first` to `last`."""

    query: Query
    vectors: QueryVectors
    options: SearchSettings
    allowed: np.ndarray
    presence: Presence
    first: int
    last: int


class Searcher:
    """Ranks the videos of a store, or the moments in them, by queries.

    Several threads may ask at once: they share one pass over the frames, and their texts one through the tower.

    Attributes:
        run: the run that ranks; None for plain CLIP.
        pooling: how the frames' cosines become a video's score where none does.
        encoder: makes vectors of queries.

    Args:
        run: a trained run that ranks instead of plain CLIP, its folder or what the searcher of another store read.
        pooling: how the frames' cosines become a video's score, without a run.
        catalogs: of all stores that are searched together, this one's among them; --like may name their videos, too.
        towers: of other searchers of this process, so that each is loaded once.
        keeps_queries: write the vectors of texts into the store, for other processes; they are read in any case.

    Raises:
        StoreError: no store, a damaged one, one without videos, or one of another backbone than the run's.
        WeightsError: no run there.
    """

    def __init__(
        self,
        store: str | Path,
        *,
        run: str | Path | RunModel | None = None,
        pooling: VideoScore = POOLING,
        device: str = "auto",
        catalogs: Sequence[Catalog] = (),
        towers: Towers | None = None,
        keeps_queries: bool = True,
        on_progress: Callable[[int, int], None] = lambda num_done, total: None,
    ) -> None:
        store = Path(store)
        self.pooling = pooling
        self._as_made: dict[str, Any] = {"device": device, "towers": towers, "keeps_queries": keeps_queries}
        self.catalog = next((known for known in catalogs if known.store == store), None) or open_catalog(
            store
        )
        require_videos(store, self.catalog.num_videos)
        self.on_progress = on_progress
        backbone, self._places = self.catalog.config.backbone, CatalogPlaces(catalogs or [self.catalog])
        self.run: RunModel | None = None
        self._run: RunSpace | RerankSpace | None = None
        if run is not None:
            from vtrcli.searching.run import open_run, run_space

            self.run = open_run(run, source=store, backbone=backbone, device=device)
            self._run = run_space(self.catalog, self.run, on_progress=on_progress)
        self.encoder = QueryEncoder(
            backbone,
            self._places,
            source=store,
            folder=cache_folder(store),
            device=device,
            run=self.run,
            preprocessing=self.catalog.config.preprocessing,
            towers=towers,
            keeps=keeps_queries,
        )
        self._frames = FrameSpace(self.catalog, pooling=pooling)

    def prepare_bank(self) -> None:
        """Compute what the captions of the bank score on all videos, and on their best frames."""
        _ = self.finder, self._frame_finder

    def pooled(self, pooling: VideoScore) -> Searcher:
        """The same, with videos scored in another way, without a run."""
        return Searcher(self.catalog.store, pooling=pooling, catalogs=[self.catalog], **self._as_made)

    def warm(self) -> None:
        """Load what the first query would wait for: the text tower, the bank's scores, the features' pages in memory;
        and sort what each would look through.

        Raises:
            WeightsError, StoreError: the tower cannot be loaded; damaged features.
        """
        self.encoder.warm()
        self.prepare_bank()
        self.catalog.sort_twins()
        self.search(Query(text="anything"), SearchSettings(top_k=1))
        if self._run is not None:
            self.search(Query(text="anything"), SearchSettings(top_k=1, moments=True))

    def run_vectors(self) -> np.ndarray | None:
        """The run's vectors, float16 [num_videos, width] in the order of the catalogue; None for plain CLIP.

        Raises:
            UsageError: a run that makes no such vectors.
        """
        return None if self._run is None else self._run.vectors(range(self.catalog.num_videos))

    def encode(self, query: Query) -> QueryVectors:
        """A query in the spaces of this store; raises as `QueryEncoder.encode`."""
        return self.encoder.encode(query)

    def search(
        self,
        query: str | Query,
        options: SearchSettings | None = None,
        *,
        vectors: QueryVectors | None = None,
        chains: StoreChains | None = None,
        first: int = 0,
        number: int | None = None,
    ) -> SearchResult:
        """The best videos or moments for a sentence, or another query; for one with `then`, the best chains of moments.

        Args:
            vectors: the query as the searcher of another store of the same backbone and run encoded it.
            chains: those of this store, on one scale with those of others.
            first, number: how many of the best to leave out, and how many to answer (None: `top_k`). All pages of one
                list together are that list; where a run ranks a shortlist, `top_k` decides its length and the list ends
                with it.

        Raises:
            InputError, UsageError: a query that cannot be used.
            WeightsError, StoreError: the towers cannot be loaded; damaged features.
        """
        query = Query(text=query) if isinstance(query, str) else query
        options = options or SearchSettings()
        first_notes = self._first_notes(query, options)  # what is missing is told before a tower is loaded
        vectors = vectors or self.encode(query)
        allowed = self._allowed(query, options.filters)
        presence = Presence(self.catalog, show_missing=options.missing)
        last = first + (options.top_k if number is None else number)
        asked = _Asked(query, vectors, options, allowed, presence, first, last)
        if query.then:
            hits, remarks = self._chain_hits(asked, chains)
        else:
            hits, remarks = self._moment_hits(asked) if options.moments else self._video_hits(asked), []
        return SearchResult(
            query=query.describe(),
            num_videos=int(allowed.sum()),
            hits=tuple(hits),
            notes=tuple(
                dict.fromkeys(
                    [*vectors.notes, *first_notes, *self._left_out(), *self._remarks(asked, hits), *remarks]
                )
            ),
            stores=(str(self.catalog.store),),
            run=None if self.run is None else str(self.run.run),
            unread_scripts=vectors.unread_scripts,
        )

    def _remarks(self, asked: _Asked, hits: Sequence[Hit]) -> Iterator[str]:
        """What a person should know of these answers, and why there are none."""
        catalog, options, presence = self.catalog, asked.options, asked.presence
        missing = presence.missing
        if not asked.allowed.any():
            yield f"{NO_RESULT}{self._why_none(asked)}"
        elif not hits and missing and not options.missing:
            lost = presence.lost_folders()
            be, them = ("is", "it") if len(lost) == 1 else ("are", "them")
            there = f"{', '.join(lost)} {be} not there; mount {them}, or " if lost else ""
            of_these = "that were looked for " if presence.is_exhausted else ""
            yield (
                f"{NO_RESULT}all {len(missing):,} videos {of_these}are missing: {there}if they moved, `vtr store "
                "relocate OLD NEW` or `vtr extract NEW` finds them again; `vtr store prune --missing` forgets them; "
                "--missing shows them"
            )
        elif not hits and options.min_relevance is not None:
            yield f"{NO_RESULT}nothing reaches relevance {options.min_relevance:g}"
        elif presence.num_better and not options.missing:
            of = (
                "1 better result is"
                if presence.num_better == 1
                else f"{presence.num_better:,} better results are"
            )
            yield f"{of} missing (--missing shows them, `vtr store prune --missing` forgets them)"
        num_replaced = sum(hit.is_replaced for hit in hits)
        if num_replaced:
            of = "1 of these files was" if num_replaced == 1 else f"{num_replaced:,} of these files were"
            yield f"{of} replaced since; `vtr extract` brings the store up to date"
        if catalog.config.backbone.name == "demo" and not all(map(_is_drawn, hits[:MAX_DRAWN_LOOKS])):
            yield (
                "the demo's backbone knows only what `vtr demo` draws: these results mean nothing; extract with "
                "--backbone ViT-B/32 into another --store"
            )

    def _why_none(self, asked: _Asked) -> str:
        if asked.query.like and self._filter_mask(asked.options.filters).any():
            return "the filters left nothing but the video of --like"
        return asked.options.filters.why_none(self._facts(asked.options.filters))

    def _video_hits(self, asked: _Asked) -> list[Hit]:
        options = asked.options
        num_videos = min(asked.last, self.finder.depth(options))
        videos, exact = self.finder.best(
            asked.vectors, asked.allowed, options, asked.presence, top_k=num_videos
        )
        ranked = enumerate(zip(videos, exact, strict=True), start=1)
        return [
            self._hit(
                asked,
                rank,
                video,
                float(score),
                self.moments(video, asked.vectors.clip)[: options.per_video],
                self.finder,
            )
            for rank, (video, score) in itertools.islice(ranked, asked.first, None)
        ]

    def _moment_hits(self, asked: _Asked) -> list[Hit]:
        """The best moments of all videos lie in the videos with the best frames: no moment is better than those.

        A run ranks whole videos: there the moments of its best videos are ranked by their frames.
        """
        options, frame_finder = asked.options, self._frame_finder
        finder, num_videos, shortlist = frame_finder, asked.last, options
        if self._run is not None:
            finder = self.finder
            num_videos = max(MIN_RUN_SHORTLIST, options.top_k)
            shortlist = replace(options, min_relevance=None)  # relevance is that of the moments
        videos, _ = finder.best(asked.vectors, asked.allowed, shortlist, asked.presence, top_k=num_videos)
        found = [
            (moment, video)
            for video in videos
            for moment in self.moments(video, asked.vectors.clip)[: options.per_video]
        ]
        correct = frame_finder.correction(options) or (lambda scores, videos: scores)
        values = correct(
            np.array([moment.score for moment, _ in found]), np.array([video for _, video in found], int)
        )
        order = np.argsort(-values, kind="stable").tolist()
        least = options.min_relevance
        # One after the other: a hit looks for its file, and only some are wanted.
        hits = (
            self._hit(asked, 0, found[n][1], found[n][0].score, [found[n][0]], frame_finder) for n in order
        )
        relevant = (hit for hit in hits if least is None or (hit.relevance or 0.0) >= least)
        best = itertools.islice(relevant, asked.first, asked.last)
        return [replace(hit, rank=rank) for rank, hit in enumerate(best, start=asked.first + 1)]

    def _chain_hits(self, asked: _Asked, chains: StoreChains | None) -> tuple[list[Hit], list[str]]:
        """One chain of moments per video, and why there is none. With a run, in the best videos of each sentence."""
        from vtrcli.searching.chains import chain_hit, store_chains

        query, options, allowed = asked.query, asked.options, asked.allowed
        if chains is None:
            [chains] = store_chains([self.catalog], asked.vectors, query.within_seconds)
        scores = chains.score()
        has_chain = allowed & np.isfinite(scores.values)
        if self._run is not None:
            chosen = np.zeros_like(allowed)
            for vectors in (asked.vectors, *asked.vectors.then):
                best = self.finder.best(vectors, has_chain, options, asked.presence, top_k=MIN_RUN_SHORTLIST)
                chosen[best[0]] = True
            has_chain &= chosen
        videos, exact = best_present(scores, asked.presence, top_k=asked.last, allowed=has_chain)
        videos = videos[asked.first :]
        ranked = enumerate(zip(videos, exact[asked.first :].tolist(), strict=True), start=asked.first + 1)
        found = (self._hit(asked, rank, video, score, [], None) for rank, (video, score) in ranked)
        hits = list(map(chain_hit, found, (chains.steps(video, query.sentences) for video in videos)))
        is_none = not hits and allowed.any() and not has_chain.any()
        return hits, [f"{NO_RESULT}{chains.why_none(allowed)}"] if is_none else []

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
        bank_scores = None
        if (self.catalog.store / BANK_NAME).exists():  # without one nothing of corrections is imported
            from vtrcli.searching.bank import Bank, score_bank

            if isinstance(self.bank, Bank):
                bank_scores = score_bank(self.catalog, space, self.bank, on_progress=self.on_progress)
        if self.run is not None:
            from vtrcli.searching.run import RerankSpace

            if isinstance(space, RerankSpace):
                return Reranker(self.catalog, space, bank_scores, Finder(self.catalog, self._frames, None))
        return Finder(self.catalog, space, bank_scores)

    @cached_property
    def bank(self) -> Bank | StoreError:
        """The store's query bank, or why there is none to be used."""
        from vtrcli.searching.bank import open_bank

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

    def _first_notes(self, query: Query, options: SearchSettings) -> list[str]:
        """Raises StoreError when the options need a bank that is not there, UsageError where it is no help."""
        if query.then:
            from vtrcli.searching.chains import chain_notes

            return chain_notes(query, options)
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

    def frame_scores(self, video: int, clip_vector: np.ndarray) -> np.ndarray:
        """float32 [num_frames]: the cosines of a video's frames with a vector of length 1."""
        return exact_products(unit_rows(self.catalog.features(video)), clip_vector)

    def moments(self, video: int, clip_vector: np.ndarray) -> list[Moment]:
        """The moments of one video, best first."""
        catalog = self.catalog
        return moments_of(
            catalog.features(video), catalog.timestamps(video), catalog.duration(video), clip_vector
        )

    def _allowed(self, query: Query, filters: Filters) -> np.ndarray:
        allowed = self._filter_mask(filters)
        for value in query.like:  # the video itself would be its own best answer
            catalog, video, _ = self._places.find(value)
            if catalog is self.catalog:
                allowed[video] = False
        return allowed

    def _filter_mask(self, filters: Filters) -> np.ndarray:
        if filters == Filters():
            return np.ones(self.catalog.num_videos, bool)
        return filters.mask(self._facts(filters))

    def _facts(self, filters: Filters) -> VideoFacts:
        catalog = self.catalog
        paths = _Places(catalog) if filters.paths else ()
        has_file = catalog["num_bytes"] > 0
        changed_at, num_bytes = (
            np.where(has_file, known, np.nan) for known in (catalog["mtime_ns"] / 1e9, catalog["num_bytes"])
        )
        return VideoFacts(paths, catalog["duration_seconds"], changed_at, num_bytes)

    def _hit(
        self,
        asked: _Asked,
        rank: int,
        video: int,
        score: float,
        moments: Sequence[Moment],
        finder: Finder | None,
    ) -> Hit:
        """A result; without a finder its score is that of a chain, which no bank and no sigmoid knows."""
        state = asked.presence.state(video)
        correct, bank_scores = (
            (finder.correction(asked.options), finder.bank_scores) if finder else (None, None)
        )
        corrected = relevance = None
        if correct is not None:
            corrected = float(correct(np.array([score], np.float32), np.array([video]))[0])
        if bank_scores is not None and asked.query.is_text:
            relevance = float(bank_scores.relevance(score))
        probability = None
        if finder and asked.query.is_one_text and finder.scores_best_frame:
            probability = self.catalog.config.backbone.probability(score)
        return Hit(
            rank=rank,
            video_id=self.catalog.ids[video],
            path=self.catalog.paths[video],
            score=score,
            moments=tuple(moments),
            is_missing=state == "missing",
            is_replaced=state == "replaced",
            twins=asked.presence.named_twins(video, asked.allowed),
            relevance=relevance,
            probability=probability,
            corrected_score=corrected,
            store=str(self.catalog.store),
        )


class _Places(Sequence[str]):
    """The paths of all videos; imported ones, which have none, go by their ids. Made as they are asked for."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def __len__(self) -> int:
        return self._catalog.num_videos

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        paths, ids = self._catalog.paths[index], self._catalog.ids
        if isinstance(paths, str) or isinstance(index, int):
            return paths or ids[index]
        return paths if all(paths) else [path or name for path, name in zip(paths, ids[index], strict=True)]


def _is_drawn(hit: Hit) -> bool:
    """Whether `vtr demo` made a result's file; what cannot be read tells nothing."""
    if not hit.can_be_opened:
        return True
    from vtrcli.video.files import is_drawn

    try:
        return is_drawn(hit.path)
    except (OSError, ValueError):
        return True
