"""Files in ranges, streams of what browsers do not play, and pictures: as a client meets them, over a real socket where
the connection itself matters."""

from __future__ import annotations

import contextlib
import http.client
import io
import os
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
import uvicorn
from PIL import Image
from starlette.testclient import TestClient

from tests.video.clips import make_video, numbered, run_ffmpeg
from vtrcli.errors import VideoError
from vtrcli.extraction.extract import extract
from vtrcli.serve import streams
from vtrcli.serve.app import make_app
from vtrcli.serve.file_bytes import PIECE_BYTES, FileBytes, wanted_range
from vtrcli.serve.library import Library
from vtrcli.serve.media import Media
from vtrcli.serve.streams import Streams
from vtrcli.serve.thumbnails import RECOUNT_SHARE, Kept, Thumbnails, jpeg, width_for
from vtrcli.video.encode import encoder_names
from vtrcli.video.playback import playback
from vtrcli.video.probe import probe
from vtrcli.video.sampling import Uniform

ROOT = "/api/videos"
SECONDS = 20


@pytest.fixture(scope="module")
def served_folder(tmp_path_factory: pytest.TempPathFactory, weights: str) -> Path:
    """A store with an MP4 (frames kept), an AVI, a Matroska file, and one that is then cut to half."""
    folder = tmp_path_factory.mktemp("served")
    videos = folder / "videos"
    videos.mkdir()
    numbered(videos / "a b&é.mp4", seconds=2)
    source = f"testsrc2=size=320x240:rate=25:duration={SECONDS}"
    make_video(videos / "old.avi", source, "-c:v", "mpeg4", "-q:v", "3")
    run_ffmpeg("-i", f"file:{videos / 'a b&é.mp4'}", "-c", "copy", f"file:{videos / 'm.mkv'}")
    store = folder / "store"
    extract(
        [videos],
        store=store,
        backbone=weights,
        sampling=Uniform(num_frames=2),
        device="cpu",
        keep_frames=True,
    )
    return folder


@pytest.fixture
def media(served_folder: Path, tmp_path: Path) -> Media:
    library = Library([served_folder / "store"], device="cpu")
    return Media(library, thumbnails=Thumbnails(tmp_path / "thumbnails"), max_streams=1)


@pytest.fixture
def asked(media: Media) -> Iterator[TestClient]:
    app = make_app(media._library, media=media)
    with TestClient(app, base_url="http://127.0.0.1:8765", raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def port(media: Media) -> Iterator[int]:
    """A real server in a thread."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        config = uvicorn.Config(
            make_app(media._library, media=media), log_level="critical", timeout_graceful_shutdown=2
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield listening.getsockname()[1]
        server.should_exit = True
        thread.join()


@pytest.fixture
def video(served_folder: Path) -> Path:
    return served_folder / "videos" / "a b&é.mp4"


MP4 = f"{ROOT}/a%20b%26%C3%A9"


@pytest.mark.parametrize(
    ("header", "part"),
    [
        ("bytes=0-99", slice(0, 100)),
        ("bytes=100-", slice(100, None)),
        ("bytes=-50", slice(-50, None)),
        ("bytes=0-99999999", slice(0, None)),
        ("bytes=-99999999", slice(0, None)),
        ("BYTES = 7 - 7", slice(7, 8)),
    ],
)
def test_one_range(asked: TestClient, video: Path, header: str, part: slice) -> None:
    body = video.read_bytes()
    answer = asked.get(f"{MP4}/file", headers={"Range": header})
    assert (answer.status_code, answer.content) == (206, body[part])
    begin, end, _ = part.indices(len(body))
    assert answer.headers["content-range"] == f"bytes {begin}-{end - 1}/{len(body)}"
    assert answer.headers["content-type"] == "video/mp4"


@pytest.mark.parametrize(
    "header",
    [
        "bytes=0-1,3-4",
        "bytes=0-1" + ",2-3" * 5000,
        "bytes=9-1",
        "bytes=-",
        "lines=1-2",
        "bytes=x-",
        "",
        "bytes",
    ],
)
def test_what_is_no_single_range_is_answered_with_the_whole_file(
    asked: TestClient, video: Path, header: str
) -> None:
    answer = asked.get(f"{MP4}/file", headers={"Range": header})
    assert (answer.status_code, answer.content) == (200, video.read_bytes())


@pytest.mark.parametrize("header", ["bytes=99999999-", "bytes=-0", "bytes=9999999999999999999999999-"])
def test_a_range_outside_the_file(asked: TestClient, video: Path, header: str) -> None:
    answer = asked.get(f"{MP4}/file", headers={"Range": header})
    size = video.stat().st_size
    assert (answer.status_code, answer.headers["content-range"]) == (416, f"bytes */{size}")
    assert answer.json()["error"] == {
        "came_in": f"the range {header!r}",
        "allowed": f"the file has {size:,} bytes",
        "to_do": "ask for a part of it",
    }


def test_a_number_of_many_digits_is_no_range() -> None:
    assert wanted_range(f"bytes={'9' * 5000}-", 10) is None


def test_head_tells_and_sends_nothing(asked: TestClient, video: Path) -> None:
    answer = asked.head(f"{MP4}/file")
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-length"] == str(video.stat().st_size)
    assert answer.headers["accept-ranges"] == "bytes"
    assert asked.head(f"{ROOT}/old/stream").headers["content-type"] == "video/mp4"


def test_what_is_known_already_is_not_sent_and_a_part_only_of_the_same_file(
    asked: TestClient, video: Path
) -> None:
    first = asked.get(f"{MP4}/file")
    tag, modified = first.headers["etag"], first.headers["last-modified"]
    again = asked.get(f"{MP4}/file", headers={"If-None-Match": f'"other", {tag}'})
    assert (again.status_code, again.content) == (304, b"")
    for same in (tag, modified):
        assert asked.get(f"{MP4}/file", headers={"Range": "bytes=0-9", "If-Range": same}).status_code == 206
    for other in ('"other"', f"W/{tag}", "Thu, 01 Jan 1970 00:00:00 GMT"):
        whole = asked.get(f"{MP4}/file", headers={"Range": "bytes=0-9", "If-Range": other})
        assert (whole.status_code, whole.content) == (200, video.read_bytes())


@pytest.mark.parametrize("part", ["file", "stream", "thumbnail?t=1"])
def test_no_such_video_or_store(asked: TestClient, part: str) -> None:
    assert asked.get(f"{ROOT}/nobody/{part}").status_code == 404
    joined = "&" if "?" in part else "?"
    assert asked.get(f"{MP4}/{part}{joined}store=other").status_code == 404


def test_a_file_that_is_gone_or_replaced_is_told(asked: TestClient, video: Path, tmp_path: Path) -> None:
    aside = tmp_path / "aside"
    shutil.move(video, aside)
    try:
        gone = [asked.get(f"{MP4}/{part}") for part in ("file", "stream")]
        assert [answer.status_code for answer in gone] == [404, 404]
        assert "its file is gone" in gone[0].json()["error"]["came_in"]
        # The frames that were kept still show it.
        assert asked.get(f"{MP4}/thumbnail?t=1").status_code == 200
        numbered(video, seconds=1)
        replaced = [asked.get(f"{MP4}/{part}") for part in ("file", "stream")]
        assert [answer.status_code for answer in replaced] == [409, 409]
        assert "changed" in replaced[0].json()["error"]["came_in"]
    finally:
        os.replace(aside, video)


def test_a_store_that_names_what_is_no_video_sends_none_of_it(
    served_folder: Path, tmp_path: Path, weights: str
) -> None:
    """The file is the one that the store describes, to the byte; only that it is no video."""
    folder = tmp_path / "copy"
    shutil.copytree(served_folder / "videos", folder)
    secret = folder / "m.mkv"
    store = tmp_path / "store"
    extract([folder], store=store, backbone=weights, sampling=Uniform(num_frames=2), device="cpu")
    status = secret.stat()
    secret.write_bytes(b"secret\n".ljust(status.st_size, b"x"))
    os.utime(secret, ns=(status.st_atime_ns, status.st_mtime_ns))
    library = Library([store], device="cpu")
    opened = library.store()
    video = opened.video("m")
    from vtrcli.store.catalog import hashed, masked
    from vtrcli.store.records import file_state

    opened.catalog.arrays["fingerprint"] = opened.catalog["fingerprint"].copy()
    opened.catalog.arrays["ctime_ns"] = opened.catalog["ctime_ns"].copy()
    opened.catalog["fingerprint"][video] = hashed(file_state(secret).fingerprint)
    opened.catalog["ctime_ns"][video] = masked(secret.stat().st_ctime_ns)
    assert opened.file("m") == secret
    with TestClient(make_app(library, media=Media(library)), base_url="http://127.0.0.1:8765") as client:
        answer = client.get(f"{ROOT}/m/file")
    assert (answer.status_code, b"secret" in answer.content) == (404, False)


@pytest.mark.parametrize("happens", ["written", "cut", "replaced", "deleted"])
def test_never_bytes_of_another_file(tmp_path: Path, happens: str) -> None:
    """Something happens to the file after the first piece: what still goes out is of the file that was opened."""
    path = tmp_path / "a.mp4"
    body = os.urandom(4 * PIECE_BYTES)
    path.write_bytes(body)
    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(message)
        if len(sent) == 2:
            if happens == "deleted":
                path.unlink()
            elif happens == "replaced":
                (tmp_path / "b").write_bytes(b"x" * len(body))
                os.replace(tmp_path / "b", path)
            else:
                with open(path, "r+b") as file:
                    file.write(b"x" * len(body)) if happens == "written" else file.truncate(10)

    async def receive() -> Any:
        raise AssertionError

    answer = FileBytes(path, media_type="video/mp4", expected=path.stat())
    anyio.run(answer, {"type": "http", "method": "GET", "headers": []}, receive, send)
    got = b"".join(message["body"] for message in sent[1:])
    is_whole = not sent[-1].get("more_body", False)
    if happens in ("written", "cut"):
        assert (got, is_whole) == (body[:PIECE_BYTES], False)  # the server closes the connection then
    else:
        assert (got, is_whole) == (body, True)


def test_a_file_that_is_replaced_before_it_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"one")
    before = path.stat()
    path.write_bytes(b"another")
    with pytest.raises(VideoError, match="changed: it was replaced just now"):
        FileBytes(path, media_type="video/mp4", expected=before)


def children() -> list[int]:
    """Of this process, zombies among them."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = entry.read_text().rpartition(")")[2].split()
            if int(fields[1]) == os.getpid():
                found.append(int(entry.parent.name))
    return found


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at /proc")
def test_a_viewer_who_leaves_in_the_middle_takes_the_child_along(port: int, media: Media) -> None:
    before = set(children())
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("GET", f"{ROOT}/old/stream?start=3")
    answer = connection.getresponse()
    assert (answer.status, answer.headers["X-VTR-Kind"]) == (200, "transcode")
    assert answer.headers["content-type"].startswith('video/mp4; codecs="avc1.')
    assert answer.read(1000)
    assert media.streams.num_running == 1
    answer.close()
    connection.close()
    until = time.monotonic() + 10
    while media.streams.num_running or set(children()) - before:
        assert time.monotonic() < until, "its child goes on"
        time.sleep(0.02)


def test_too_many_at_once_are_told_to_come_again(
    port: int, media: Media, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "WAIT_SECONDS", 0.2)
    first = http.client.HTTPConnection("127.0.0.1", port)
    first.request("GET", f"{ROOT}/old/stream")
    running = first.getresponse()
    assert running.status == 200
    second = http.client.HTTPConnection("127.0.0.1", port)
    second.request("GET", f"{ROOT}/old/stream")
    answer = second.getresponse()
    assert (answer.status, answer.headers["retry-after"]) == (503, "2")
    assert b"too many videos are being converted" in answer.read()
    # Repacking has a limit of its own.
    second.request("GET", f"{ROOT}/m/stream")
    repacked = second.getresponse()
    assert (repacked.status, repacked.headers["X-VTR-Kind"]) == (200, "remux")
    repacked.read()
    for each in (running, repacked, first, second):
        each.close()


def test_a_viewer_who_takes_nothing_gives_way(served_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "YIELD_SECONDS", 0.2)
    info = probe(served_folder / "videos" / "old.avi")
    how = playback(info, encoders=encoder_names())
    taken: list[int] = []

    async def stuck(message: Any) -> None:
        taken.append(len(message.get("body", b"")))
        if len(taken) == 2:
            await anyio.sleep_forever()

    async def stay() -> Any:
        await anyio.sleep_forever()

    async def main() -> None:
        running = Streams({"transcode": 1})
        first = await running.open(info, how, start_seconds=0.0)
        async with anyio.create_task_group() as group:
            group.start_soon(first, {"type": "http"}, stay, stuck)
            second = await running.open(info, how, start_seconds=1.0)
            assert running.num_running <= 2 and len(taken) == 2
        assert running.num_running == 1  # the first has ended, without saying that it is whole
        second.end()
        await second({"type": "http"}, stay, stuck)
        assert running.num_running == 0

    anyio.run(main)


def test_a_stream_says_what_is_wrong(asked: TestClient) -> None:
    answer = asked.get(f"{ROOT}/old/stream?start=1000")
    assert answer.status_code == 404
    assert "nothing of it lies at 1000 s and after" in answer.json()["error"]["came_in"]
    assert asked.get(f"{ROOT}/old/stream?start=-1").status_code == 400
    assert asked.get(f"{ROOT}/old/stream?start=nan").status_code == 400


def test_what_plays_as_it_is_can_be_converted_all_the_same(asked: TestClient, tmp_path: Path) -> None:
    answer = asked.get(f"{MP4}/stream?start=1")
    assert (answer.status_code, answer.headers["X-VTR-Kind"]) == (200, "transcode")
    (tmp_path / "a.mp4").write_bytes(answer.content)
    assert probe(tmp_path / "a.mp4").codec == "h264"


def test_how_a_video_is_played(media: Media, asked: TestClient) -> None:
    opened = media._library.store()
    assert media.facts(opened, "m") == {
        "url": "/api/videos/m/stream?store=store",
        "kind": "remux",
        "reason": "browsers do not open matroska files",
        "type": "video/x-matroska",
        "duration_seconds": 2.0,
    }
    told = asked.get(f"{MP4}/media").json()
    assert (told["schema"], told["kind"], told["reason"]) == (1, "direct", None)
    assert media.facts(opened, "a b&é")["url"] == f"{MP4}/file?store=store"


def test_a_picture_of_the_wanted_size_from_the_file(asked: TestClient) -> None:
    answer = asked.get(f"{ROOT}/old/thumbnail?t=7.5&width=100")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/jpeg")
    with Image.open(io.BytesIO(answer.content)) as picture:
        assert picture.size == (160, 120)
    tag = answer.headers["etag"]
    known = asked.get(f"{ROOT}/old/thumbnail?t=7.5&width=100", headers={"If-None-Match": tag})
    assert (known.status_code, known.content) == (304, b"")
    for_good = asked.get(f"{ROOT}/old/thumbnail?t=7.5&width=100&v={tag.strip(chr(34))}")
    assert "immutable" in for_good.headers["cache-control"]
    assert "immutable" not in answer.headers["cache-control"]


def test_widths_are_few() -> None:
    assert [width_for(asked) for asked in (1, 160, 161, 480, 9999)] == [160, 160, 240, 480, 640]


def test_a_kept_frame_near_the_moment_needs_no_file(
    media: Media, asked: TestClient, served_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = media._library.store()
    moment = float(opened.catalog.timestamps(opened.video("m"))[1])
    monkeypatch.setenv("VTR_FFMPEG", "/nowhere")
    assert asked.get(f"{ROOT}/m/thumbnail?t={moment:.2f}").status_code == 200


def test_a_picture_is_made_once_for_all_who_ask(media: Media, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    go_on = threading.Event()

    def make(*arguments: object) -> bytes:
        made.append(arguments)
        go_on.wait(10)
        return b"\xff\xd8\xff\xd9"

    thumbnails = media._thumbnails
    monkeypatch.setattr(thumbnails, "_made", make)
    opened = media._library.store()
    futures = [thumbnails.get(opened.catalog, 0, 1.0, 160, file=Path) for _ in range(20)]
    go_on.set()
    assert {future.result(10) for future in futures} == {b"\xff\xd8\xff\xd9"}
    assert len(made) == 1


def test_pictures_are_kept_up_to_a_size_and_the_least_used_go_first(tmp_path: Path) -> None:
    kept = Kept(tmp_path, 10_000)
    picture = b"\xff\xd8".ljust(998, b"x") + b"\xff\xd9"
    keys = [f"{number:040x}" for number in range(11)]
    for number, key in enumerate(keys):
        kept.write(key, picture)
        os.utime(kept._path(key), ns=(number, number))
        if number == 9:
            assert kept.read(keys[0]) == picture  # looked at just now
    assert [kept.read(key) is not None for key in keys[:4]] == [True, False, False, False]
    assert sum(file.stat().st_size for file in tmp_path.glob("*/*")) <= 10_000
    assert Kept(tmp_path, 10_000).read(keys[0]) == picture


def test_two_servers_keep_one_folder_within_its_size(tmp_path: Path) -> None:
    servers = Kept(tmp_path, 32_000), Kept(tmp_path, 32_000)
    picture = b"\xff\xd8".ljust(998, b"x") + b"\xff\xd9"
    for number in range(100):
        servers[number % 2].write(f"{number:040x}", picture)
        held = sum(file.stat().st_size for file in tmp_path.glob("*/*"))
        assert held <= 32_000 * (1 + len(servers) * RECOUNT_SHARE)


def test_a_damaged_picture_is_made_anew_and_a_full_disk_is_no_error(
    asked: TestClient, media: Media, tmp_path: Path
) -> None:
    url = f"{ROOT}/old/thumbnail?t=2"
    body = asked.get(url).content
    (file,) = (tmp_path / "thumbnails").glob("*/*.jpg")
    file.write_bytes(body[: len(body) // 2])
    assert asked.get(url).content == body
    assert file.read_bytes() == body
    shutil.rmtree(tmp_path / "thumbnails")
    (tmp_path / "thumbnails").write_text("a file: no folder can be made here, as on a full disk")
    assert asked.get(url).content == body


def test_a_whole_picture_keeps_its_shape() -> None:
    import numpy as np

    with Image.open(io.BytesIO(jpeg(np.zeros((900, 300, 3), np.uint8), 160))) as picture:
        assert picture.size == (53, 160)
