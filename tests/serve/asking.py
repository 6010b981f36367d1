"""Asks an ASGI application, or a server by a plain socket, with whatever a client may send."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import anyio
import uvicorn


@dataclass(frozen=True)
class Answer:
    """`headers` by name in small letters; of several of one name the last."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def error(self) -> dict[str, str]:
        """The three parts."""
        found: dict[str, str] = json.loads(self.body)["error"]
        assert sorted(found) == ["allowed", "came_in", "to_do"] and all(found.values())
        return found


def ask(
    app: Any,
    target: str,
    *,
    method: str = "GET",
    headers: dict[str, str] | None = None,
    body: bytes = b"",
    server: tuple[str, int] = ("127.0.0.1", 8000),
) -> Answer:
    """Ask an application; `Host: localhost:8000` unless `headers` say otherwise (None leaves one out)."""
    from urllib.parse import unquote

    path, _, query = target.partition("?")
    given = {"host": "localhost:8000", **(headers or {})}
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(k.encode(), v.encode("latin-1")) for k, v in given.items() if v is not None],
        "server": server,
        "client": ("127.0.0.1", 40000),
        "state": {},
    }
    sent: list[Any] = []

    async def run() -> None:
        pending = [{"type": "http.request", "body": body, "more_body": False}]
        over = anyio.Event()

        async def receive() -> Any:
            if pending:
                return pending.pop()
            await over.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)
            if message["type"] == "http.response.body" and not message.get("more_body"):
                over.set()

        with anyio.fail_after(30):
            await app(scope, receive, send)

    anyio.run(run)
    start = sent[0]
    return Answer(
        start["status"],
        {name.decode().lower(): value.decode("latin-1") for name, value in start["headers"]},
        b"".join(message.get("body", b"") for message in sent[1:]),
    )


@contextlib.contextmanager
def served(config: uvicorn.Config) -> Iterator[int]:
    """The port of an application that runs in a thread; its end is waited for."""
    server = uvicorn.Server(config)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(2048)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            deadline = time.monotonic() + 20
            while not server.started and thread.is_alive() and time.monotonic() < deadline:
                time.sleep(0.005)
            yield listening.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(20)
    assert not thread.is_alive()


def head(port: int, target: str = "/", *, method: str = "GET", **headers: str) -> bytes:
    """The head of a request."""
    lines = [f"{method} {target} HTTP/1.1", f"Host: localhost:{port}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()


def connected(port: int, *, receive_bytes: int | None = None, timeout_seconds: float = 20) -> socket.socket:
    """A connection; a small `receive_bytes` is a client for whom the system buffers little."""
    client = socket.socket()
    if receive_bytes is not None:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    client.settimeout(timeout_seconds)
    client.connect(("127.0.0.1", port))
    return client


def answered(client: socket.socket) -> Answer:
    """One whole answer: by its length, or to the end of the connection."""
    got = b""
    while b"\r\n\r\n" not in got:
        chunk = client.recv(65536)
        assert chunk, f"the connection ended after {got!r}"
        got += chunk
    top, _, body = got.partition(b"\r\n\r\n")
    first, *lines = top.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    length = int(headers.get("content-length", 1 << 40))
    while len(body) < length and (chunk := client.recv(65536)):
        body += chunk
    return Answer(int(first.split()[1]), headers, body)
