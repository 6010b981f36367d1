"""Connections that end: uvicorn's HTTP/1.1 with limits where it has none. It waits for ever for the head of a request,
and for a client that no longer reads; and it says no in words of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import sys
from http import HTTPStatus
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from vtrcli.errors import JSON_SCHEMA
from vtrcli.serve.guard import HEADERS

MAX_HEAD_BYTES = 64 << 10
MAX_CONNECTIONS = 1024
# A browser opens connections before it needs them, and opens others when these are gone.
HEAD_SECONDS = 10.0
# A paused video is not read either: when it goes on, the browser asks for the rest (a range).
STALL_SECONDS = 60.0
_LOOK_SECONDS = 2.0
_LINGER_SECONDS = 1.0


class Connection(H11Protocol):
    """One connection, looked at every few seconds."""

    head_seconds = HEAD_SECONDS
    stall_seconds = STALL_SECONDS
    look_seconds = _LOOK_SECONDS
    max_connections = MAX_CONNECTIONS
    _look: asyncio.TimerHandle | None = None
    _answered: object = None
    _is_refused = False
    _idle_since = _stalled_since = 0.0
    _unsent_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Refuses those that are too many."""
        super().connection_made(transport)
        if len(self.connections) > 2 * self.max_connections:
            transport.abort()
            return
        if len(self.connections) > self.max_connections:
            self._refuse(503, f"{self.max_connections:,} connections are open already", "fewer at once")
            return
        self._idle_since = self._stalled_since = self.loop.time()
        self._look = self.loop.call_later(self.look_seconds, self._look_after)

    def connection_lost(self, exc: Exception | None) -> None:
        """Looks no more."""
        if self._look is not None:
            self._look.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Who was refused is not listened to."""
        if not self._is_refused:
            super().data_received(data)

    def resume_writing(self) -> None:
        """The client has read on."""
        self._stalled_since = self.loop.time()
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """What is no request, or has too long a head. In place of uvicorn's own words."""
        if self.conn.trailing_data[0] and len(self.conn.trailing_data[0]) > MAX_HEAD_BYTES:
            allowed = f"up to {MAX_HEAD_BYTES:,} bytes; a long query goes into the body of POST /api/search"
            self._refuse(431, "an address and headers that are too long", allowed)
        else:
            self._refuse(400, "what is no HTTP request", "HTTP/1.1")

    def _look_after(self) -> None:
        now = self.loop.time()
        if self.transport.is_closing() and not self.transport.get_write_buffer_size():
            return
        unsent_bytes = self.transport.get_write_buffer_size()
        is_idle = not unsent_bytes and (self.cycle is None or self.cycle.response_complete)
        if not is_idle or self._answered is not self.cycle:
            self._idle_since, self._answered = now, self.cycle
        if not unsent_bytes or unsent_bytes != self._unsent_bytes:
            self._stalled_since = now
        self._unsent_bytes = unsent_bytes
        if now - self._stalled_since > self.stall_seconds or now - self._idle_since > self.head_seconds:
            self.transport.abort()  # closing would wait for what was not read to be read
            return
        self._look = self.loop.call_later(self.look_seconds, self._look_after)

    def _refuse(self, status: int, came_in: str, allowed: str) -> None:
        parts = {"came_in": came_in, "allowed": allowed, "to_do": "try again"}
        body = json.dumps({"schema": JSON_SCHEMA, "error": parts}).encode()
        headers = {**HEADERS, "content-type": "application/json", "content-length": str(len(body))}
        headers |= {"connection": "close", "cache-control": "no-store"}
        headers |= {"retry-after": "2"} if status == 503 else {}
        head = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", *(f"{k}: {v}" for k, v in headers.items())]
        self._is_refused = True
        self.transport.write("\r\n".join([*head, "", ""]).encode() + body)
        # Closed at once, with something unread, it would be reset, and the answer lost.
        self.transport.write_eof()
        self.loop.call_later(_LINGER_SECONDS, self.transport.abort)


def allow_connections() -> None:
    """Let this process have as many connections open as it answers, and files beside them, where the system lets it."""
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4 * MAX_CONNECTIONS if hard == resource.RLIM_INFINITY else min(4 * MAX_CONNECTIONS, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def server_config(app: Any, **given: Any) -> uvicorn.Config:
    """How uvicorn runs `app`: nothing of a proxy believed, no log of addresses (a token may stand in one), and an end
    even when a video is playing. `given` goes to uvicorn.
    """
    settings: dict[str, Any] = {
        "http": Connection,
        "ws": "none",
        "access_log": False,
        "server_header": False,
        "proxy_headers": False,
        "h11_max_incomplete_event_size": MAX_HEAD_BYTES,
        "timeout_graceful_shutdown": 3,
        "log_level": "warning",
    }
    config = uvicorn.Config(app, **(settings | given))
    logging.getLogger("uvicorn.error").addFilter(_is_news)
    return config


def _is_news(record: logging.LogRecord) -> bool:
    """Not what was under way when the user ended the server: uvicorn takes it for a fault, with a traceback each."""
    return not record.getMessage().startswith("Cancel ") and not (
        record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError)
    )
