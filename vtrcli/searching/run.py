"""`search`: a sentence to ranked videos with their best moments, in one call."""

from __future__ import annotations

from pathlib import Path

from vtrcli.searching.options import TOP_K, SearchOptions
from vtrcli.searching.query import Query
from vtrcli.searching.results import SearchResult
from vtrcli.searching.searcher import Searcher


def search(
    query: str | Query,
    *,
    store: Path,
    run: Path | None = None,
    top_k: int = TOP_K,
    options: SearchOptions | None = None,
    device: str = "auto",
) -> SearchResult:
    """Rank the videos of a store by a sentence (or another `Query`), with the store's own backbone.

    For several queries make a `Searcher` once.

    Args:
        run: a trained run that ranks instead of plain CLIP.
        options: everything else; `top_k` counts only without them.

    Raises:
        InputError, UsageError: a query that cannot be used.
        StoreError: no store, a damaged one, or one without videos.
        WeightsError: the backbone's weights are not there, or are not those that made the store.
    """
    searcher = Searcher(store, run=run, device=device)
    asked = Query(text=query) if isinstance(query, str) else query
    return searcher.search(asked, options or SearchOptions(top_k=top_k))
