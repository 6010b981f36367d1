"""`StoresSearcher`: several stores, searched as if they were one."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from vtrcli.errors import StoreError, UsageError
from vtrcli.searching.encoding import Towers
from vtrcli.searching.presence import each_once
from vtrcli.searching.query import POOLING, Query, SearchSettings, VideoScore
from vtrcli.searching.results import SearchResult
from vtrcli.searching.searcher import NO_RESULT, Searcher
from vtrcli.store.catalog_file import open_catalog
from vtrcli.store.config import what_differs

if TYPE_CHECKING:
    from vtrcli.searching.chains import StoreChains
    from vtrcli.searching.run import RunModel


class StoresSearcher:
    """Ranks the videos of several stores by the same scores. A file that is in two of them is one result.

    Args:
        run, pooling, towers: as for `Searcher`, for all of them.

    Raises:
        StoreError: as `Searcher`; stores of different backbones, whose scores cannot be compared.
    """

    def __init__(
        self,
        stores: Sequence[Path],
        *,
        run: Path | RunModel | None = None,
        pooling: VideoScore = POOLING,
        device: str = "auto",
        towers: Towers | None = None,
        on_progress: Callable[[int, int], None] = lambda num_done, total: None,
    ) -> None:
        catalogs = [open_catalog(store) for store in stores]
        first = catalogs[0]
        for other in catalogs[1:]:
            have, want = (catalog.config.backbone for catalog in (first, other))
            differs = what_differs(have, want, first.config.preprocessing, other.config.preprocessing)
            if have.sha256 != want.sha256 or differs:
                raise StoreError(
                    f"store {first.store} holds features of {have.name} (weights {have.sha256[:12]}), store "
                    f"{other.store} of {want.name} (weights {want.sha256[:12]})"
                    + (f": {differs}" if differs else ""),
                    allowed="stores of one backbone: scores of different ones cannot be compared",
                    to_do="search them one after the other",
                )
        model, towers = run, towers or Towers()
        self._searchers: list[Searcher] = []
        for store in stores:
            searcher = Searcher(
                store,
                run=model,
                pooling=pooling,
                device=device,
                catalogs=catalogs,
                towers=towers,
                on_progress=on_progress,
            )
            self._searchers.append(searcher)
            model = searcher.run  # read once

    def search(self, query: str | Query, options: SearchSettings | None = None) -> SearchResult:
        """The best videos or moments of all the stores.

        Raises:
            As `Searcher.search`; UsageError for a correction: each store has a bank of its own.
        """
        options = options or SearchSettings()
        if options.method is not None:
            raise UsageError(
                f"{options.method} over several stores",
                allowed="a correction is made by the bank of one store",
                to_do="leave it out, or search one store",
            )
        query = Query(text=query) if isinstance(query, str) else query
        vectors = self._searchers[0].encode(query)
        chains: Sequence[StoreChains | None] = [None] * len(self._searchers)
        if query.then:
            from vtrcli.searching.chains import store_chains

            catalogs = [searcher.catalog for searcher in self._searchers]
            chains = store_chains(catalogs, vectors, query.within_seconds)
        results = [
            searcher.search(query, options, vectors=vectors, chains=own)
            for searcher, own in zip(self._searchers, chains, strict=True)
        ]
        ranked = sorted(
            (
                (searcher.catalog, hit)
                for searcher, result in zip(self._searchers, results, strict=True)
                for hit in result.hits
            ),
            key=lambda pair: -pair[1].ranked_by,
        )
        hits = itertools.islice(each_once(ranked), options.top_k)
        found = tuple(replace(hit, rank=rank) for rank, hit in enumerate(hits, start=1))
        notes = itertools.chain.from_iterable(result.notes for result in results)
        return SearchResult(
            query=query.describe(),
            num_videos=sum(result.num_videos for result in results),
            hits=found,
            notes=tuple(note for note in dict.fromkeys(notes) if not (found and note.startswith(NO_RESULT))),
            stores=tuple(str(searcher.catalog.store) for searcher in self._searchers),
            run=results[0].run,
            unread_scripts=vectors.unread_scripts,
        )
