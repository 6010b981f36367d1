"""The application: every module's endpoints, the description, the page, and what an error looks like."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from vtrcli.errors import VtrError
from vtrcli.preprocessing import Framing
from vtrcli.serve import api, explain, export, health, images, marks, mcp, videos
from vtrcli.serve.access import Access, access_at
from vtrcli.serve.endpoint import ApiResponse, Endpoint, error_response, route
from vtrcli.serve.guard import Guard, Limits
from vtrcli.serve.library import Library
from vtrcli.serve.media import Media, open_media
from vtrcli.serve.openapi import describe

PAGE = Path(__file__).parent / "page"
_NO_SECRET = 'name="vtr-secret" content=""'


def make_app(
    library: Library,
    *,
    access: Access | None = None,
    media: Media | None = None,
    clips: Path | None = None,
) -> ASGIApp:
    """What answers: `/api/…`, `/mcp` and the page, to those who may ask; None: to this machine alone, without a token.

    `clips` is the folder that tools may cut clips into; all of `/mcp` needs the token then.
    """
    access = access or access_at("127.0.0.1")
    uploads = images.Images(partial(_framings, library))
    media = media or open_media(library)
    endpoints = [*api.endpoints(library, uploads), *images.endpoints(uploads)]
    endpoints += [*videos.endpoints(library, uploads, media.facts), *media.endpoints()]
    for module in (explain, marks, export, health):
        endpoints += module.endpoints(library)
    endpoints.append(description(endpoints))
    tools = mcp.http_app(mcp.make_server(library, clips=clips))
    routes: list[BaseRoute] = [
        *map(route, endpoints),
        *tools.routes,
        Route("/", partial(_page, secret=access.secret)),
        Mount("/page", StaticFiles(directory=PAGE)),
    ]
    app = Starlette(
        routes=routes,
        exception_handlers={VtrError: _told, HTTPException: _refused, Exception: _bug},
        lifespan=tools.router.lifespan_context,
    )
    limits = Limits(body_bytes_at={images.PATH: images.MAX_UPLOAD_BYTES})
    # Tools that only read need no secret: programs have none, and the guard has asked for host, origin and token.
    programs = frozenset({mcp.PATH}) if clips is None else frozenset()
    return Guard(app, access=access, limits=limits, programs=programs)


def _framings(library: Library) -> Iterator[Framing]:
    """The sizes that the towers of the stores take; one that cannot be opened is not searched either."""
    for name in library.names:
        with suppress(VtrError):
            yield library.store(name).catalog.config.framing


def description(endpoints: Sequence[Endpoint]) -> Endpoint:
    """The address that describes the others, and itself."""
    described: list[Endpoint] = []
    own = Endpoint(
        path="/api/openapi.json",
        summary="This description (OpenAPI 3.1)",
        answer=lambda asked, request: Response(
            json.dumps(describe(described)), media_type="application/json"
        ),
    )
    described += [*endpoints, own]
    return own


async def _page(request: Request, *, secret: str) -> Response:
    """The page, which alone is told the secret that every POST carries."""
    body = (PAGE / "index.html").read_text(encoding="utf-8")
    return HTMLResponse(body.replace(_NO_SECRET, _NO_SECRET.replace('""', f'"{secret}"')))


async def _told(request: Request, error: Exception) -> Response:
    assert isinstance(error, VtrError)
    return error_response(error)


async def _refused(request: Request, error: Exception) -> Response:
    """What Starlette itself refuses: no such address, another method."""
    assert isinstance(error, HTTPException)
    parts = {
        "came_in": f"{request.method} {request.url.path[:200]}: {HTTPStatus(error.status_code).phrase.lower()}",
        "allowed": "the addresses and methods of /api/openapi.json",
        "to_do": "correct the address",
    }
    return ApiResponse({"error": parts}, status_code=error.status_code, headers=error.headers)


async def _bug(request: Request, error: Exception) -> Response:
    """A fault of vtr: the traceback goes to the log, never to the client."""
    parts = {
        "came_in": "an internal error",
        "allowed": "none: this is a fault of vtr",
        "to_do": "please report it with what the server printed",
    }
    return ApiResponse({"error": parts}, status_code=500)
