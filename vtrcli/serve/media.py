"""What is seen of a video: its file in ranges, a stream where browsers do not play the file, a picture of a moment."""

from __future__ import annotations

import asyncio
import os
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Annotated, Any

from anyio import CapacityLimiter, to_thread
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from vtrcli.errors import NotFoundError, VideoError, VtrError
from vtrcli.serve.endpoint import Endpoint, Parameters, StoreName, VideoId, encoded
from vtrcli.serve.file_bytes import FileBytes
from vtrcli.serve.library import Library, OpenedStore
from vtrcli.serve.streams import Streams
from vtrcli.serve.thumbnails import CACHE_BYTES, WIDTHS, Thumbnails, key_of, width_for
from vtrcli.video.encode import STREAM_LEAD_SECONDS, encoder_names
from vtrcli.video.files import VideoInfo, check_file
from vtrcli.video.playback import Playback, media_type, playback
from vtrcli.video.probe import probe

PROBE_SECONDS = 20.0
_NUM_PROBED = 1024  # files whose headers are remembered
_NUM_PROBERS = 4
Seconds = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]


class Video(Parameters):
    """A video."""

    id: VideoId
    store: StoreName = None


class Streamed(Video):
    """A video from a time on."""

    start: Seconds = Field(0.0, description="In seconds; repacked pictures begin at the key frame before.")
    convert: bool = Field(False, description="Encode anew, though browsers should play it as it is.")


class Pictured(Video):
    """A moment of a video."""

    t: Seconds = Field(0.0, description="Its time, in seconds.")
    width: int = Field(WIDTHS[2], ge=1, le=10_000, description=f"In pixels, rounded up to one of {WIDTHS}.")
    v: str | None = Field(
        None, max_length=100, description="The picture's ETag: then it may be kept for good."
    )


class Media:
    """The files of a library's videos, as browsers get them.

    Args:
        thumbnails: None keeps no picture on disk.
        max_streams: how many videos are encoded at once; four times as many are repacked.
    """

    def __init__(
        self, library: Library, *, thumbnails: Thumbnails | None = None, max_streams: int | None = None
    ) -> None:
        self._library = library
        self._thumbnails = thumbnails or Thumbnails(None)
        number = max_streams or max(2, (os.cpu_count() or 2) // 2)
        self.streams = Streams({"transcode": number, "remux": 4 * number})
        self._probed = Probed()
        self._probers = CapacityLimiter(_NUM_PROBERS)

    def facts(self, opened: OpenedStore, video_id: str) -> dict[str, Any]:
        """How a video is played: `url`, `kind`, `reason`, the file's `type` and `duration_seconds`.

        Never fails: what is gone or broken is of kind "none", with the reason.

        Raises:
            NotFoundError: no such video.
        """
        try:
            info, how = self._looked_at(opened, video_id, convert=False)
        except NotFoundError:
            raise
        except VtrError as error:
            reason = error.detail if isinstance(error, VideoError) else error.came_in
            return {
                "url": None,
                "kind": "none",
                "reason": reason,
                "type": None,
                "duration_seconds": None,
            }
        part = {"direct": "file", "none": None}.get(how.kind, "stream")
        at = f"/api/videos/{encoded(video_id)}/{part}?store={encoded(opened.name)}"
        return {
            "url": at if part else None,
            "kind": how.kind,
            "reason": how.reason or None,
            "type": media_type(info),
            "duration_seconds": info.duration_seconds,
        }

    def endpoints(self) -> list[Endpoint]:
        """The file, the stream and the picture of a video."""
        return [
            Endpoint(
                path="/api/videos/{id}/media",
                summary="How a video is played: which address, and why",
                parameters=Video,
                answer=self._how,
                errors=(404, 409),
            ),
            Endpoint(
                path="/api/videos/{id}/file",
                summary="The file of a video, whole or a range of it",
                parameters=Video,
                answer=self._file,
                answers="video/*",
                errors=(404, 409, 416),
            ),
            Endpoint(
                path="/api/videos/{id}/stream",
                summary="A video as browsers play it, from a time on",
                parameters=Streamed,
                answer=self._stream,
                answers="video/*",
                errors=(404, 409, 503),
            ),
            Endpoint(
                path="/api/videos/{id}/thumbnail",
                summary="The picture of a moment",
                parameters=Pictured,
                answer=self._thumbnail,
                answers="image/jpeg",
                errors=(404, 409, 503),
            ),
        ]

    async def _how(self, asked: Video, request: Request) -> dict[str, Any]:
        opened = self._library.store(asked.store)
        found = await to_thread.run_sync(lambda: self.facts(opened, asked.id), limiter=self._probers)
        return {"command": "media", "store": opened.name, **found}

    async def _file(self, asked: Video, request: Request) -> Response:
        opened = self._library.store(asked.store)
        info, _ = await to_thread.run_sync(
            lambda: self._looked_at(opened, asked.id, convert=False), limiter=self._probers
        )
        # Only what is a video goes out: a store that somebody else made may name any file.
        return await to_thread.run_sync(
            lambda: FileBytes(info.path, media_type=media_type(info), expected=check_file(info.path))
        )

    async def _stream(self, asked: Streamed, request: Request) -> Response:
        opened = self._library.store(asked.store)
        info, how = await to_thread.run_sync(
            lambda: self._looked_at(opened, asked.id, convert=asked.convert), limiter=self._probers
        )
        if how.kind == "direct":  # it is asked for as a stream all the same
            how = playback(info, encoders=encoder_names(), convert=True)
        if how.kind == "none":
            raise VideoError("corrupt", how.reason, path=os.fspath(info.path))
        if request.method == "HEAD":
            response = Response(media_type=f"video/{how.container}")
        else:
            response = await self.streams.open(info, how, start_seconds=asked.start)
        # The video's time at the stream's time 0.
        response.headers["X-VTR-Zero-Seconds"] = f"{-STREAM_LEAD_SECONDS:g}"
        response.headers["X-VTR-Kind"] = how.kind
        return response

    async def _thumbnail(self, asked: Pictured, request: Request) -> Response:
        opened = self._library.store(asked.store)
        video, width = opened.video(asked.id), width_for(asked.width)
        key = key_of(opened.catalog, video, asked.t, width)
        is_known = asked.v is not None and asked.v.strip('"') == key
        age = "max-age=31536000, immutable" if is_known else "max-age=600"
        headers = {"ETag": f'"{key}"', "Cache-Control": f"private, {age}"}
        if f'"{key}"' in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        making = self._thumbnails.get(
            opened.catalog, video, asked.t, width, file=lambda: opened.file(asked.id)
        )
        picture = await asyncio.shield(asyncio.wrap_future(making))
        return Response(picture, media_type="image/jpeg", headers=headers)

    def _looked_at(self, opened: OpenedStore, video_id: str, *, convert: bool) -> tuple[VideoInfo, Playback]:
        info = self._probed.info(opened.file(video_id))
        return info, playback(info, encoders=encoder_names(), convert=convert)


class Probed:
    """What files said of themselves, as long as they are the same. Raises what `probe` raises."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[object, ...], VideoInfo] = OrderedDict()
        self._lock = threading.Lock()

    def info(self, path: Path) -> VideoInfo:
        """The header of a file."""
        status = check_file(path)
        key = (path, status.st_size, status.st_mtime_ns, status.st_ino)
        with self._lock:
            if key in self._known:
                self._known.move_to_end(key)
                return self._known[key]
        info = probe(path, timeout_seconds=PROBE_SECONDS)
        with self._lock:
            self._known[key] = info
            while len(self._known) > _NUM_PROBED:
                self._known.popitem(last=False)
        return info


def open_media(
    library: Library, *, thumbnail_megabytes: int | None = None, max_streams: int | None = None
) -> Media:
    """With pictures kept in the user's cache folder, up to a size (0: none; None: `CACHE_BYTES`)."""
    import platformdirs

    folder = platformdirs.user_cache_path("vtr", appauthor=False) / "thumbnails"
    max_bytes = CACHE_BYTES if thumbnail_megabytes is None else thumbnail_megabytes << 20
    return Media(library, thumbnails=Thumbnails(folder, max_bytes=max_bytes), max_streams=max_streams)
