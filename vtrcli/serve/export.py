"""`POST /api/export`: moments that were picked, as a timeline for editors, a table, or clips.

A moment whose video is gone or broken costs itself alone: the header X-VTR-Export (JSON) says which were left out and
why, and a zip of clips holds a list of those that could not be cut.
"""

from __future__ import annotations

import io
import itertools
import json
import math
import threading
import urllib.parse
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Literal

from pydantic import Field
from starlette.requests import Request
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from vtrcli.errors import BusyError, UsageError, VideoError, VtrError
from vtrcli.moments.moment import Moment
from vtrcli.searching.clips import clip_name, save_clips
from vtrcli.searching.interchange import WRITERS, check_files, edl_notes
from vtrcli.searching.interchange import Kind as TimelineKind
from vtrcli.searching.presence import Presence
from vtrcli.searching.query import MAX_QUERY_CHARACTERS
from vtrcli.searching.results import Hit, SearchResult
from vtrcli.searching.timeline import timeline_of
from vtrcli.serve.endpoint import JSON, Endpoint, Parameters, StoreName, VideoId
from vtrcli.serve.library import Library

MAX_MOMENTS = 500
MAX_CLIP_SECONDS = 600.0  # what was picked by hand is cut whole, but not for hours
MAX_AT_ONCE = 2
RETRY_SECONDS = 5
MAX_TOLD, MAX_TOLD_CHARACTERS = 20, 160  # in a header, of which browsers take 8 kB
REPORT = "X-VTR-Export"
NOT_CUT = "not-exported.txt"
_CHUNK_BYTES = 1 << 20
_TYPES: dict[TimelineKind, str] = {
    "csv": "text/csv; charset=utf-8",
    "edl": "text/plain; charset=utf-8",
    "otio": "application/json",
    "fcpxml": "application/xml",
    "xml": "application/xml",
}
Seconds = Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)]


class Picked(Parameters):
    """One moment, and what it was found by."""

    id: VideoId
    start_seconds: Seconds
    end_seconds: Seconds
    query: str = Field(
        "", max_length=MAX_QUERY_CHARACTERS, description="What it was found by: its marker's name."
    )
    score: Annotated[float, Field(allow_inf_nan=False)] | None = Field(
        None, description="Of the result, if known."
    )
    store: StoreName = None


class Export(Parameters):
    """What is to be made of which moments, in their order."""

    kind: Literal["csv", "edl", "otio", "fcpxml", "xml", "clips"]
    moments: list[Picked] = Field(min_length=1, max_length=MAX_MOMENTS)


def endpoints(library: Library) -> list[Endpoint]:
    """Moments as files."""
    slots = threading.BoundedSemaphore(MAX_AT_ONCE)

    def export(asked: Export, request: Request) -> Response:
        with ExitStack() as stack:
            if not slots.acquire(blocking=False):
                raise BusyError(
                    f"{MAX_AT_ONCE} exports are being made",
                    allowed=f"{MAX_AT_ONCE} at once",
                    to_do="try again when one of them is done",
                    retry_after_seconds=RETRY_SECONDS,
                )
            stack.callback(slots.release)
            hits = [hit_of(library, picked, rank) for rank, picked in enumerate(asked.moments, start=1)]
            queries = [picked.query.strip() or "picked moments" for picked in asked.moments]
            if asked.kind != "clips":
                return timeline_response(asked.kind, queries, hits)
            return clips_response(hits, stack)

    return [
        Endpoint(
            path="/api/export",
            method="POST",
            summary="Picked moments as a timeline, a table or clips",
            parameters=Export,
            takes=JSON,
            answer=export,
            answers="application/octet-stream",
            errors=(404, 409, 503),
        )
    ]


def hit_of(library: Library, picked: Picked, rank: int) -> Hit:
    """A picked moment as the result that it was. Raises NotFoundError for no such store or video, UsageError."""
    opened = library.store(picked.store)
    video = opened.video(picked.id)
    start, end = picked.start_seconds, picked.end_seconds
    if not start < end:
        raise UsageError(
            f"a moment from {start:g} s to {end:g} s", allowed="it ends after its start", to_do="set it again"
        )
    state = Presence(opened.catalog, show_missing=True).state(video)
    score = math.nan if picked.score is None else picked.score
    return Hit(
        rank=rank,
        video_id=picked.id,
        path=opened.catalog.paths[video],
        score=score,
        moments=(Moment(start, (start + end) / 2, end, score),),
        is_missing=state == "missing",
        is_replaced=state == "replaced",
        store=str(opened.path),
    )


def timeline_response(kind: TimelineKind, queries: Sequence[str], hits: Sequence[Hit]) -> Response:
    """The file that `vtr search` writes, in the order of the moments. Raises VideoError where none is left."""
    check_files({kind: Path("picked")})  # which is not there: this asks for the package alone
    groups = itertools.groupby(zip(queries, hits, strict=True), key=lambda pair: pair[0])
    results = [
        SearchResult(query=query, num_videos=0, hits=tuple(hit for _, hit in group))
        for query, group in groups
    ]
    timeline = timeline_of(results)
    if len(results) > 1:
        timeline = replace(timeline, name="picked moments")
    failures = [(hit, error) for hit, error in timeline.failures]
    if not timeline.cuts:
        raise failures[0][1]
    notes = timeline.notes + (edl_notes(timeline) if kind == "edl" else ())
    return Response(
        WRITERS[kind](timeline).encode("utf-8", "surrogateescape"),
        media_type=_TYPES[kind],
        headers={
            "Content-Disposition": disposition(f"moments.{kind}"),
            REPORT: report(len(timeline.cuts), failures, notes),
        },
    )


def clips_response(hits: Sequence[Hit], stack: ExitStack) -> Response:
    """One MP4, or a zip of several that is sent while it is made. What `stack` holds is given back when it was sent.

    Raises VideoError where there is nothing to cut.
    """
    failures = [(hit, error) for hit in hits if (error := _missing(hit)) is not None]
    there = [hit for hit in hits if _missing(hit) is None]
    if not there:
        raise failures[0][1]
    temporary = TemporaryDirectory(prefix="vtr-export-", ignore_cleanup_errors=True)
    folder = Path(stack.enter_context(temporary))
    headers = {REPORT: report(len(there), failures, ())}
    if len(hits) == 1:
        [(_, made)] = save_clips(hits, folder, max_seconds=MAX_CLIP_SECONDS)
        if isinstance(made, VideoError):
            raise made
        headers["Content-Disposition"] = disposition(clip_name(hits[0]))
        clip = FileResponse(made, media_type="video/mp4", headers=headers)
        return _Owner(clip, stack.pop_all().close)
    headers["Content-Disposition"] = disposition("moments.zip")
    pieces = zipped(there, failures, folder)
    zip_file = StreamingResponse(pieces, media_type="application/zip", headers=headers)
    return _Owner(zip_file, stack.pop_all().close)


class _Owner(Response):
    """Another response, and what is given back when it was sent, or could not be: the viewer may leave before."""

    def __init__(self, response: Response, close: Callable[[], None]) -> None:
        self._response, self._close = response, close

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._response(scope, receive, send)
        finally:
            self._close()


def _missing(hit: Hit) -> VideoError | None:
    """Why a moment cannot be cut, as far as that is known beforehand."""
    try:
        hit.require_file()
    except VideoError as error:
        return error
    return VideoError("not-found", "its file is gone", path=hit.path) if hit.is_missing else None


def zipped(hits: Sequence[Hit], failures: Sequence[tuple[Hit, VtrError]], folder: Path) -> Iterator[bytes]:
    """A zip of the clips in pieces, each cut when its turn comes; then a list of what was not."""
    sink, told = _Sink(), list(failures)
    with zipfile.ZipFile(sink, "w") as archive:
        for hit in hits:
            try:
                [(_, made)] = save_clips([hit], folder, max_seconds=MAX_CLIP_SECONDS)
            except VtrError as error:  # the disk is full, or the clip would be too large: the others go on
                told.append((hit, error))
                continue
            if isinstance(made, VideoError):
                told.append((hit, made))
                continue
            entry = zipfile.ZipInfo.from_file(made, made.name, strict_timestamps=False)
            with open(made, "rb") as clip, archive.open(entry, "w", force_zip64=True) as target:
                while chunk := clip.read(_CHUNK_BYTES):
                    target.write(chunk)
                    yield sink.taken()
            made.unlink()
        if told:
            lines = (f"{hit.rank}. {hit.place}: {error.came_in}\n" for hit, error in told)
            archive.writestr(NOT_CUT, "".join(lines).encode("utf-8", "backslashreplace"))
    yield sink.taken()


class _Sink(io.RawIOBase):
    """Takes what a zip writes, front to back."""

    def __init__(self) -> None:
        self._held = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._held += data
        return len(data)

    def taken(self) -> bytes:
        """What came since the last call."""
        held = bytes(self._held)
        self._held.clear()
        return held


def report(num_exported: int, failures: Sequence[tuple[Hit, VtrError]], notes: Sequence[str]) -> str:
    """What a page tells beside the file, as JSON in ASCII; the first few of many."""
    rows = [
        {
            "number": hit.rank,
            "video_id": hit.video_id[-MAX_TOLD_CHARACTERS:],
            "reason": getattr(error, "reason", "failed"),
            "detail": getattr(error, "detail", error.came_in)[:MAX_TOLD_CHARACTERS],
        }
        for hit, error in failures[:MAX_TOLD]
    ]
    told = [note[:MAX_TOLD_CHARACTERS] for note in notes[:MAX_TOLD]]
    body = {"num_exported": num_exported, "num_failed": len(failures), "failures": rows, "notes": told}
    while len(text := json.dumps(body)) > 6000 and (rows or told):  # escapes make a text six times as long
        (rows or told).pop()
    return text


def disposition(name: str) -> str:
    """Save as `name`: RFC 6266, with nothing in the plain form that could end it."""
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "-_.") else "_" for c in name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{urllib.parse.quote(name, safe='', errors='replace')}"
