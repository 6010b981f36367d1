"""Streams made for viewers: so many children at once, each ended when its viewer leaves or no longer takes anything."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from functools import partial

import anyio
from anyio import to_thread
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from vtrcli.errors import BusyError
from vtrcli.video.files import VideoInfo
from vtrcli.video.playback import Kind, Playback, Stream, open_stream

# A request waits so long for its turn before it is told to come again.
WAIT_SECONDS, RETRY_SECONDS = 3.0, 2
# A viewer who takes nothing for this long gives way to one who waits, and for the second time to nobody in particular:
# the page has what it needs for a while and asks again.
YIELD_SECONDS, IDLE_SECONDS = 10.0, 120.0
_LOOK_SECONDS = 0.1


class Streams:
    """The running streams.

    Args:
        limits: how many at once per kind; repacking costs next to nothing, encoding about a core each.
    """

    def __init__(self, limits: dict[Kind, int]) -> None:
        self._limits = limits
        self._running: dict[Kind, list[StreamResponse]] = {kind: [] for kind in limits}
        self._starting: dict[Kind, int] = dict.fromkeys(limits, 0)
        # Threads that wait for ffmpeg; a server's own are for what answers at once.
        self._threads = anyio.CapacityLimiter(2 * sum(limits.values()))

    @property
    def num_running(self) -> int:
        """How many streams there are."""
        return sum(map(len, self._running.values())) + sum(self._starting.values())

    async def open(self, info: VideoInfo, how: Playback, *, start_seconds: float) -> StreamResponse:
        """A stream of a video from a time on.

        Raises:
            BusyError: there are as many as may be, and nobody gave way.
            VideoError, InputError: as `open_stream`.
        """
        await self._turn(how.kind)
        self._starting[how.kind] += 1
        try:
            start = partial(open_stream, info, how, start_seconds=start_seconds)
            stream = await to_thread.run_sync(start, limiter=self._threads)
        finally:
            self._starting[how.kind] -= 1
        running = self._running[how.kind]
        response = StreamResponse(
            stream,
            read=partial(to_thread.run_sync, stream.read, limiter=self._threads),
            on_end=running.remove,
        )
        running.append(response)
        return response

    async def _turn(self, kind: Kind) -> None:
        since = time.monotonic()
        while len(self._running[kind]) + self._starting[kind] >= self._limits[kind]:
            idle = max(self._running[kind], key=lambda each: each.idle_seconds, default=None)
            if idle is not None and idle.idle_seconds > YIELD_SECONDS:
                idle.end()
            elif time.monotonic() - since > WAIT_SECONDS:
                raise BusyError(
                    "too many videos are being converted",
                    allowed=f"{self._limits[kind]} at once",
                    to_do="try again in a moment",
                    retry_after_seconds=RETRY_SECONDS,
                )
            await anyio.sleep(_LOOK_SECONDS)


class StreamResponse(Response):
    """Hands a stream on as it is made; ends it with the connection."""

    def __init__(
        self,
        stream: Stream,
        *,
        read: Callable[[], Awaitable[bytes]],
        on_end: Callable[[StreamResponse], None],
    ) -> None:
        self.status_code, self.background, self.body = 200, None, b""
        self._stream, self._read, self._on_end = stream, read, on_end
        self._scope = anyio.CancelScope()
        self._sending_since: float | None = None
        self.init_headers({"content-type": stream.media_type, "cache-control": "no-store"})
        del self.headers["content-length"]

    @property
    def idle_seconds(self) -> float:
        """How long its viewer has taken nothing."""
        return 0.0 if self._sending_since is None else time.monotonic() - self._sending_since

    def end(self) -> None:
        """Break it off: the viewer sees an answer without an end."""
        self._stream.kill()
        self._scope.cancel()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer; see `Response`."""
        try:
            with self._scope:
                async with anyio.create_task_group() as group:
                    group.start_soon(self._until_left, receive)
                    await self._send_all(send)
                    group.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                await to_thread.run_sync(self._stream.close)
                self._on_end(self)

    async def _until_left(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self.end()

    async def _send_all(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        while piece := await self._read():
            self._sending_since = time.monotonic()
            with anyio.move_on_after(IDLE_SECONDS) as patience:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            if patience.cancelled_caught:
                return
            self._sending_since = None
        if await to_thread.run_sync(self._stream.is_whole):
            await send({"type": "http.response.body", "body": b""})
