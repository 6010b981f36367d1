"""What comes before every answer, with an application behind it that answers everything."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import anyio
import pytest

from tests.serve.asking import Answer, ask
from vtrcli.serve.access import Access, access_at
from vtrcli.serve.guard import HEADERS, Guard, Limits

TOKEN = "0123456789abcdef-token"


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Answers with what came, and with headers that it should not send."""
    body = (await receive())["body"]
    headers = [
        (b"Content-Type", b"text/plain"),
        (b"Access-Control-Allow-Origin", b"*"),
        (b"X-Frame-Options", b"ALLOWALL"),
        (b"Referrer-Policy", b"unsafe-url"),
    ]
    if scope["path"] == "/cached":
        headers.append((b"cache-control", b"private, max-age=60"))
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": scope["method"].encode() + b" " + body})


def guarded(access: Access | None = None, limits: Limits | None = None, **given: Any) -> Guard:
    return Guard(echo, access=access or access_at("127.0.0.1"), limits=limits, **given)


def test_every_answer_tells_the_browser_what_to_forbid_itself() -> None:
    app = guarded()
    answers = [ask(app, "/"), ask(app, "/", headers={"host": "evil.example"}), ask(app, "/", method="PUT")]
    for answer in answers:
        assert HEADERS.items() <= answer.headers.items()
        assert answer.headers["cache-control"] == "no-store"
        assert not [name for name in answer.headers if name.startswith("access-control-")]
    assert ask(app, "/cached").headers["cache-control"] == "private, max-age=60"
    policy = HEADERS["content-security-policy"]
    assert "unsafe" not in policy and "default-src 'none'" in policy and "frame-ancestors 'none'" in policy


@pytest.mark.parametrize("method", ["OPTIONS", "PUT", "DELETE", "PATCH", "TRACE", "CONNECT", "X" * 100])
def test_other_methods_are_refused_and_no_origin_is_ever_let_in(method: str) -> None:
    headers = {"origin": "http://localhost:8000", "access-control-request-method": "POST"}
    answer = ask(guarded(), "/api/search", method=method, headers=headers)
    assert answer.status == 405 and answer.headers["allow"] == "GET, HEAD, POST"
    assert answer.error["came_in"] == f"the method {method[:20]}"
    assert not [name for name in answer.headers if name.startswith("access-control-")]


def test_a_refusal_has_three_parts_and_is_a_page_for_who_looks_at_one() -> None:
    answer = ask(guarded(), "/api/health", headers={"host": "<b>evil"})
    assert answer.status == 403 and answer.headers["content-type"] == "application/json"
    assert answer.error == {
        "came_in": "a request for the host '<b>evil'",
        "allowed": "localhost, 127.0.0.1",
        "to_do": "open the address that vtr serve printed, or start it with --allow-host NAME",
    }
    page = ask(guarded(), "/", headers={"host": "<b>evil", "accept": "text/html,*/*"})
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert b"&lt;b&gt;evil" in page.body and b"<b>" not in page.body
    # Its style stands in the page, and the policy allows that one by its hash and no other.
    style = page.body.partition(b"<style>")[2].partition(b"</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style).digest()).decode()
    assert f"style-src 'sha256-{digest}';" in page.headers["content-security-policy"]
    assert b"<script" not in page.body and b"src=" not in page.body and b"href=" not in page.body


def test_who_comes_without_the_token_reads_where_the_link_is() -> None:
    app = guarded(access_at("0.0.0.0", token=TOKEN))
    page = ask(app, "/", headers={"accept": "text/html"})
    assert page.status == 401 and TOKEN.encode() not in page.body
    assert (
        b"This page needs its link" in page.body and b"http://\xe2\x80\xa6/?token=\xe2\x80\xa6" in page.body
    )


def test_a_header_that_comes_twice_is_neither_of_the_two() -> None:
    async def run() -> int:
        found = []
        scope = {
            "type": "http", "method": "GET", "path": "/", "query_string": b"", "server": ("127.0.0.1", 1),
            "headers": [(b"host", b"localhost"), (b"host", b"evil.example")],
        }  # fmt: skip

        async def send(message: Any) -> None:
            found.append(message)

        await guarded()(scope, lambda: anyio.sleep_forever(), send)  # type: ignore[arg-type]
        return int(found[0]["status"])

    assert anyio.run(run) == 403


def posted(app: Guard, headers: dict[str, str], *, path: str = "/api/export", body: bytes = b"x") -> Answer:
    return ask(app, path, method="POST", headers=headers, body=body)


def test_nothing_is_posted_without_the_secret_of_the_session() -> None:
    access = access_at("127.0.0.1")
    app = guarded(access)
    for headers in (
        {},
        {"x-vtr-secret": "wrong"},
        {"x-vtr-secret": Access().secret},
        {"authorization": "Bearer x"},
    ):
        answer = posted(app, headers)
        assert answer.status == 403
    assert answer.error["came_in"] == "a POST without the secret of this session"
    assert posted(app, {"x-vtr-secret": access.secret}).body == b"POST x"
    # Not even with it from another page, which would have had to read it.
    assert posted(app, {"x-vtr-secret": access.secret, "origin": "http://evil.example"}).status == 403


def test_programs_post_with_the_token_and_to_their_own_addresses_without() -> None:
    app = guarded(access_at("127.0.0.1", token=TOKEN), programs=frozenset({"/mcp"}))
    bearer = {"authorization": f"Bearer {TOKEN}"}
    assert posted(app, bearer).status == 200
    assert posted(app, {}).status == 401
    assert posted(app, {}, path="/mcp").status == 401
    app = guarded(programs=frozenset({"/mcp"}))
    assert posted(app, {}, path="/mcp").status == 200
    assert posted(app, {"origin": "http://evil.example"}, path="/mcp").status == 403
    assert ask(app, "/mcp", method="DELETE").status == 200


def test_elsewhere_than_on_the_loopback_everything_needs_the_token() -> None:
    app = guarded(access_at("0.0.0.0", token=TOKEN))
    for path in ("/", "/page/style.css", "/api/health", "/api/search?q=x&token=" + TOKEN):
        answer = ask(app, path)
        assert answer.status == 401, path
        assert answer.headers["www-authenticate"] == "Bearer"
        assert TOKEN.encode() not in answer.body
    assert ask(app, "/api/health", headers={"authorization": f"Bearer {TOKEN}"}).status == 200


def test_the_link_is_changed_into_a_strict_cookie_and_goes_from_the_address() -> None:
    app = guarded(access_at("0.0.0.0", token=TOKEN))
    answer = ask(app, f"/?q=a+dog&token={TOKEN}&store=%C3%A4")
    assert answer.status == 303 and answer.headers["location"] == "/?q=a+dog&store=%C3%A4"
    cookie, *rest = answer.headers["set-cookie"].split("; ")
    assert sorted(rest) == ["HttpOnly", "Path=/", "SameSite=Strict"]
    assert TOKEN not in answer.headers["set-cookie"] and answer.headers["cache-control"] == "no-store"
    assert ask(app, "/api/health", headers={"cookie": cookie}).status == 200
    # The cookie alone lets nobody write: any page could make the browser send it, were it not strict.
    assert posted(app, {"cookie": cookie}).status == 403
    for wrong in ("", "x", TOKEN[:-1], TOKEN + "x"):
        refused = ask(app, f"/?token={wrong}")
        assert refused.status == 401 and "set-cookie" not in refused.headers
    # Two servers of one machine do not take each other's cookie.
    assert ask(app, "/", headers={"cookie": cookie}, server=("127.0.0.1", 8001)).status == 401


def test_a_link_from_another_site_opens_the_page_anew_so_that_the_strict_cookie_comes_along() -> None:
    app = guarded(access_at("0.0.0.0", token=TOKEN))
    link = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "accept": "text/html"}
    answer = ask(app, "/?q=%22%3Ba", headers=link)
    assert answer.status == 401 and answer.headers["refresh"] == "0; url=/?q=%22%3Ba"
    again = ask(app, "/?q=x", headers={**link, "sec-fetch-site": "same-origin"})
    assert again.status == 401 and "refresh" not in again.headers


def test_without_a_token_a_link_with_one_leads_to_the_page() -> None:
    answer = ask(guarded(), "/?token=whatever")
    assert answer.status == 303 and answer.headers["location"] == "/"
    assert ask(guarded(), "/?page_token=x").status == 200


class Client:
    """A client that sends its body in parts, and sees when each was taken."""

    def __init__(self, parts: list[bytes], *, then: str = "end", declared: int | None = None) -> None:
        self.parts, self.then, self.taken_bytes = list(parts), then, 0
        self.status, self.body = 0, b""
        self._declared = declared

    async def asks(
        self, app: Guard, access: Access, *, path: str = "/api/export", method: str = "POST"
    ) -> Client:
        headers = [(b"host", b"localhost"), (b"x-vtr-secret", access.secret.encode())]
        if self._declared is not None:
            headers.append((b"content-length", str(self._declared).encode()))
        scope = {"type": "http", "method": method, "path": path, "query_string": b"", "headers": headers}
        await app({**scope, "server": ("127.0.0.1", 1)}, self._receive, self._send)
        return self

    async def _receive(self) -> Any:
        if self.parts:
            part = self.parts.pop(0)
            self.taken_bytes += len(part)
            return {"type": "http.request", "body": part, "more_body": bool(self.parts) or self.then != "end"}
        if self.then == "leaves":
            return {"type": "http.disconnect"}
        await anyio.sleep_forever()

    async def _send(self, message: Any) -> None:
        self.status = message.get("status", self.status)
        self.body += message.get("body", b"")


def run(access: Access, limits: Limits, *clients: Client, path: str = "/api/export") -> None:
    app = Guard(echo, access=access, limits=limits)

    async def all_of_them() -> None:
        async with anyio.create_task_group() as group:
            for client in clients:
                group.start_soon(lambda client=client: client.asks(app, access, path=path))

    anyio.run(all_of_them)
    assert app._held_bytes == 0


def test_a_body_is_cut_off_as_soon_as_it_is_too_large() -> None:
    access = Access()
    limits = Limits(body_bytes=1000, body_bytes_at={"/api/images": 5000}, discard_seconds=0.01)
    fits = Client([b"x" * 500] * 2)
    run(access, limits, fits)
    assert fits.status == 200 and fits.body == b"POST " + b"x" * 1000
    long = Client([b"x" * 600] * 2)
    run(access, limits, long)
    assert long.status == 413 and b"up to 1,000 bytes" in long.body
    said = Client([], then="stalls", declared=1001)
    run(access, limits, said)
    assert said.status == 413
    picture = Client([b"x" * 4000])
    run(access, limits, picture, path="/api/images")
    assert picture.status == 200


def test_an_endless_body_is_not_read_to_its_end() -> None:
    endless = Client([b"x" * 1000] * 100_000)
    run(Access(), Limits(body_bytes=10_000, discard_seconds=0), endless)
    assert endless.status == 413 and 10_000 < endless.taken_bytes < 50_000


def test_a_half_sent_body_is_waited_for_so_long() -> None:
    half = Client([b"half"], then="stalls")
    run(Access(), Limits(body_seconds=0.05), half)
    assert half.status == 408
    assert b"a body of which only 4 bytes came" in half.body


def test_bodies_together_have_a_limit() -> None:
    clients = [Client([b"x" * 900], then="stalls") for _ in range(4)]
    run(Access(), Limits(bodies_bytes=2000, body_seconds=0.05), *clients)
    assert sorted(client.status for client in clients) == [408, 408, 503, 503]


def test_who_leaves_while_sending_is_not_waited_for() -> None:
    gone = Client([b"half"], then="leaves")
    run(Access(), Limits(), gone)


class Slow:
    """An application whose answers are let go by the test."""

    def __init__(self) -> None:
        self.num_at_work = self.most_at_work = self.num_called = 0
        self.go = anyio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.num_called += 1
        self.num_at_work += 1
        self.most_at_work = max(self.most_at_work, self.num_at_work)
        if scope["path"] == "/stream":
            await send({"type": "http.response.start", "status": 200, "headers": []})
        await self.go.wait()
        self.num_at_work -= 1
        if scope["path"] != "/stream":
            await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"done"})


def crowd(
    limits: Limits,
    num_clients: int,
    *,
    path: str = "/",
    then: str = "end",
    release_after: float | None = 0.05,
) -> tuple[Slow, list[Client]]:
    """So many clients at once; what was at work goes on after `release_after` seconds."""
    access = Access()
    clients = [Client([b""], then=then) for _ in range(num_clients)]

    async def all_of_them() -> Slow:
        slow = Slow()
        app = Guard(slow, access=access, limits=limits)
        async with anyio.create_task_group() as group:
            for client in clients:
                group.start_soon(lambda client=client: client.asks(app, access, path=path, method="GET"))
            if release_after is not None:
                await anyio.sleep(release_after)
                slow.go.set()
        return slow

    return anyio.run(all_of_them), clients


@pytest.mark.slow
def test_a_thousand_at_once_are_answered_a_few_at_a_time() -> None:
    slow, clients = crowd(Limits(num_at_once=8), 1000)
    assert {client.status for client in clients} == {200} and slow.most_at_work <= 8


def test_what_is_too_much_is_told_to_come_again() -> None:
    _, clients = crowd(Limits(num_at_once=2, num_waiting=3), 10)
    assert sorted(client.status for client in clients) == [200] * 5 + [503] * 5
    _, clients = crowd(Limits(num_at_once=2, wait_seconds=0.02), 5)
    assert sorted(client.status for client in clients) == [200] * 2 + [503] * 3
    assert b"try again in a moment" in next(client.body for client in clients if client.status == 503)


def test_an_answer_that_streams_takes_no_place() -> None:
    slow, clients = crowd(Limits(num_at_once=2, num_waiting=0), 10, path="/stream")
    assert {client.status for client in clients} == {200} and slow.most_at_work == 10


def test_a_websocket_is_closed() -> None:
    sent: list[Any] = []

    async def run() -> None:
        async def send(message: Any) -> None:
            sent.append(message)

        await guarded()({"type": "websocket", "path": "/"}, lambda: anyio.sleep_forever(), send)  # type: ignore[arg-type]

    anyio.run(run)
    assert [message["type"] for message in sent] == ["websocket.close"]
