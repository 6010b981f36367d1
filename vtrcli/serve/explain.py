"""`GET /api/explain`: why a video scores what it scores for a sentence; what is told is `searching.explain`'s."""

from __future__ import annotations

from typing import Any

from pydantic import Field
from starlette.requests import Request

from vtrcli.searching.explain import explain
from vtrcli.searching.query import MAX_QUERY_CHARACTERS
from vtrcli.serve.endpoint import Endpoint, Parameters, StoreName, VideoId
from vtrcli.serve.library import Library


class Why(Parameters):
    """A sentence and a video."""

    q: str = Field(
        max_length=MAX_QUERY_CHARACTERS, description="The sentence: one alone, as a head reads it."
    )
    id: VideoId
    store: StoreName = None


def endpoints(library: Library) -> list[Endpoint]:
    """Why this result."""

    def answer(asked: Why, request: Request) -> dict[str, Any]:
        opened = library.store(asked.store)
        found = explain(opened.searcher, asked.q, opened.video(asked.id))
        return {"command": "explain", "store": opened.name, **found.to_json()}

    return [
        Endpoint(
            path="/api/explain",
            summary="Why a video scores what it scores for a sentence",
            parameters=Why,
            answer=answer,
            errors=(404, 409),
        )
    ]
