"""What `vtr serve` stands for, a line each, on the application as it is; and each line once more with its guard taken
out, when it must fail.

What needs a process or a browser is elsewhere: slow clients and the canary in `test_limits.py`, names with HTML in
`browser/test_page.py`, the limits of ffmpeg's children in `test_media.py` and `tests/video/test_child.py`.
"""

from __future__ import annotations

import hmac
import io
import json
import re
import struct
import urllib.parse
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from PIL import Image

from tests.serve.asking import Answer, ask
from vtrcli.cli import serve as command
from vtrcli.searching import query as query_module
from vtrcli.serve import access as access_module
from vtrcli.serve import endpoint as endpoint_module
from vtrcli.serve import guard as guard_module
from vtrcli.serve import images as images_module
from vtrcli.serve import library as library_module
from vtrcli.serve import picture as picture_module
from vtrcli.serve.access import Access, access_at
from vtrcli.serve.app import PAGE, make_app
from vtrcli.serve.export import disposition
from vtrcli.serve.library import Library

TOKEN = "0123456789abcdef-token"
Take = pytest.MonkeyPatch


class Line(NamedTuple):
    """`what` holds; `check` sees that it does; `without` takes away what it rests on."""

    what: str
    check: Callable[[Library, Path], None]
    without: Callable[[Take], None]


def local(library: Library) -> tuple[Any, dict[str, str]]:
    """The application for this machine, and the headers of its page's POSTs."""
    access = access_at("127.0.0.1")
    return make_app(library, access=access), {"x-vtr-secret": access.secret}


def remote(library: Library) -> Any:
    """The application for other machines."""
    return make_app(library, access=access_at("0.0.0.0", token=TOKEN))


def post(app: Any, target: str, body: Any, headers: dict[str, str]) -> Answer:
    sent = body if isinstance(body, bytes) else json.dumps(body).encode()
    return ask(app, target, method="POST", headers=headers, body=sent)


def it_listens_here_alone(library: Library, store: Path) -> None:
    assert access_module.is_local(command.HOST)
    assert access_at(command.HOST).token is None


def others_need_the_token(library: Library, store: Path) -> None:
    app = remote(library)
    for target in ("/", "/page/style.css", "/api/health", "/api/openapi.json", "/api/search?q=a+red+circle"):
        assert ask(app, target).status == 401, target
        assert ask(app, target, headers={"authorization": "Bearer " + TOKEN[:-1]}).status == 401
    assert ask(app, "/api/health", headers={"authorization": f"Bearer {TOKEN}"}).status == 200


def a_token_is_made(library: Library, store: Path) -> None:
    made = {access_at("192.168.0.7").token for _ in range(3)}
    assert None not in made and len(made) == 3 and all(len(token or "") >= 32 for token in made)


def the_link_becomes_a_strict_cookie(library: Library, store: Path) -> None:
    answer = ask(remote(library), f"/?token={TOKEN}&q=x")
    assert answer.status == 303 and answer.headers["location"] == "/?q=x"
    cookie = answer.headers["set-cookie"]
    assert {"HttpOnly", "SameSite=Strict"} <= set(cookie.split("; ")) and TOKEN not in cookie


def secrets_are_compared_in_constant_time(library: Library, store: Path) -> None:
    compared: list[bytes] = []

    def noted(one: bytes, other: bytes) -> bool:
        compared.append(one)
        return compare(one, other)

    compare = hmac.compare_digest
    access = access_at("0.0.0.0", token=TOKEN)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hmac, "compare_digest", noted)
        access.has_token({"authorization": "Bearer wrong"})
        access.has_secret({"x-vtr-secret": "unlike"})
        access.knows({"cookie": "vtr_1=other"}, cookie_name="vtr_1")
    assert {b"wrong", b"unlike", b"other"} <= set(compared)


def files_are_reached_by_ids_alone(library: Library, store: Path) -> None:
    app, _ = local(library)
    outside = store.parent / "outside.mp4"
    any_video = next((store.parent / "videos").rglob("*.mp4"))
    outside.write_bytes(any_video.read_bytes())  # a video, so that nothing but its place speaks against it
    try:
        names = [
            str(outside),
            "outside.mp4",
            "../outside.mp4",
            "videos/../outside.mp4",
            "./outside.mp4",
            "\0",
            "..",
        ]
        targets = [
            f"/api/videos/{urllib.parse.quote(name, safe='')}/{part}" for name in names for part in PARTS
        ]
        targets += [
            f"/api/videos/{urllib.parse.quote(urllib.parse.quote(name, safe=''))}/file" for name in names
        ]
        targets += [
            f"/page/{way}"
            for way in ("../app.py", "%2e%2e/app.py", "..%2fapp.py", "//etc/passwd", "js/../../api.py")
        ]
        for target in targets:
            answer = ask(app, target)
            assert answer.status in (400, 404), target
            assert b"vtrcli" not in answer.body and answer.headers["content-type"] == "application/json"
    finally:
        outside.unlink()


PARTS = ("file", "stream", "thumbnail")


def any_path(take: Take) -> None:
    """As if an id were a path."""
    take.setattr(library_module.OpenedStore, "file", lambda self, video_id: Path(video_id))


def only_own_names_are_answered_to(library: Library, store: Path) -> None:
    app, headers = local(library)
    for host in ("evil.example", "evil.example:8765", "127.0.0.1.evil.example", "192.168.0.7:8765"):
        assert ask(app, "/api/search?q=a", headers={"host": host}).status == 403
        assert ask(app, "/", headers={"host": host}).status == 403
        assert post(app, "/api/search", {"q": "a"}, {"host": host, **headers}).status == 403


def other_pages_may_not_ask(library: Library, store: Path) -> None:
    app, headers = local(library)
    for foreign in ({"origin": "http://evil.example"}, {"origin": "null"}, {"sec-fetch-site": "cross-site"}):
        assert ask(app, "/api/search?q=a+red+circle", headers=foreign).status == 403
        assert post(app, "/api/search", {"q": "a red circle"}, {**headers, **foreign}).status == 403


def no_origin_is_let_in(library: Library, store: Path) -> None:
    async def generous(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"access-control-allow-origin", b"*"), (b"access-control-allow-credentials", b"true")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    app, _ = local(library)
    own = {"origin": "http://localhost:8000"}
    answers = [ask(app, "/api/health", headers=own), ask(app, "/api/search", method="OPTIONS", headers=own)]
    answers.append(ask(guard_module.Guard(generous, access=Access()), "/", headers=own))
    for answer in answers:
        assert not [name for name in answer.headers if name.startswith("access-control-")]
    assert answers[1].status == 405


def the_page_runs_its_own_files_alone(library: Library, store: Path) -> None:
    app, _ = local(library)
    answer = ask(app, "/")
    policy = dict(
        part.strip().partition(" ")[::2] for part in answer.headers["content-security-policy"].split(";")
    )
    assert (
        policy["default-src"]
        == policy["base-uri"]
        == policy["form-action"]
        == policy["frame-ancestors"]
        == "'none'"
    )
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    page = answer.body.decode()
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son[a-z]+=|javascript:", page), "inline"
    for file in (PAGE / "js").glob("*.js"):
        assert not re.search(
            r"\b(innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval)\b", file.read_text("utf-8")
        )


def answers_are_what_they_say(library: Library, store: Path) -> None:
    app, _ = local(library)
    for target in ("/", "/api/health", "/page/style.css", "/nowhere"):
        headers = ask(app, target).headers
        assert headers["x-content-type-options"] == "nosniff" and headers["referrer-policy"] == "no-referrer"
        assert headers["cross-origin-resource-policy"] == "same-origin"


def uploads_are_limited(library: Library, store: Path) -> None:
    app, headers = local(library)
    answer = post(app, "/api/images", bytes((32 << 20) + 1), headers)
    assert answer.status == 413 and answer.error["allowed"] == "up to 33,554,432 bytes"
    assert post(app, "/api/export", bytes((1 << 20) + 1), headers).status == 413


def a_picture() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "PNG")
    return buffer.getvalue()


def pictures_are_decoded_elsewhere(library: Library, store: Path) -> None:
    def here(*_: Any, **__: Any) -> None:
        raise AssertionError("a stranger's picture was decoded in the server's own process")

    app, headers = local(library)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(picture_module, "read_image", here)
        assert post(app, "/api/images", a_picture(), headers).status == 200


def in_this_process(take: Take) -> None:
    take.setattr(
        images_module,
        "decoded",
        lambda file, framings: [picture_module.read_image(file, size=framing) for framing in framings],
    )


def pictures_that_explode_are_refused(library: Library, store: Path) -> None:
    def part(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = part(b"IHDR", struct.pack(">IIBBBBB", 40_000, 40_000, 8, 2, 0, 0, 0))
    bomb = b"\x89PNG\r\n\x1a\n" + head + part(b"IDAT", zlib.compress(bytes(1 << 20))) + part(b"IEND", b"")
    app, headers = local(library)
    answer = post(app, "/api/images", bomb, headers)
    assert answer.status == 400 and "pixels" in answer.error["came_in"]


def no_child(take: Take) -> None:
    """The pixels of a decoder that asks nothing."""
    take.setattr(
        images_module,
        "decoded",
        lambda file, framings: [picture_module.np.zeros(f.shape, "u1") for f in framings],
    )


def queries_are_limited_in_length(library: Library, store: Path) -> None:
    app, headers = local(library)
    long = "a " * 5001
    for answer in (
        ask(app, f"/api/search?q={long.replace(' ', '+')}"),
        post(app, "/api/search", {"q": long}, headers),
    ):
        assert answer.status == 400 and "10000" in answer.error["allowed"].replace(",", "")
    many = "&".join(["then=a"] * 1000)
    assert ask(app, f"/api/search?q=a&{many}").status == 400


def any_length(take: Take) -> None:
    take.setattr(query_module, "_require_text", lambda text: None)
    take.setattr(query_module, "_require_chain", lambda then, within: None)
    take.setattr(endpoint_module, "checked", lambda model, given: model.model_construct(**given))


def ways_to_write() -> dict[str, Any]:
    """A right body for every address that takes a POST, so that only the secret speaks against it."""
    moment = {"start_seconds": 0, "end_seconds": 1}
    return {
        "/api/search": {"q": "a red circle"},
        "/api/images": a_picture(),
        "/api/annotations": {"q": "a", "id": "b", "changes": [{**moment, "verdict": "right"}]},
        "/api/export": {"kind": "csv", "moments": [{"id": "b", **moment}]},
    }


def nothing_is_written_without_the_secret(library: Library, store: Path) -> None:
    app, _ = local(library)
    described = json.loads(ask(app, "/api/openapi.json").body)["paths"]
    posted = {path for path, methods in described.items() if "post" in methods}
    assert posted == set(ways_to_write()), "a new address: write here what it takes"
    for path, body in ways_to_write().items():
        for headers in (
            {},
            {"x-vtr-secret": ""},
            {"x-vtr-secret": "x" * 43},
            {"origin": "http://localhost:8000"},
        ):
            assert post(app, path, body, headers).status == 403, path
    assert not (store / "annotations").exists()


def the_secret_is_in_the_page_alone(library: Library, store: Path) -> None:
    access = access_at("127.0.0.1")
    app = make_app(library, access=access)
    page = ask(app, "/")
    assert access.secret.encode() in page.body and page.headers["cache-control"] == "no-store"
    for target in ("/api/health", "/api/openapi.json", "/page/index.html", "/page/js/main.js"):
        assert access.secret.encode() not in ask(app, target).body


def so_many_at_once(library: Library, store: Path) -> None:
    from tests.serve.test_guard import crowd

    slow, clients = crowd(guard_module.Limits(), 1200)
    assert slow.most_at_work <= 64 and {client.status for client in clients} == {200, 503}


async def never_wait(self: Any) -> bool:
    """As if there were room for all."""
    self._free = guard_module.anyio.Semaphore(10**6)
    return False


def swap(place: Any, name: str, value: Any) -> Callable[[Take], None]:
    """Puts something that guards nothing in the place of what does."""
    return lambda take: take.setattr(place, name, value)


def plain(one: Any) -> Any:
    """Sends on what is given."""
    return one


LINES = [
    Line("loopback by default", it_listens_here_alone, swap(command, "HOST", "0.0.0.0")),
    Line("others need a token", others_need_the_token, swap(Access, "knows", lambda *_, **__: True)),
    Line("which is made", a_token_is_made, swap(access_module.secrets, "token_urlsafe", lambda n: "a" * n)),
    Line(
        "sent once by link, then a strict cookie",
        the_link_becomes_a_strict_cookie,
        swap(Access, "cookie", lambda self, name: f"{name}={self.token}; HttpOnly"),
    ),
    Line(
        "compared in constant time",
        secrets_are_compared_in_constant_time,
        swap(access_module, "_same", lambda one, other: one == other),
    ),
    Line("files by ids of the store only", files_are_reached_by_ids_alone, any_path),
    Line("Host checked", only_own_names_are_answered_to, swap(Access, "check_host", lambda *_: None)),
    Line("Origin checked", other_pages_may_not_ask, swap(Access, "check_site", lambda *_, **__: None)),
    Line("no CORS", no_origin_is_let_in, swap(guard_module, "_with_headers", plain)),
    Line(
        "a policy without inline script",
        the_page_runs_its_own_files_alone,
        lambda take: take.setitem(
            guard_module.HEADERS, "content-security-policy", "default-src * 'unsafe-inline'; script-src *"
        ),
    ),
    Line("no guessing, no embedding", answers_are_what_they_say, swap(guard_module, "_with_headers", plain)),
    Line("uploads limited", uploads_are_limited, swap(images_module, "MAX_UPLOAD_BYTES", 1 << 40)),
    Line("decoded in a child", pictures_are_decoded_elsewhere, in_this_process),
    Line("with limits", pictures_that_explode_are_refused, no_child),
    Line("queries limited in length", queries_are_limited_in_length, any_length),
    Line("requests at once limited", so_many_at_once, swap(guard_module._Turns, "_wait", never_wait)),
    Line(
        "nothing written without the secret",
        nothing_is_written_without_the_secret,
        swap(Access, "has_secret", lambda *_: True),
    ),
    Line(
        "which no cache keeps and no other address tells",
        the_secret_is_in_the_page_alone,
        swap(guard_module, "_with_headers", plain),
    ),
]
# Over half a second each; another test of theirs is quick.
SLOW = {"decoded in a child", "with limits", "requests at once limited"}


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(line, id=line.what, marks=[pytest.mark.slow] if line.what in SLOW else [])
        for line in LINES
    ],
)
def test_it_holds(line: Line, library: Library, demo: Path) -> None:
    line.check(library, demo / "store")


@pytest.mark.slow
@pytest.mark.parametrize("line", [pytest.param(line, id=line.what) for line in LINES])
def test_it_fails_without_its_guard(
    line: Line, library: Library, demo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line.without(monkeypatch)
    with pytest.raises((AssertionError, pytest.fail.Exception, KeyError)):
        line.check(library, demo / "store")


@pytest.mark.parametrize(
    "name", ['a"; filename="b.html', "a\r\nSet-Cookie: x=1", "../../a\0b", "\ud800ö<script>"]
)
def test_no_name_leaves_its_header(name: str) -> None:
    value = disposition(name)
    assert value.isascii() and value.isprintable() and value.count('"') == 2 and "/" not in value
