"""What stands before everything that the server answers: who may ask (`access.py`), how much and how long, and what the
browser is told to forbid itself. An ASGI middleware; knows nothing of what is asked.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode

import anyio
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vtrcli.errors import JSON_SCHEMA
from vtrcli.html import Html, join, tag
from vtrcli.serve.access import Access, Refused

# Nothing but the page's own files, and no script or style that stands in the page itself: a name of a video that holds
# HTML would have nothing to run. Pictures that the page makes (data, blob) are its own; nobody may frame it, and no
# string becomes HTML or script (trusted types).
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; "
    "connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
HEADERS = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
}
METHODS = ("GET", "HEAD", "POST")
_PAGE = "/"
# Who may not see the page may not see its style either: this one stands in the refusal, and its hash in the policy.
STYLE = (
    "body{margin:0;padding:8vh 1.25rem;font:1.0625rem/1.55 system-ui,sans-serif;background:light-dark(#fff,#15171a);"
    "color:light-dark(#1b1d21,#e9eaed)}main{max-width:38rem;margin:0 auto}h1{font-size:1.75rem;line-height:1.2;"
    "letter-spacing:-.02em}p{overflow-wrap:anywhere}code{font:.95em ui-monospace,monospace}"
    ".command{padding:.75rem 1rem;border:1px solid light-dark(#d9dce1,#34383f);border-radius:.5rem}"
    ".quiet{font-size:.9375rem;color:light-dark(#5a606a,#a3a9b3)}"
)
_STYLE_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
REFUSAL_POLICY = CONTENT_SECURITY_POLICY.replace("style-src 'self'", f"style-src 'sha256-{_STYLE_HASH}'")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much is taken. Our choice; measured in tests/serve/test_limits.py.

    Attributes:
        body_bytes: of a POST; `body_bytes_at` has other limits for single paths.
        bodies_bytes: of all bodies that are held at once.
        body_seconds: in which a whole body must have come.
        discard_seconds: how long the rest of one that is too large may still come.
        num_at_once: requests at work; one that streams its answer counts until the answer begins.
        num_waiting: further ones that wait for their turn.
        wait_seconds: how long they do.
    """

    body_bytes: int = 1 << 20
    body_bytes_at: Mapping[str, int] = field(default_factory=dict)
    bodies_bytes: int = 64 << 20
    body_seconds: float = 60.0
    discard_seconds: float = 1.0
    num_at_once: int = 64
    num_waiting: int = 1024
    wait_seconds: float = 10.0


class Guard:
    """Puts itself before `app`.

    Args:
        programs: paths that programs POST to without a page before them, so without its secret; what such a path
            answers must change nothing, or ask for more by itself.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        access: Access,
        limits: Limits | None = None,
        programs: frozenset[str] = frozenset(),
    ) -> None:
        self._app, self._access, self._programs = app, access, programs
        self._limits = limits or Limits()
        self._turns = _Turns(self._limits)
        self._held_bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or say why not."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        guarded, turn = _with_headers(send), None
        if scope["type"] != "http":  # a websocket: nothing here speaks it
            await send({"type": "websocket.close", "code": 1008})
            return
        headers = _headers_of(scope)
        try:
            if (place := self._admit(scope, headers)) is not None:
                await _answer(guarded, 303, b"", {"location": place, "set-cookie": self._cookie(scope)})
                return
            async with self._body(scope, headers, receive) as body, self._turns.one(body) as turn:
                if not body.has_left:
                    await self._app(scope, body, _told(guarded, turn))
        except asyncio.CancelledError:  # this server ends, and has waited for its answers long enough
            if turn is None or turn.has_answered:
                raise
            await _refuse(send, _busy("this server is being stopped"), as_page=False)
        except Refused as refused:
            await _refuse(send, refused, as_page=_wants_page(scope, headers))

    def _admit(self, scope: Scope, headers: Mapping[str, str]) -> str | None:
        """Whether it may be answered: None; or where it is sent on, with a cookie. Raises Refused."""
        method, path, access = scope["method"], scope["path"], self._access
        access.check_host(headers.get("host"))
        if method not in METHODS and path not in self._programs:
            raise Refused(
                405,
                f"the method {method[:20]}",
                allowed=", ".join(METHODS),
                to_do="see /api/openapi.json",
                headers={"allow": ", ".join(METHODS)},
            )
        access.check_site(headers, is_visit=method == "GET" and path == _PAGE)
        if (place := self._login(scope)) is not None:
            return place
        if not access.knows(headers, cookie_name=cookie_name(scope)):
            is_link = headers.get("sec-fetch-site", "none") not in ("none", "same-origin")
            raise _without_token(page_again=_address(scope) if is_link else None)
        if method not in ("GET", "HEAD") and path not in self._programs and not access.has_secret(headers):
            raise Refused(
                403,
                f"a {method} without the secret of this session",
                allowed="the page of this server, which knows it, or a program with the token",
                to_do="load the page again; a program sends `Authorization: Bearer TOKEN` (vtr serve --token)",
            )
        return None

    def _login(self, scope: Scope) -> str | None:
        """Where a link with a token leads: the same page without it. Raises Refused for a wrong one."""
        if scope["path"] != _PAGE or scope["method"] != "GET" or b"token=" not in scope["query_string"]:
            return None
        pairs = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        given = [value for name, value in pairs if name == "token"]
        if not given:
            return None
        if self._access.token is not None and not self._access.is_token(given[0]):
            raise _without_token(page_again=None)
        rest = urlencode([pair for pair in pairs if pair[0] != "token"])
        return f"{_PAGE}?{rest}" if rest else _PAGE

    def _cookie(self, scope: Scope) -> str:
        return self._access.cookie(cookie_name(scope))

    @asynccontextmanager
    async def _body(self, scope: Scope, headers: Mapping[str, str], receive: Receive) -> AsyncIterator[_Body]:
        """The whole body, which is let go at the end. Raises Refused for one that is too large or does not come."""
        body = _Body(receive)
        limit = self._limits.body_bytes_at.get(scope["path"], self._limits.body_bytes)
        try:
            if _declared_bytes(headers) > limit:
                if "expect" not in headers:  # who asks before sending need not send
                    await body.discard(self._limits.discard_seconds)
                raise _too_large(limit)
            with anyio.move_on_after(self._limits.body_seconds) as clock:
                while num_bytes := await body.read():
                    self._held_bytes += num_bytes
                    if body.num_bytes > limit:
                        await body.discard(self._limits.discard_seconds)
                        raise _too_large(limit)
                    if self._held_bytes > self._limits.bodies_bytes:
                        raise _busy("more bodies at once than there is room for")
            if clock.cancelled_caught:
                raise Refused(
                    408,
                    f"a body of which only {body.num_bytes:,} bytes came",
                    allowed=f"a whole body within {self._limits.body_seconds:g} s",
                    to_do="send it again",
                    headers={"connection": "close"},
                )
            yield body
        finally:
            self._held_bytes -= body.num_bytes


class _Body:
    """A request's body, read before the app is called, and then given to it as if it came only now."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._chunks: list[bytes] = []
        self._is_whole = self._is_given = False
        self.num_bytes = 0
        self.has_left = False

    async def read(self) -> int:
        """Wait for the next part and keep it; its bytes, 0 after the last, or when the client leaves."""
        while not self._is_whole:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self.has_left = self._is_whole = True
                break
            self._is_whole = not message.get("more_body", False)
            if chunk := message.get("body", b""):
                self._chunks.append(chunk)
                self.num_bytes += len(chunk)
                return len(chunk)
        return 0

    async def discard(self, seconds: float) -> None:
        """Let the rest come, and go: who is cut off while sending may never see the answer."""
        with anyio.move_on_after(seconds):
            while not self._is_whole:
                await anyio.sleep(0)  # time passes even when there is always more
                message = await self._receive()
                self._is_whole = message["type"] == "http.disconnect" or not message.get("more_body", False)

    async def __call__(self) -> Message:
        """What the app receives."""
        if self.has_left:
            return {"type": "http.disconnect"}
        if not self._is_given:
            self._is_given = True
            body, self._chunks = b"".join(self._chunks), []
            return {"type": "http.request", "body": body, "more_body": False}
        return await self._receive()

    async def check_presence(self) -> None:
        """Look whether the client is still there. After its body only its leaving can come."""
        with anyio.move_on_after(0):
            self.has_left = self.has_left or (await self._receive())["type"] == "http.disconnect"


class _Turns:
    """So many requests are at work at once; others wait their turn, and go when it takes too long."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._free = anyio.Semaphore(limits.num_at_once)
        self._num_waiting = 0

    @asynccontextmanager
    async def one(self, body: _Body) -> AsyncIterator[_Turn]:
        """A turn, which ends here or with `_Turn.end`. Raises Refused."""
        has_waited = await self._wait()
        turn = _Turn(self._free)
        try:
            if has_waited:
                await body.check_presence()
            yield turn
        finally:
            turn.end()

    async def _wait(self) -> bool:
        try:
            self._free.acquire_nowait()
            return False
        except anyio.WouldBlock:
            pass
        if self._num_waiting >= self._limits.num_waiting:
            raise _busy(f"{self._num_waiting:,} requests wait already")
        self._num_waiting += 1
        try:
            with anyio.move_on_after(self._limits.wait_seconds) as clock:
                await self._free.acquire()
        finally:
            self._num_waiting -= 1
        if clock.cancelled_caught:
            raise _busy(
                f"{self._limits.num_at_once} requests were at work for {self._limits.wait_seconds:g} s"
            )
        return True


class _Turn:
    has_answered = False

    def __init__(self, free: anyio.Semaphore) -> None:
        self._free: anyio.Semaphore | None = free

    def end(self) -> None:
        """Let the next one work. More than once is once."""
        if self._free is not None:
            self._free.release()
            self._free = None


def cookie_name(scope: Scope) -> str:
    """Cookies know no ports: two servers of one machine must not take each other's."""
    return f"vtr_{(scope.get('server') or ('', 0))[1] or 0}"


def _headers_of(scope: Scope) -> dict[str, str]:
    """By name in small letters. One that comes twice is joined, and then is no Host and no token."""
    found: dict[str, str] = {}
    for name, value in scope["headers"]:
        key = name.decode("latin-1").lower()
        found[key] = f"{found[key]}, {value.decode('latin-1')}" if key in found else value.decode("latin-1")
    return found


def _wants_page(scope: Scope, headers: Mapping[str, str]) -> bool:
    return not scope["path"].startswith("/api/") and "text/html" in headers.get("accept", "")


def _with_headers(send: Send, *, policy: str | None = None) -> Send:
    """Adds what the browser must be told to every answer, and takes away what would let other origins read it."""

    async def guarded(message: Message) -> None:
        if message["type"] == "http.response.start":
            given = [
                (name.lower(), value)
                for name, value in message.get("headers", ())
                if not name.lower().startswith(b"access-control-") and name.lower().decode() not in HEADERS
            ]
            if not any(name == b"cache-control" for name, _ in given):
                given.append((b"cache-control", b"no-store"))
            own = HEADERS if policy is None else {**HEADERS, "content-security-policy": policy}
            given += [(name.encode(), value.encode()) for name, value in own.items()]
            message = {**message, "headers": given}
        await send(message)

    return guarded


def _told(send: Send, turn: _Turn) -> Send:
    """Ends the turn when the answer begins: who reads slowly, or watches, takes nobody's place."""

    async def told(message: Message) -> None:
        if message["type"] == "http.response.start":
            turn.has_answered = True
            turn.end()
        await send(message)

    return told


async def _refuse(send: Send, refused: Refused, *, as_page: bool) -> None:
    if as_page:
        body, kind = _page(refused).encode("utf-8", "replace"), "text/html; charset=utf-8"
        guarded = _with_headers(send, policy=REFUSAL_POLICY)
    else:
        guarded = _with_headers(send)
        parts = {"came_in": refused.came_in, "allowed": refused.allowed, "to_do": refused.to_do}
        body, kind = json.dumps({"schema": JSON_SCHEMA, "error": parts}).encode(), "application/json"
    await _answer(guarded, refused.status, body, {"content-type": kind, **refused.headers})


def _page(refused: Refused) -> str:
    """What a person sees who may not see the page."""
    if refused.status == 401:
        title = "This page needs its link"
        text: list[Html] = [
            tag(
                "p",
                "Only who has its token may search here. ",
                tag("code", "vtr serve"),
                " prints a link that holds it when it starts:",
            ),
            tag("p", tag("code", "http://…/?token=…"), class_="command"),
            tag(
                "p",
                "Open that link once in this browser, which remembers it from then on. On another device, copy the "
                "link to it, or ask who started the server.",
            ),
            tag(
                "p",
                "The token is another one each time the server starts, unless ",
                tag("code", "VTR_SERVE_TOKEN"),
                " sets it. A program sends it as ",
                tag("code", "Authorization: Bearer TOKEN"),
                ".",
                class_="quiet",
            ),
        ]
    else:
        title = refused.came_in[:1].upper() + refused.came_in[1:]
        text = [tag("p", "Allowed: ", refused.allowed), tag("p", "What to do: ", refused.to_do)]
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", "vtr"),
        tag("style", Html(STYLE)),
    )
    body = tag("body", tag("main", tag("h1", title), *text))
    return join([Html("<!DOCTYPE html>"), tag("html", head, body, lang="en")])


async def _answer(send: Send, status: int, body: bytes, headers: Mapping[str, str]) -> None:
    given: dict[str, Any] = {"content-length": str(len(body)), **headers}
    raw = [(name.encode(), value.encode("latin-1", "replace")) for name, value in given.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def _too_large(limit: int) -> Refused:
    return Refused(
        413,
        f"a body of more than {limit:,} bytes",
        allowed=f"up to {limit:,} bytes",
        to_do="send less; a picture can be made smaller",
        headers={"connection": "close"},
    )


def _busy(came_in: str) -> Refused:
    return Refused(
        503,
        came_in,
        allowed="as many requests as can be answered within seconds",
        to_do="try again in a moment",
        headers={"retry-after": "2", "connection": "close"},
    )


def _without_token(*, page_again: str | None) -> Refused:
    # The browser keeps the cookie to itself when the page is opened by a link on another site (SameSite=Strict), and
    # sends it when our own answer then opens the page anew.
    again = {} if page_again is None else {"refresh": f"0; url={page_again}"}
    return Refused(
        401,
        "a request without the token of this server",
        allowed="its link with the token, which vtr serve prints, or a program's `Authorization: Bearer TOKEN`",
        to_do="open that link once; the browser remembers it",
        headers={"www-authenticate": "Bearer", **again},
    )


def _address(scope: Scope) -> str:
    query = scope["query_string"].decode("latin-1")
    return f"{_PAGE}?{query}" if query else _PAGE


def _declared_bytes(headers: Mapping[str, str]) -> int:
    declared = headers.get("content-length", "0")
    return int(declared) if declared.isascii() and declared.isdigit() else 0
