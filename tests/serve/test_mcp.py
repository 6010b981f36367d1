"""The tools for programs with a language model, asked by the official SDK's own client."""

from __future__ import annotations

import base64
import io
import os
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

pytest.importorskip("mcp", reason="vtr mcp needs the extra serve")

import uvicorn
from mcp import Client, StdioServerParameters
from PIL import Image

from tests.serve.asking import ask
from vtrcli.serve.access import access_at
from vtrcli.serve.app import make_app
from vtrcli.serve.library import Library
from vtrcli.serve.mcp import make_server
from vtrcli.times import clock
from vtrcli.video.probe import probe

READING = ["list_stores", "look", "search_videos"]


def talk(server: Any, conversation: Callable[[Client], Coroutine[Any, Any, Any]]) -> Any:
    async def meet() -> Any:
        async with Client(server) as client:
            return await conversation(client)

    return anyio.run(meet)


def called(server: Any, name: str, **arguments: Any) -> Any:
    return talk(server, lambda client: client.call_tool(name, arguments))


def told(result: Any) -> str:
    assert result.is_error
    [content] = result.content
    return str(content.text)


async def finds_and_looks(client: Client) -> tuple[list[str], Any, Any]:
    tools = sorted(tool.name for tool in (await client.list_tools()).tools)
    found = await client.call_tool("search_videos", {"query": "a red circle", "top_k": 3})
    best = found.structured_content["results"][0]
    seen = await client.call_tool("look", {"video_id": best["video_id"], "seconds": best["peak_seconds"]})
    return tools, found, seen


def check(library: Library, tools: list[str], found: Any, seen: Any) -> None:
    """The demo's clip is found, as by the library, and its frame is a picture."""
    assert tools == READING
    alone = library.store().searcher.search("a red circle").hits[:3]
    rows = found.structured_content["results"]
    assert [row["video_id"] for row in rows] == [hit.video_id for hit in alone]
    assert [row["score"] for row in rows] == [round(hit.score, 4) for hit in alone]
    words = found.content[0].text.splitlines()
    assert len(words) >= 4 and all(row["name"] in line for row, line in zip(rows, words[1:], strict=False))
    with Image.open(io.BytesIO(base64.b64decode(seen.content[0].data))) as picture:
        picture.load()
        assert seen.content[0].mime_type == "image/jpeg" and max(picture.size) <= 640
    assert rows[0]["name"] in seen.content[1].text


def test_a_client_lists_the_tools_finds_the_clip_and_looks(library: Library) -> None:
    check(library, *talk(make_server(library), finds_and_looks))


@pytest.mark.slow
def test_over_stdin_and_stdout_with_nothing_else_on_them(library: Library, demo: Path) -> None:
    """The client would end at a line that is no message."""
    command = StdioServerParameters(
        command=sys.executable,
        args=["-m", "vtrcli", "mcp", "--store", str(demo / "store"), "--run", "none", "--device", "cpu"],
        env=dict(os.environ),
    )
    check(library, *talk(command, finds_and_looks))


@pytest.fixture
def address(library: Library) -> Iterator[str]:
    """Where the library is served, in this process."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(make_app(library), log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
        thread.start()
        for _ in range(500):
            if server.started:
                break
            time.sleep(0.02)
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"
        server.should_exit = True
        thread.join(10)


@pytest.mark.slow
def test_over_http(library: Library, address: str) -> None:
    check(library, *talk(f"{address}/mcp", finds_and_looks))
    assert posted(address) == 200
    assert posted(address, Host="evil.example") == posted(address, Origin="https://evil.example") == 403


def posted(address: str, **headers: str) -> int:
    """The status for a program that speaks no more of the protocol than it must."""
    body = b'{"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}'
    usual = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
    asked = urllib.request.Request(f"{address}/mcp", data=body, headers={**usual, **headers})
    try:
        with urllib.request.urlopen(asked, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_with_a_token_all_of_it_needs_the_token_and_so_does_one_that_may_write(
    library: Library, tmp_path: Path
) -> None:
    token = "a-token-of-many-letters"
    body = b'{"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}'
    for app, status in (
        (make_app(library, access=access_at("127.0.0.1", token=token)), 401),
        (make_app(library, access=access_at("127.0.0.1"), clips=tmp_path), 403),
    ):
        answer = ask(app, "/mcp", method="POST", body=body, headers={"Content-Type": "application/json"})
        assert answer.status == status


def test_a_look_beyond_the_end_tells_the_time_of_the_frame_that_it_shows(library: Library) -> None:
    opened = library.store()
    video_id = opened.searcher.search("a red circle").hits[0].video_id
    end = opened.seconds(opened.video(video_id))
    words = called(make_server(library), "look", video_id=video_id, seconds=3600.0).content[1].text
    assert words == f"{video_id}.mp4, which ends before 1:00:00: its last frame, at {clock(end)}"


def test_clips_are_cut_only_where_a_folder_was_named(library: Library, tmp_path: Path) -> None:
    video = library.store().searcher.search("a red circle").hits[0].video_id
    asked = {"video_id": video, "start_seconds": 0.5, "end_seconds": 2.0}
    assert "Unknown tool" in told(called(make_server(library), "cut_clip", **asked))
    server = make_server(library, clips=tmp_path)
    path = Path(called(server, "cut_clip", **asked).structured_content["path"])
    assert path.parent == tmp_path and probe(path).duration_seconds == pytest.approx(2.0, abs=0.2)
    second = called(server, "cut_clip", **asked).structured_content["path"]
    assert Path(second) != path and path.exists()


@pytest.mark.parametrize(
    "video", ["../../etc/passwd", "/etc/passwd", "none", "\udc80".encode("unicode_escape").decode()]
)
def test_what_is_no_id_of_the_store_reaches_no_file(library: Library, tmp_path: Path, video: str) -> None:
    server = make_server(library, clips=tmp_path)
    for name, arguments in (
        ("look", {"seconds": 0}),
        ("cut_clip", {"start_seconds": 0, "end_seconds": 1}),
    ):
        words = told(called(server, name, video_id=video, **arguments))
        assert words.startswith(f"Error executing tool {name}: no video {video!r} in store")
        assert words.endswith("ask for another, or search again: the store may have changed")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("tool", "arguments", "part"),
    [
        ("search_videos", {"query": ""}, "at least 1 character"),
        ("search_videos", {"query": "a", "top_k": 1000}, "less than or equal to 50"),
        (
            "search_videos",
            {"query": "a", "store": "other"},
            "no store 'other' here; store; name one of these",
        ),
        (
            "search_videos",
            {"query": "a", "min_duration_seconds": 9, "max_duration_seconds": 1},
            "exchange the two",
        ),
        ("look", {"video_id": "a", "seconds": -1}, "greater than or equal to 0"),
        ("look", {"video_id": "a", "seconds": 1, "longest_side": 100_000}, "less than or equal to 1280"),
        (
            "cut_clip",
            {"video_id": "a", "start_seconds": 0, "end_seconds": 9000},
            "a clip from 0 s to 9000 s; it ends after its start, and at most 600 s later",
        ),
    ],
)
def test_what_is_asked_wrongly_is_told_so_that_it_can_be_mended(
    library: Library, tmp_path: Path, tool: str, arguments: dict[str, Any], part: str
) -> None:
    assert part in told(called(make_server(library, clips=tmp_path), tool, **arguments))


def test_a_client_is_told_what_only_reads(library: Library, tmp_path: Path) -> None:
    tools = talk(make_server(library, clips=tmp_path), lambda client: client.list_tools()).tools
    assert {tool.name: tool.annotations.read_only_hint for tool in tools} == {
        "search_videos": True,
        "look": True,
        "list_stores": True,
        "cut_clip": False,
    }
    assert all(tool.title and tool.description for tool in tools)
    schema = next(tool for tool in tools if tool.name == "search_videos").input_schema["properties"]
    assert schema["top_k"]["maximum"] == 50 and schema["query"]["maxLength"] == 10_000
