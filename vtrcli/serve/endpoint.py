"""One address of the server: where it is, what it takes (one pydantic model: for checking and for the description) and
what answers. Every VtrError becomes a status and the same three parts that the command line prints.
"""

from __future__ import annotations

import difflib
import inspect
import json
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import Scope

from vtrcli.errors import (
    JSON_SCHEMA,
    BusyError,
    NotFoundError,
    StoreError,
    UsageError,
    VideoError,
    VtrError,
    WeightsError,
)

MAX_SHOWN = 200  # characters of a wrong value that an error repeats
JSON = "application/json"
VideoId = Annotated[str, Field(max_length=10_000, description="Its video_id, as a result has it.")]
StoreName = Annotated[
    str | None, Field(max_length=1000, description="Which store; the first where none is named.")
]


class Parameters(BaseModel):
    """What every address takes by these rules: no name that it does not know."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """An address.

    Attributes:
        path: as `/api/videos/{id}`; what stands in braces is percent-encoded in the URL and may hold anything.
        parameters: what it takes, by the URL's path and query or, with `takes` JSON, the body; None for nothing.
        answer: gets the checked parameters (None without) and the request. A plain function runs in a thread. What it
            returns is a Response, or a dict that is sent as JSON with `schema`.
        takes: media type of the body; None for no body. Anything but JSON the answer reads itself.
        answers: a model of the JSON that it answers, or another media type.
        errors: statuses beside 400 that it may answer.
    """

    path: str
    summary: str
    answer: Callable[[Any, Request], Any]
    method: Literal["GET", "POST"] = "GET"
    parameters: type[BaseModel] | None = None
    takes: str | None = None
    answers: type[BaseModel] | str = JSON
    errors: tuple[int, ...] = ()


class ApiResponse(Response):
    """JSON in ASCII, so that any file name survives, lone surrogates too."""

    media_type = JSON

    def render(self, content: Any) -> bytes:
        """`schema` and the keys of `content`."""
        return json.dumps({"schema": JSON_SCHEMA, **content}, allow_nan=False).encode("ascii")


def error_response(error: VtrError, *, headers: Mapping[str, str] | None = None) -> ApiResponse:
    """The three parts of an error, with its status."""
    if isinstance(error, BusyError):
        headers = {"Retry-After": str(error.retry_after_seconds), **(headers or {})}
    return ApiResponse({"error": error.to_json()}, status_code=status_of(error), headers=headers)


def status_of(error: VtrError) -> int:
    """404 for what is not there, 409 for a file or a store that is not what it was, 400 for what was asked wrongly."""
    if isinstance(error, VideoError):
        return 409 if error.reason == "changed" else 404
    if isinstance(error, NotFoundError):
        return 404
    if isinstance(error, BusyError):
        return 503
    return 409 if isinstance(error, (StoreError, WeightsError)) else 400


class RawRoute(Route):
    """A route over the path as it was sent: an encoded slash in a video's id is no slash of the address."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """As `Route`, with decoded parameters."""
        raw: bytes | None = scope.get("raw_path")
        if scope["type"] != "http" or raw is None:
            return super().matches(scope)
        match, child = super().matches({**scope, "path": raw.partition(b"?")[0].decode("latin-1")})
        given = child.get("path_params", {})
        # Undone with `surrogatepass`, as the catalogue packs names: a file's name need not be UTF-8.
        try:
            child["path_params"] = {name: decoded(value) for name, value in given.items()}
        except UnicodeDecodeError:
            return Match.NONE, {}
        return match, child


def decoded(value: str) -> str:
    """A part of a URL without its percent signs. Raises UnicodeDecodeError."""
    return urllib.parse.unquote(value, errors="surrogatepass")


def encoded(value: str) -> str:
    """A text as one part of a URL's path or query; see `decoded`."""
    return urllib.parse.quote(value, safe="", errors="surrogatepass")


def links(store: str, video_id: str, seconds: float) -> dict[str, str]:
    """Where a video's facts are, and its picture at a time."""
    at, named = f"/api/videos/{encoded(video_id)}", f"store={encoded(store)}"
    return {"thumbnail": f"{at}/thumbnail?t={seconds:g}&{named}", "video": f"{at}?{named}"}


def route(endpoint: Endpoint) -> Route:
    """What Starlette calls."""

    async def answer(request: Request) -> Response:
        parameters = None
        if endpoint.parameters is not None:
            parameters = checked(endpoint.parameters, await _given(endpoint, request))
        answered = await _called(endpoint.answer, parameters, request)
        return answered if isinstance(answered, Response) else ApiResponse(answered)

    return RawRoute(endpoint.path, answer, methods=[endpoint.method], name=endpoint.summary)


async def _called(answer: Callable[[Any, Request], Any], parameters: Any, request: Request) -> Any:
    if inspect.iscoroutinefunction(answer):
        return await answer(parameters, request)
    return await run_in_threadpool(answer, parameters, request)


async def _given(endpoint: Endpoint, request: Request) -> dict[str, Any]:
    assert endpoint.parameters is not None
    if endpoint.takes != JSON:
        return {**_query(endpoint.parameters, request.url.query), **request.path_params}
    try:
        body = json.loads(await request.body())
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise UsageError(
            "a body that is no JSON object", allowed="one JSON object in UTF-8", to_do="send its keys"
        )
    return {**body, **request.path_params}


def _query(model: type[BaseModel], query: str) -> dict[str, Any]:
    """A URL's query; what may be repeated is a list. Raises UsageError for what may not be, and is."""
    try:
        pairs = urllib.parse.parse_qsl(query, keep_blank_values=True, errors="surrogatepass")
    except ValueError:
        raise UsageError(
            "a query that is no UTF-8", allowed="names and values, percent-encoded", to_do="encode them"
        ) from None
    given: dict[str, Any] = {}
    fields = {field.alias or key: field for key, field in model.model_fields.items()}
    for name, value in pairs:
        field = fields.get(name)
        if field is not None and get_origin(field.annotation) in (list, tuple):
            given.setdefault(name, []).append(value)
        elif name in given:
            raise UsageError(f"{_shown(name)} comes twice", allowed="it has one value", to_do="keep one")
        else:
            given[name] = value
    return given


def checked(model: type[BaseModel], given: Mapping[str, Any]) -> BaseModel:
    """Parameters. Raises UsageError, in three parts, for the first that is wrong."""
    try:
        return model.model_validate(given)
    except ValidationError as cause:
        first = cause.errors(include_url=False, include_context=False)[0]
        name = ".".join(map(str, first["loc"])) or "the request"
        if first["type"] == "extra_forbidden":
            known = sorted(field.alias or key for key, field in model.model_fields.items())
            near = difflib.get_close_matches(name, known, n=1)
            raise UsageError(
                f"{_shown(name)} is no parameter here",
                allowed=", ".join(known) or "no parameters",
                to_do=f"did you mean {near[0]}?" if near else "leave it out",
            ) from None
        if first["type"] == "missing":
            raise UsageError(
                f"{name} is missing", allowed="it must be given", to_do="add it; see /api/openapi.json"
            ) from None
        allowed = first["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
        raise UsageError(
            f"{_shown(name)} is {_shown(first['input'])}",
            allowed=allowed[:1].lower() + allowed[1:],
            to_do="correct it; /api/openapi.json describes every parameter",
        ) from None


def _shown(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"
