"""`search`: a sentence to ranked videos with their best moments, in one call."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from vtrcli.searching.options import SearchOptions
from vtrcli.searching.query import Query
from vtrcli.searching.results import SearchResult
from vtrcli.searching.searcher import Searcher


def search(
    query: str | Query,
    *,
    store: Path,
    run: Path | None = None,
    top_k: int | None = None,
    options: SearchOptions | None = None,
    device: str = "auto",
) -> SearchResult:
    """Rank the videos of a store by a sentence (or another `Query`), with the store's own backbone.

    For several queries make a `Searcher` once.

    Args:
        run: a trained run that ranks instead of plain CLIP.
        top_k: how many results; None for the options' number, which is 10 unless they say otherwise.
        options: everything else.

    Raises:
        InputError, UsageError: a query that cannot be used.
        StoreError: no store, a damaged one, or one without videos.
        WeightsError: the backbone's weights are not there, or are not those that made the store.
    """
    searcher = Searcher(store, run=run, device=device)
    asked = Query(text=query) if isinstance(query, str) else query
    options = options or SearchOptions()
    return searcher.search(asked, options if top_k is None else replace(options, top_k=top_k))
