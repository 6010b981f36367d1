"""The JSON API: search and health. Parameters -> `Query` and `SearchSettings` -> the keys of `vtr search --json`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from vtrcli import __version__
from vtrcli.errors import VtrError
from vtrcli.searching.bank import Bank
from vtrcli.searching.filters import Filters
from vtrcli.searching.query import (
    MAX_QUERY_CHARACTERS,
    MAX_SENTENCES,
    PER_VIDEO,
    TOP_K,
    Query,
    SearchMethod,
    SearchSettings,
)
from vtrcli.serve.batching import Client, Searches, search_for
from vtrcli.serve.endpoint import JSON, Endpoint, Parameters, encoded
from vtrcli.serve.images import Images
from vtrcli.serve.library import Library, OpenedStore

MAX_TOP_K = 200
MAX_TERMS = 20  # of one kind in a query

Text = Annotated[str, Field(max_length=MAX_QUERY_CHARACTERS)]
Texts = Annotated[list[Text], Field(max_length=MAX_TERMS)]


class Health(Parameters):
    """Nothing."""


class Search(Parameters):
    """A query, as `vtr search` takes it."""

    q: Text | None = Field(None, description="What the video shows, as a sentence.")
    plus: Texts = Field([], description="Must also show this; may be repeated.")
    minus: Texts = Field([], alias="not", description="Must not show this; may be repeated.")
    then: Annotated[list[Text], Field(max_length=MAX_SENTENCES - 1)] = Field(
        [], description="And after that this, in the same video; may be repeated."
    )
    within: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = Field(
        None, description="The most seconds from one of these moments to the next."
    )
    like: Texts = Field([], description="Must look like this video, ID, or its frame at a time, ID@SECONDS.")
    image: Texts = Field([], description="Must look like this picture, an id that POST /api/images answered.")
    moments: bool = Field(False, description="Rank moments instead of videos.")
    top_k: int = Field(TOP_K, ge=1, le=MAX_TOP_K, description="How many results.")
    per_video: int = Field(PER_VIDEO, ge=1, le=MAX_TOP_K, description="Moments of one video at most.")
    method: SearchMethod | None = Field(None, description="A correction by the store's query bank.")
    min_relevance: Annotated[float, Field(allow_inf_nan=False)] | None = Field(
        None, description="Only results so far above what the bank's captions score."
    )
    missing: bool = Field(False, description="Also show videos whose file is gone.")
    store: str | None = Field(
        None, max_length=1000, description="Which store; the first where none is named."
    )


def endpoints(library: Library, images: Images) -> list[Endpoint]:
    """Search and health."""

    searches = Searches()

    async def search(asked: Search, request: Request) -> dict[str, Any] | Response:
        def work(client: Client) -> dict[str, Any]:
            opened = library.store(asked.store)
            files = [images.file(image, opened.catalog.config.framing) for image in asked.image]
            body = answered(opened, to_query(asked, files), to_settings(asked), client)
            for file, image in zip(files, asked.image, strict=True):  # where it lies is nobody's concern
                body["query"] = body["query"].replace(str(file), image)
            return body

        return await searches.run(work, request.receive)

    def health(asked: Health, request: Request) -> dict[str, Any]:
        return health_of(library)

    return [
        Endpoint(
            path="/api/search",
            summary="Search by the URL",
            parameters=Search,
            answer=search,
            errors=(404, 409),
        ),
        Endpoint(
            path="/api/search",
            method="POST",
            summary="Search by a JSON body",
            parameters=Search,
            takes=JSON,
            answer=search,
            errors=(404, 409),
        ),
        Endpoint(path="/api/health", summary="What is served", parameters=Health, answer=health),
    ]


def to_query(asked: Search, images: Sequence[Path] = ()) -> Query:
    """Raises InputError or UsageError for what is no query."""
    return Query(
        text=asked.q,
        plus=tuple(asked.plus),
        minus=tuple(asked.minus),
        images=tuple(images),
        like=tuple(asked.like),
        then=tuple(asked.then),
        within_seconds=asked.within,
    )


def to_settings(asked: Search) -> SearchSettings:
    """Raises UsageError for filters that exclude each other."""
    return SearchSettings(
        top_k=asked.top_k,
        moments=asked.moments,
        per_video=asked.per_video,
        filters=Filters(),
        method=asked.method,
        min_relevance=asked.min_relevance,
        missing=asked.missing,
    )


def answered(opened: OpenedStore, query: Query, settings: SearchSettings, client: Client) -> dict[str, Any]:
    """Ask the store; the keys of `vtr search --json` and the addresses of what a page shows."""
    started = time.monotonic()
    result = search_for(client, opened.searcher, query, settings)
    body = result.to_json()
    for row in body["results"]:
        at = f"/api/videos/{encoded(row['video_id'])}"
        store = f"store={encoded(opened.name)}"
        row["thumbnail"] = f"{at}/thumbnail?t={row['peak_seconds']:g}&{store}"
        row["video"] = f"{at}?{store}"
    return {
        "command": "search",
        **body,
        "next_page_token": None,
        "seconds": round(time.monotonic() - started, 4),
    }


def health_of(library: Library) -> dict[str, Any]:
    """What is served, and how it is."""
    stores = [_store_health(library, name) for name in library.names]
    return {
        "status": "ok" if all(store["error"] is None for store in stores) else "degraded",
        "version": __version__,
        "num_videos": sum(store["num_videos"] for store in stores),
        "stores": stores,
    }


def _store_health(library: Library, name: str) -> dict[str, Any]:
    known: dict[str, Any] = {
        "name": name,
        "store": str(library.paths[name]),
        "num_videos": 0,
        "num_frames": 0,
        "backbone": None,
        "run": None,
        "has_bank": False,
        "kept_frames": False,
        "is_extracting": False,
        "progress": None,
        "error": None,
    }
    try:
        opened = library.store(name)
    except VtrError as error:
        return known | {"error": {"came_in": error.came_in, "allowed": error.allowed, "to_do": error.to_do}}
    searcher, catalog = opened.searcher, opened.catalog
    return known | {
        "num_videos": catalog.num_videos,
        "num_frames": int((catalog["stop"] - catalog["start"]).sum()),
        "backbone": catalog.config.backbone.name,
        "run": None if searcher.run is None else str(searcher.run.run),
        "has_bank": isinstance(searcher.bank, Bank),
    }
