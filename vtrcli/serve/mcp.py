"""What programs with a language model call (MCP, by the official SDK): search, look at a frame and, only where a folder
was named for it, cut a clip. The same tools at `/mcp` and, as `vtr mcp`, on stdin and stdout.

Videos are named by the ids of a store, never by a path. Titles and texts of tools are all that a model knows of them.
"""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, ParamSpec, TypeVar

import numpy as np
from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.transport_security import TransportSecuritySettings
from mcp_types import CallToolResult, ImageContent, TextContent, ToolAnnotations
from pydantic import BaseModel, Field
from starlette.applications import Starlette

from vtrcli import __version__
from vtrcli.errors import UsageError, VideoError, VtrError, printable
from vtrcli.moments.moment import Moment
from vtrcli.searching.clips import save_clips
from vtrcli.searching.filters import Filters
from vtrcli.searching.query import MAX_QUERY_CHARACTERS, MAX_SENTENCES, Query, SearchSettings
from vtrcli.searching.results import Hit
from vtrcli.serve.library import Library
from vtrcli.serve.thumbnails import Thumbnails, jpeg, width_for
from vtrcli.times import clock, time_span
from vtrcli.video.cut import frame_at

PATH = "/mcp"
MAX_TOP_K, TOP_K = 50, 10  # what a model reads
MAX_TERMS = 8
MAX_CLIP_SECONDS = 600.0
PICTURE_SIDE, MAX_PICTURE_SIDE, MIN_PICTURE_SIDE = 640, 1280, 64
MAX_AT_ONCE = 2  # decoders; others wait for their turn,
WAIT_SECONDS = 30.0  # so long
INSTRUCTIONS = (
    "Finds moments in a collection of videos by what they show. Call search_videos with a sentence that describes a "
    "single picture; what happens one after the other goes into `then`. Scores rank, they do not prove: call look at "
    "a result's peak_seconds before you rely on it. Times are seconds from the start of the video."
)
READS = ToolAnnotations(
    read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False
)
WRITES = ToolAnnotations(
    read_only_hint=False, destructive_hint=False, idempotent_hint=False, open_world_hint=False
)

_P = ParamSpec("_P")
_T = TypeVar("_T")
Sentence = Annotated[str, Field(min_length=1, max_length=MAX_QUERY_CHARACTERS)]
Seconds = Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)]
VideoId = Annotated[
    str, Field(min_length=1, max_length=10_000, description="The video_id of a result, as it stands there.")
]
StoreName = Annotated[
    str | None,
    Field(
        max_length=1000, description="Which store, by its name in list_stores; the first where none is named."
    ),
]


class Found(BaseModel):
    """One result."""

    rank: int
    video_id: str
    name: str = Field(description="The file's name, for people.")
    start_seconds: float
    end_seconds: float
    peak_seconds: float = Field(description="Where it fits best: the time to look at.")
    score: float
    relevance: float | None = Field(
        description="Standard deviations above what unrelated captions score; from 3 on it is hardly chance. Null "
        "where the store has no query bank: then nothing but the order is known."
    )
    can_be_opened: bool


class Answer(BaseModel):
    """What was found, best first."""

    query: str
    store: str
    num_videos: int = Field(description="How many videos were searched.")
    notes: list[str]
    results: list[Found]


class StoreFacts(BaseModel):
    """One store."""

    name: str
    num_videos: int
    backbone: str


class Stores(BaseModel):
    """What can be searched."""

    stores: list[StoreFacts]


class Cut(BaseModel):
    """A clip that was written."""

    path: str
    start_seconds: float
    end_seconds: float


def make_server(library: Library, *, clips: Path | None = None) -> MCPServer[Any]:
    """The tools over a library.

    Args:
        clips: the folder that clips are cut into; None: nothing is ever written, and no tool says that it could be.
    """
    server: MCPServer[Any] = MCPServer(
        "vtr", title="Video search", instructions=INSTRUCTIONS, version=__version__, log_level="WARNING"
    )
    turns = threading.BoundedSemaphore(MAX_AT_ONCE)
    _add_search(server, library)
    _add_look(server, library, turns)
    _add_stores(server, library)
    if clips is not None:
        _add_cut(server, library, turns, clips.absolute())
    return server


def _add_search(server: MCPServer[Any], library: Library) -> None:
    @server.tool(title="Search videos", annotations=READS)
    @_told
    def search_videos(
        query: Annotated[Sentence, Field(description="What a picture of the moment shows, as a sentence.")],
        then: Annotated[
            list[Sentence],
            Field(
                max_length=MAX_SENTENCES - 1, description="What comes after it in the same video, in order."
            ),
        ] = [],  # noqa: B006
        without: Annotated[
            list[Sentence], Field(max_length=MAX_TERMS, description="What it must not show.")
        ] = [],  # noqa: B006
        paths: Annotated[
            list[Sentence],
            Field(max_length=MAX_TERMS, description="Only such files or folders: '*.mp4', 'kitchen'."),
        ] = [],  # noqa: B006
        min_duration_seconds: Annotated[Seconds | None, Field(description="Of the whole video.")] = None,
        max_duration_seconds: Annotated[Seconds | None, Field(description="Of the whole video.")] = None,
        moments: Annotated[
            bool, Field(description="Rank moments: one video may be found several times.")
        ] = False,
        top_k: Annotated[int, Field(ge=1, le=MAX_TOP_K)] = TOP_K,
        store: StoreName = None,
    ) -> Annotated[CallToolResult, Answer]:
        """Find videos, and the moment in each, by a sentence that says what is seen there."""
        asked = Query(text=query, minus=tuple(without), then=tuple(then))
        filters = Filters(
            paths=tuple(paths),
            min_duration_seconds=min_duration_seconds,
            max_duration_seconds=max_duration_seconds,
        )
        opened = library.store(store)
        result = opened.searcher.search(asked, SearchSettings(top_k=top_k, moments=moments, filters=filters))
        answer = Answer(
            query=result.query,
            store=opened.name,
            num_videos=result.num_videos,
            notes=[printable(note) for note in result.notes],
            results=list(map(_found, result.hits)),
        )
        return _both(_in_words(answer), answer)


def _add_look(server: MCPServer[Any], library: Library, turns: threading.BoundedSemaphore) -> None:
    pictures = Thumbnails(None)

    @server.tool(title="Look at a frame", annotations=READS)
    @_told
    def look(
        video_id: VideoId,
        seconds: Seconds,
        longest_side: Annotated[
            int, Field(ge=MIN_PICTURE_SIDE, le=MAX_PICTURE_SIDE, description="Pixels.")
        ] = PICTURE_SIDE,
        store: StoreName = None,
    ) -> CallToolResult:
        """See the frame of a video at a time, as a picture. Beyond the end it is the last frame. Where the file is
        gone, the nearest frame that the store has kept, if it has."""
        opened = library.store(store)
        video = opened.video(video_id)
        name, at = printable(Path(opened.catalog.paths[video] or video_id).name), seconds
        if seconds > opened.seconds(video):
            name, at = f"{name}, which ends before {clock(seconds)}: its last frame,", opened.seconds(video)
        try:
            path = opened.file(video_id)
            with _turn(turns):
                picture = jpeg(frame_at(path, seconds, longest_side=longest_side), longest_side)
        except VideoError:
            width = width_for(longest_side)
            kept = pictures.get(opened.catalog, video, seconds, width, file=lambda: opened.file(video_id))
            picture, name = kept.result(), f"{name}, whose file cannot be read: a frame that was kept,"
            at = _nearest(opened.catalog.timestamps(video), seconds)
        image = ImageContent(
            type="image", data=base64.b64encode(picture).decode("ascii"), mime_type="image/jpeg"
        )
        words = TextContent(type="text", text=f"{name} at {clock(at)}")
        return CallToolResult(content=[image, words])


def _add_stores(server: MCPServer[Any], library: Library) -> None:
    @server.tool(title="List stores", annotations=READS)
    @_told
    def list_stores() -> Annotated[CallToolResult, Stores]:
        """Which stores of videos can be searched. Most setups have one, which needs no name."""
        opened = [library.store(name) for name in library.names]
        stores = Stores(
            stores=[
                StoreFacts(
                    name=one.name,
                    num_videos=one.catalog.num_videos,
                    backbone=one.catalog.config.backbone.bare_name,
                )
                for one in opened
            ]
        )
        words = "\n".join(f"{one.name}: {one.num_videos:,} videos" for one in stores.stores)
        return _both(words, stores)


def _add_cut(
    server: MCPServer[Any], library: Library, turns: threading.BoundedSemaphore, folder: Path
) -> None:
    @server.tool(title="Cut a clip", annotations=WRITES)
    @_told
    def cut_clip(
        video_id: VideoId, start_seconds: Seconds, end_seconds: Seconds, store: StoreName = None
    ) -> Annotated[CallToolResult, Cut]:
        """Write a part of a video as an MP4 into the folder that the user allowed. Overwrites nothing."""
        if not 0 < end_seconds - start_seconds <= MAX_CLIP_SECONDS:
            raise UsageError(
                f"a clip from {start_seconds:g} s to {end_seconds:g} s",
                allowed=f"it ends after its start, and at most {MAX_CLIP_SECONDS:g} s later",
                to_do="set start and end again",
            )
        path = library.store(store).file(video_id)
        part = Moment(start_seconds, start_seconds, end_seconds, 0.0)
        hit = Hit(rank=1, video_id=video_id, path=str(path), score=0.0, moments=(part,), is_missing=False)
        with _turn(turns):
            [(_, made)] = save_clips([hit], folder, max_seconds=MAX_CLIP_SECONDS)
        if isinstance(made, VideoError):
            raise made
        return _both(str(made), Cut(path=str(made), start_seconds=start_seconds, end_seconds=end_seconds))


def http_app(server: MCPServer[Any]) -> Starlette:
    """What answers at `/mcp`; its lifespan must be that of the app around it. No session is kept: each call stands for
    itself. Host and origin are the guard's to check, who knows all names of this server."""
    return server.streamable_http_app(
        streamable_http_path=PATH,
        json_response=True,
        stateless_http=True,
        transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False),
    )


def _nearest(timestamps: np.ndarray, seconds: float) -> float:
    return float(timestamps[int(np.argmin(np.abs(timestamps - seconds)))])


def _told(tool: Callable[_P, _T]) -> Callable[_P, _T]:
    """What is wrong reaches the model in three parts, so that it can mend it; a bug does not."""

    @wraps(tool)
    def answer(*arguments: _P.args, **named: _P.kwargs) -> _T:
        try:
            return tool(*arguments, **named)
        except VtrError as error:
            raise ToolError(printable(str(error))) from error

    return answer


@contextmanager
def _turn(turns: threading.BoundedSemaphore) -> Iterator[None]:
    """A decoder's turn. Raises UsageError where none is free in time."""
    if not turns.acquire(timeout=WAIT_SECONDS):
        raise UsageError(
            "more pictures and clips at once than this machine should make",
            allowed=f"{MAX_AT_ONCE} at once",
            to_do="ask again in a while",
        )
    try:
        yield
    finally:
        turns.release()


def _found(hit: Hit) -> Found:
    row = hit.to_json()
    return Found(
        rank=hit.rank,
        video_id=hit.video_id,
        name=printable(Path(hit.place).name),
        start_seconds=row["start_seconds"],
        end_seconds=row["end_seconds"],
        peak_seconds=row["peak_seconds"],
        score=row["score"],
        relevance=row["relevance"],
        can_be_opened=hit.can_be_opened,
    )


def _in_words(answer: Answer) -> str:
    lines = [f"{len(answer.results)} of {answer.num_videos:,} videos in {answer.store}: {answer.query}"]
    for one in answer.results:
        span = time_span(one.start_seconds, one.end_seconds)
        gone = "" if one.can_be_opened else " (its file cannot be opened)"
        lines.append(
            f"{one.rank}. {one.name} {span}, best at {one.peak_seconds:g} s, score {one.score:g}{gone}; "
            f"video_id {one.video_id!r}"
        )
    return "\n".join([*lines, *(f"note: {note}" for note in answer.notes)])


def _both(words: str, body: BaseModel) -> CallToolResult:
    """For programs and for models that read text alone."""
    return CallToolResult(
        content=[TextContent(type="text", text=words)], structured_content=body.model_dump(mode="json")
    )
