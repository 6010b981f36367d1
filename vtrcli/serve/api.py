"""`/api/search` and `/api/similar`: the keys of `vtr search --json`, and the addresses of what a page shows."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from vtrcli.searching.query import Query, QueryVectors
from vtrcli.searching.results import Hit, SearchResult
from vtrcli.searching.searcher import Searcher
from vtrcli.searching.strips import as_heat, over_time
from vtrcli.serve.asked import Asking, Search, Similar
from vtrcli.serve.batching import Client, Searches, encode_for
from vtrcli.serve.endpoint import JSON, Endpoint, links
from vtrcli.serve.images import Images
from vtrcli.serve.library import Library, OpenedStore
from vtrcli.serve.pages import named, next_token, page_behind, place_of

# Of unrelated pairs 0.1 % reach the first, 0.9 % the second, 1.8 % the third (docs/search.md).
WORDS = ((4.0, "strong"), (3.0, "good"), (2.5, "fair"))
WEAK = "weak"


def endpoints(library: Library, images: Images) -> list[Endpoint]:
    """Search, and what looks like something."""
    searches = Searches()

    async def search(asked: Search, request: Request) -> dict[str, Any] | Response:
        def work(client: Client) -> dict[str, Any]:
            opened = library.store(asked.store)
            query = asked.query(lambda image: images.file(image, opened.catalog.config.framing))
            body = answered(opened, query, asked, client)
            for file, image in zip(
                query.images, asked.image, strict=True
            ):  # where it lies is nobody's concern
                body["query"] = body["query"].replace(str(file), image)
            return body

        return await searches.run(work, request.receive)

    async def similar(asked: Similar, request: Request) -> dict[str, Any] | Response:
        def work(client: Client) -> dict[str, Any]:
            opened = library.store(asked.store)
            opened.video(asked.id)
            return answered(opened, asked.query(), asked, client)

        return await searches.run(work, request.receive)

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
        Endpoint(
            path="/api/similar",
            summary="What looks like a video, or like its frame at a time",
            parameters=Similar,
            answer=similar,
            errors=(404, 409),
        ),
    ]


def answered(opened: OpenedStore, query: Query, asked: Asking, client: Client) -> dict[str, Any]:
    """One page of results for a client.

    Raises:
        As `Searcher.search`; UsageError for the token of another search.
    """
    started = time.monotonic()
    settings, searcher = asked.settings(), opened.scored_by(asked.score)
    name = named(asked, apart={"strips", "store"})
    place = None if asked.page_token is None else place_of(asked.page_token, name)
    vectors = encode_for(client, searcher, query)

    def ask(first: int, number: int) -> SearchResult:
        """The one place where a store is asked."""
        return searcher.search(query, settings, vectors=vectors, first=first, number=number)

    first = 0
    if place is None:
        result = ask(0, asked.top_k)
    else:
        result, first = page_behind(place, opened.state, ask, top_k=asked.top_k)
    body = result.to_json()
    for hit, row in zip(result.hits, body["results"], strict=True):
        row |= links(opened.name, row["video_id"], row["peak_seconds"])
        row["word"] = word_of(hit)
        row["duration_seconds"] = opened.seconds(opened.video(hit.video_id))
    if asked.strips:
        for row, strip in zip(body["results"], strips(searcher, vectors, result.hits), strict=True):
            row["strip"] = strip
    token = next_token(result, first, name, opened.state, top_k=asked.top_k, moments=asked.moments)
    return {
        "command": "search",
        **body,
        "next_page_token": token,
        "seconds": round(time.monotonic() - started, 4),
    }


def word_of(hit: Hit) -> str | None:
    """How well it fits, as a person would say it; None where no bank tells what other captions score."""
    if hit.relevance is None:
        return None
    return next((word for least, word in WORDS if hit.relevance >= least), WEAK)


def strips(searcher: Searcher, vectors: QueryVectors, hits: Sequence[Hit]) -> list[list[int]]:
    """Per hit the query's score over its video's whole length, on one scale; of a chain that of its sentences."""
    catalog = searcher.catalog
    found = []
    for hit in hits:
        video = catalog.number_of[hit.video_id]
        scores = [searcher.frame_scores(video, part.clip) for part in (vectors, *vectors.then)]
        found.append(over_time(np.max(scores, axis=0), catalog.timestamps(video), catalog.duration(video)))
    return as_heat(found)
