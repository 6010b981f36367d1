"""`/api/videos`: which videos a store holds, and what is known of one."""

from __future__ import annotations

import bisect
from collections.abc import Callable
from typing import Any

from pydantic import Field
from starlette.requests import Request

from vtrcli.searching.strips import as_heat, over_time
from vtrcli.serve.asked import TOKEN, Pictures, Search
from vtrcli.serve.endpoint import Endpoint, Parameters, StoreName, VideoId, links
from vtrcli.serve.images import Images
from vtrcli.serve.library import Library, OpenedStore
from vtrcli.serve.pages import from_token, to_token

MAX_LISTED = 1000
MAX_MOMENTS = 50  # of one video
MediaFacts = Callable[[OpenedStore, str], dict[str, Any]]


class Videos(Parameters):
    """A page of the list."""

    top_k: int = Field(100, ge=1, le=MAX_LISTED, description="How many videos.")
    page_token: str | None = TOKEN
    store: StoreName = None


class Video(Search):
    """One video, and with a query where it matches; what a search takes beside that changes nothing here."""

    id: VideoId


def endpoints(library: Library, images: Images, media: MediaFacts) -> list[Endpoint]:
    """The list, and one video; `media` tells how a browser plays it."""

    def listed(asked: Videos, request: Request) -> dict[str, Any]:
        return page_of(library.store(asked.store), asked)

    def one(asked: Video, request: Request) -> dict[str, Any]:
        opened = library.store(asked.store)
        known = facts(opened, asked, lambda image: images.file(image, opened.catalog.config.framing))
        return {
            "command": "video",
            "store": opened.name,
            **known,
            "media": media(opened, asked.id),
        }

    return [
        Endpoint(
            path="/api/videos",
            summary="The videos of a store, in the order of their ids",
            parameters=Videos,
            answer=listed,
            errors=(404, 409),
        ),
        Endpoint(
            path="/api/videos/{id}",
            summary="What is known of a video, and where it matches a query",
            parameters=Video,
            answer=one,
            errors=(404, 409),
        ),
    ]


def page_of(opened: OpenedStore, asked: Videos) -> dict[str, Any]:
    """Videos behind an id. Raises UsageError for a token that is none."""
    ids = opened.sorted_ids
    first = 0
    if asked.page_token is not None:
        [last_id] = from_token(asked.page_token, (str,))
        first = bisect.bisect_right(ids, last_id)
    page = ids[first : first + asked.top_k]
    return {
        "command": "videos",
        "store": opened.name,
        "num_videos": len(ids),
        "videos": [row(opened, video_id) for video_id in page],
        "next_page_token": to_token([page[-1]]) if first + len(page) < len(ids) else None,
    }


def row(opened: OpenedStore, video_id: str) -> dict[str, Any]:
    """What the catalogue tells of a video."""
    catalog, video = opened.catalog, opened.video(video_id)
    num_bytes = int(catalog["num_bytes"][video])
    return {
        "video_id": video_id,
        "path": catalog.paths[video] or None,
        "duration_seconds": opened.seconds(video),
        "num_frames": int(catalog["stop"][video] - catalog["start"][video]),
        "num_bytes": num_bytes or None,
        "changed_at": float(catalog["mtime_ns"][video]) / 1e9 if num_bytes else None,
        **links(opened.name, video_id, float(catalog.timestamps(video)[0])),
    }


def facts(opened: OpenedStore, asked: Video, pictures: Pictures) -> dict[str, Any]:
    """A video, and its moments where something is asked.

    Raises:
        NotFoundError: no such video.
        InputError, UsageError: a query that cannot be used.
    """
    video = opened.video(asked.id)
    record = opened.record(video)
    known: dict[str, Any] = {
        **row(opened, asked.id),
        "width": record.width or None,
        "height": record.height or None,
        "codec": record.codec or None,
        "state": opened.file_state(video),
        "moments": [],
        "strip": None,
    }
    if asked.is_empty:
        return known
    searcher, catalog = opened.searcher, opened.catalog
    vectors = searcher.encode(asked.query(pictures))
    scores = searcher.frame_scores(video, vectors.clip)
    strip = over_time(scores, catalog.timestamps(video), catalog.duration(video))
    moments = searcher.moments(video, vectors.clip)[:MAX_MOMENTS]
    return known | {
        "moments": [moment.to_json() for moment in moments],
        "strip": as_heat([strip])[0],
    }
