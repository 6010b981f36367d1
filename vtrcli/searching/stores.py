"""`StoresSearcher`: several stores of one backbone, searched as if they were one."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from vtrcli.errors import StoreError, UsageError
from vtrcli.searching.query import POOLING, Query, SearchOptions, VideoScore
from vtrcli.searching.results import Hit, SearchResult
from vtrcli.searching.run import RunModel
from vtrcli.searching.searcher import NO_RESULT, Searcher
from vtrcli.store.catalog_file import open_catalog


class StoresSearcher:
    """Ranks the videos of several stores by the same scores. A file that is in two of them is one result.

    Args:
        run, pooling: as for `Searcher`, for all of them.

    Raises:
        StoreError: as `Searcher`; stores of different backbones, whose scores cannot be compared.
    """

    def __init__(
        self,
        stores: Sequence[Path],
        *,
        run: Path | None = None,
        pooling: VideoScore = POOLING,
        device: str = "auto",
        on_progress: Callable[[int, int], None] = lambda num_done, total: None,
    ) -> None:
        catalogs = [open_catalog(store) for store in stores]
        first = catalogs[0]
        for other in catalogs[1:]:
            have, want = (catalog.config.backbone for catalog in (first, other))
            if have.sha256 != want.sha256:
                raise StoreError(
                    f"store {first.store} holds features of {have.name} (weights {have.sha256[:12]}), "
                    f"store {other.store} of {want.name} (weights {want.sha256[:12]})",
                    allowed="stores of one backbone: scores of different ones cannot be compared",
                    to_do="search them one after the other",
                )
        model: Path | RunModel | None = run
        self._searchers: list[Searcher] = []
        for store in stores:
            searcher = Searcher(
                store, run=model, pooling=pooling, device=device, catalogs=catalogs, on_progress=on_progress
            )
            self._searchers.append(searcher)
            model = searcher.run  # read once

    def search(self, query: str | Query, options: SearchOptions | None = None) -> SearchResult:
        """The best videos or moments of all the stores.

        Raises:
            As `Searcher.search`; UsageError for a correction: each store has a bank of its own.
        """
        options = options or SearchOptions()
        if options.method is not None:
            raise UsageError(
                f"{options.method} over several stores",
                allowed="a correction is made by the bank of one store",
                to_do="leave it out, or search one store",
            )
        query = Query(text=query) if isinstance(query, str) else query
        vectors = self._searchers[0].encode(query)
        results = [searcher.search(query, options, vectors=vectors) for searcher in self._searchers]
        ranked = sorted(
            (
                (searcher, hit)
                for searcher, result in zip(self._searchers, results, strict=True)
                for hit in result.hits
            ),
            key=lambda pair: -pair[1].ranked_by,
        )
        hits = itertools.islice(_each_once(ranked), options.top_k)
        found = tuple(replace(hit, rank=rank) for rank, hit in enumerate(hits, start=1))
        notes = itertools.chain.from_iterable(result.notes for result in results)
        return SearchResult(
            query=query.describe(),
            num_videos=sum(result.num_videos for result in results),
            hits=found,
            notes=tuple(note for note in dict.fromkeys(notes) if not (found and note.startswith(NO_RESULT))),
            stores=tuple(str(searcher.catalog.store) for searcher in self._searchers),
            run=results[0].run,
        )


def _each_once(ranked: Sequence[tuple[Searcher, Hit]]) -> list[Hit]:
    """The hits without those whose content another store gave a better one; they are named as twins of that."""
    first: dict[
        tuple[int, int], tuple[str, int]
    ] = {}  # content -> the video that stands for it, and its place
    kept: list[Hit] = []
    for searcher, hit in ranked:
        catalog = searcher.catalog
        video = catalog.number_of[hit.video_id]
        content = int(catalog["num_bytes"][video]), int(catalog["fingerprint"][video])
        owner, place = first.setdefault(content, (hit.store, len(kept)))
        if owner == hit.store:
            kept.append(hit)
            continue
        paths = (path for path in (hit.path, *hit.twins) if path != kept[place].path)
        kept[place] = replace(kept[place], twins=tuple(dict.fromkeys((*kept[place].twins, *paths))))
    return kept
