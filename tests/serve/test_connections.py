"""Clients that send or read slowly, or are too many, over real sockets; and that plain uvicorn would wait for them."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
from uvicorn.protocols.http.h11_impl import H11Protocol

from tests.serve.asking import Answer, answered, connected, head, served
from vtrcli.serve.access import access_at
from vtrcli.serve.connections import Connection, server_config
from vtrcli.serve.guard import HEADERS, Guard


class Hurried(Connection):
    """The same within fractions of a second, and for three connections."""

    head_seconds = 0.3
    stall_seconds = 0.3
    look_seconds = 0.05
    max_connections = 3


class App:
    """`/` says so, `/big` never ends, `/think` takes a while, and `/half` does so in the middle."""

    def __init__(self) -> None:
        self.num_sent = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/think":
            await asyncio.sleep(0.8)
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [(b"content-length", b"2")] * (scope["path"] != "/big"),
            }
        )
        if scope["path"] == "/half":
            await send({"type": "http.response.body", "body": b"o", "more_body": True})
            await asyncio.sleep(0.8)
        if scope["path"] != "/big":
            await send({"type": "http.response.body", "body": b"ok"})
            return
        watch = asyncio.create_task(self._watch(receive))
        while not watch.done():
            await send({"type": "http.response.body", "body": bytes(1 << 16), "more_body": True})
            self.num_sent += 1
            await asyncio.sleep(0)

    async def _watch(self, receive: Any) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass


@contextlib.contextmanager
def running(protocol: type) -> Iterator[tuple[int, App]]:
    app = App()
    with served(server_config(app, http=protocol, lifespan="off")) as port:
        yield port, app


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with running(Hurried) as (port, _):
        yield port


def is_ended(client: socket.socket, *, within_seconds: float) -> bool:
    """Whether the server closes the connection."""
    client.settimeout(within_seconds)
    try:
        while client.recv(1 << 20):
            pass
    except TimeoutError:
        return False
    except OSError:
        return True
    return True


BEGINNINGS = {
    "nothing": b"",
    "half a head": b"GET / HTTP/1.1\r\nHost: local",
    "a head without its end": b"GET / HTTP/1.1\r\n",
}


@pytest.mark.parametrize("sent", BEGINNINGS.values(), ids=BEGINNINGS)
def test_who_does_not_say_what_he_wants_is_not_waited_for(port: int, sent: bytes) -> None:
    with connected(port) as client:
        client.sendall(sent)
        assert is_ended(client, within_seconds=5)


@pytest.mark.slow
def test_a_head_that_comes_a_byte_at_a_time_is_not_waited_for(port: int) -> None:
    with connected(port) as client, pytest.raises(OSError):
        for byte in head(port, "/" + "a" * 200):
            client.sendall(bytes([byte]))
            time.sleep(0.02)


@pytest.mark.slow
def test_a_connection_that_is_used_stays_and_one_that_thinks_too(port: int) -> None:
    with connected(port) as client:
        for _ in range(4):
            client.sendall(head(port))
            assert answered(client).body == b"ok"
            time.sleep(0.15)
        client.sendall(head(port, "/think"))
        assert answered(client).body == b"ok"


@pytest.mark.slow
def test_who_does_not_read_is_left_and_the_answer_ends() -> None:
    with running(Hurried) as (port, app), connected(port, receive_bytes=4096) as client:
        client.sendall(head(port, "/big"))
        client.recv(10)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            before = app.num_sent
            time.sleep(0.6)
            if app.num_sent == before and is_reset(client):
                break
        else:
            raise AssertionError("it is still waited for")


def is_reset(client: socket.socket) -> bool:
    """Whether the other end is gone: what was on the way is read first."""
    return is_ended(client, within_seconds=0.3)


@pytest.mark.slow
def test_who_reads_a_little_is_served_on() -> None:
    with running(Hurried) as (port, app), connected(port) as client:
        client.sendall(head(port, "/big"))
        for _ in range(8):
            assert len(client.recv(1 << 20)) > 0
            time.sleep(0.15)
        sent = app.num_sent
        for _ in range(50):
            client.recv(1 << 20)
        assert app.num_sent > sent


@pytest.mark.slow
def test_more_connections_than_there_is_room_for_are_told_so(port: int) -> None:
    time.sleep(0.5)  # those of other tests are gone
    with contextlib.ExitStack() as stack:
        first = [stack.enter_context(connected(port)) for _ in range(3)]
        for client in first:
            client.sendall(head(port))
            assert answered(client).status == 200
        late = stack.enter_context(connected(port))
        late.sendall(head(port))
        answer = answered(late)
        assert answer.status == 503 and answer.headers["retry-after"] == "2"
        assert answer.error == {
            "came_in": "3 connections are open already",
            "allowed": "fewer at once",
            "to_do": "try again",
        }
        assert is_ended(late, within_seconds=5)
    time.sleep(0.2)
    with connected(port) as client:
        client.sendall(head(port))
        assert answered(client).status == 200


def said(port: int, sent: bytes) -> Answer:
    with connected(port) as client:
        client.sendall(sent)
        return answered(client)


def test_a_head_that_is_too_long_is_refused_in_three_parts(port: int) -> None:
    assert said(port, head(port, "/?q=" + "a" * 40_000)).status == 200
    for sent in (head(port, "/?q=" + "a" * 400_000), head(port, "/", x_long="a" * 400_000)):
        answer = said(port, sent)
        assert answer.status == 431
        assert (
            answer.error["allowed"]
            == "up to 65,536 bytes; a long query goes into the body of POST /api/search"
        )
        assert HEADERS.items() <= answer.headers.items()


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\0\1\0\1\xfc\3\3" + bytes(100),  # TLS
        b"HELO mail\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",  # no Host
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: cow\r\n\r\n",
        b"GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n",
    ],
)
def test_what_is_no_request_is_told_so(port: int, sent: bytes) -> None:
    answer = said(port, sent)
    assert answer.status in (400, 501)
    assert answer.error["came_in"] == "what is no HTTP request"


def test_an_upgrade_is_not_followed(port: int) -> None:
    asked = head(
        port,
        Upgrade="websocket",
        Connection="Upgrade",
        Sec_WebSocket_Version="13",
        Sec_WebSocket_Key="a" * 22 + "==",
    )
    assert said(port, asked).status == 200


@pytest.mark.slow
@pytest.mark.parametrize("sent", BEGINNINGS.values(), ids=BEGINNINGS)
def test_plain_uvicorn_would_wait(sent: bytes) -> None:
    """So the tests above see what stands against it."""
    with running(H11Protocol) as (port, _), connected(port) as client:
        client.sendall(sent)
        assert not is_ended(client, within_seconds=2)


@pytest.mark.slow
def test_plain_uvicorn_would_wait_for_who_does_not_read() -> None:
    with running(H11Protocol) as (port, app), connected(port, receive_bytes=4096) as client:
        client.sendall(head(port, "/big"))
        client.recv(10)
        time.sleep(2)
        sent = app.num_sent
        deadline = time.monotonic() + 10
        while app.num_sent == sent and time.monotonic() < deadline:
            assert client.recv(1 << 20)
        assert app.num_sent > sent


def test_a_server_that_ends_tells_who_still_waits_and_prints_no_traceback(
    capsys: pytest.CaptureFixture[str],
) -> None:
    app = Guard(App(), access=access_at("127.0.0.1"))
    with contextlib.ExitStack() as clients:
        with served(server_config(app, lifespan="off", timeout_graceful_shutdown=0.01)) as port:
            waiting, reading = (clients.enter_context(connected(port)) for _ in range(2))
            waiting.sendall(head(port, "/think"))
            reading.sendall(head(port, "/half"))
            assert reading.recv(1 << 16)
            time.sleep(0.1)
        answer = answered(waiting)
    assert answer.status == 503 and answer.error["came_in"] == "this server is being stopped"
    assert capsys.readouterr().err == ""
