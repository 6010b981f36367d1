"""Picked moments as files: in their order, with what went wrong said, and with names that break no header."""

from __future__ import annotations

import csv
import io
import json
import os
import threading
import zipfile
from email.message import Message
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from vtrcli.serve.export import MAX_AT_ONCE, NOT_CUT, REPORT, disposition
from vtrcli.video.probe import probe


@pytest.fixture
def picks(client: TestClient) -> list[dict[str, Any]]:
    """Three moments of three videos, the second without what it was found by."""
    rows = client.get("/api/search", params={"q": "a red circle"}).json()["results"][:3]
    found = [
        {
            "id": row["video_id"],
            "start_seconds": 0.5,
            "end_seconds": 1.5 + number,
            "query": "<b>red</b>",
            "score": 0.25,
        }
        for number, row in enumerate(rows)
    ]
    del found[1]["query"], found[1]["score"]
    return found


def file_of(demo: Path, pick: dict[str, Any]) -> Path:
    return next((demo / "videos").rglob(f"{pick['id']}.*"))


@pytest.mark.parametrize("kind", ["csv", "edl", "fcpxml", "xml"])
def test_every_kind_has_the_moments_in_their_order(client: TestClient, picks: list[Any], kind: str) -> None:
    answer = client.post("/api/export", json={"kind": kind, "moments": picks[::-1]})
    assert answer.status_code == 200, answer.text
    assert f'filename="moments.{kind}"' in answer.headers["content-disposition"]
    report = json.loads(answer.headers[REPORT])
    assert (report["num_exported"], report["num_failed"], report["failures"]) == (3, 0, [])
    names = [Path(pick["id"]).name for pick in picks[::-1]]
    places = [answer.text.index(name) for name in names]
    if kind != "fcpxml":  # which lists its files first
        assert places == sorted(places)
    assert "nan" not in answer.text.lower()


def test_the_table_has_the_spans_that_were_picked(client: TestClient, picks: list[Any]) -> None:
    text = client.post("/api/export", json={"kind": "csv", "moments": picks}).text
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [(row["Start Seconds"], row["End Seconds"]) for row in rows] == [
        ("0.500", "1.500"),
        ("0.500", "2.500"),
        ("0.500", "3.500"),
    ]
    assert [row["Marker Name"] for row in rows] == ["<b>red</b>", "picked moments", "<b>red</b>"]
    assert [row["Score"] for row in rows] == ["0.2500", "", "0.2500"]


def test_a_video_that_is_gone_costs_itself_alone(demo: Path, client: TestClient, picks: list[Any]) -> None:
    gone = file_of(demo, picks[1])
    hidden = gone.rename(gone.with_suffix(".hidden"))
    try:
        answer = client.post("/api/export", json={"kind": "edl", "moments": picks})
        report = json.loads(answer.headers[REPORT])
        assert answer.status_code == 200 and report["num_exported"] == 2
        assert report["failures"][0]["number"] == 2 and report["failures"][0]["reason"] == "not-found"
        alone = client.post("/api/export", json={"kind": "edl", "moments": [picks[1]]})
        assert alone.status_code == 404 and "not-found" in alone.json()["error"]["came_in"]
        assert client.post("/api/export", json={"kind": "clips", "moments": [picks[1]]}).status_code == 404
    finally:
        hidden.rename(gone)


@pytest.mark.slow
def test_clips_are_one_file_or_a_zip_that_says_what_is_not_in_it(
    demo: Path, client: TestClient, picks: list[Any], tmp_path: Path
) -> None:
    one = client.post("/api/export", json={"kind": "clips", "moments": [{**picks[2], "end_seconds": 2.5}]})
    assert one.headers["content-type"] == "video/mp4"
    (tmp_path / "one.mp4").write_bytes(one.content)
    assert probe(tmp_path / "one.mp4").duration_seconds == pytest.approx(2.0, abs=0.2)
    broken = file_of(demo, picks[1])
    body, state = broken.read_bytes(), broken.stat()
    try:
        broken.write_bytes(b"\0" * len(body))
        os.utime(broken, ns=(state.st_atime_ns, state.st_mtime_ns))
        answer = client.post("/api/export", json={"kind": "clips", "moments": picks})
    finally:
        broken.write_bytes(body)
        os.utime(broken, ns=(state.st_atime_ns, state.st_mtime_ns))
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        clips = [name for name in archive.namelist() if name.endswith(".mp4")]
        assert [name[:2] for name in clips] == ["01", "03"]
        reported = json.loads(answer.headers[REPORT])["failures"]
        assert archive.read(NOT_CUT).decode().startswith("2. ") and len(reported) <= 1


def test_what_cannot_be_exported_is_told(client: TestClient, picks: list[Any]) -> None:
    def status(**changes: Any) -> int:
        return client.post("/api/export", json={"kind": "csv", "moments": picks, **changes}).status_code

    assert status(moments=[]) == 400
    assert status(kind="exe") == 400
    assert status(moments=[{**picks[0], "end_seconds": 0.5}]) == 400
    assert status(moments=[{**picks[0], "id": "../../etc/passwd"}]) == 404
    assert status(moments=[{**picks[0], "path": "/etc/passwd"}]) == 400
    assert status(moments=picks * 200) == 400


def test_no_more_exports_at_once_than_the_machine_takes(
    client: TestClient, picks: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And each gives its place back."""
    go_on, has_begun = threading.Event(), threading.Semaphore(0)

    def slow(queries: object) -> Any:
        has_begun.release()
        go_on.wait(30)
        raise KeyError

    monkeypatch.setattr("vtrcli.serve.export.timeline_of", slow)

    def ask() -> Any:
        return client.post("/api/export", json={"kind": "csv", "moments": picks})

    threads = [threading.Thread(target=ask) for _ in range(MAX_AT_ONCE)]
    for thread in threads:
        thread.start()
        assert has_begun.acquire(timeout=30)
    answer = ask()
    assert answer.status_code == 503 and answer.headers["retry-after"] == "5"
    go_on.set()
    for thread in threads:
        thread.join(30)
    monkeypatch.undo()
    assert ask().status_code == 200


@given(st.text(max_size=40))
def test_a_name_breaks_no_header(name: str) -> None:
    value = disposition(name)
    value.encode("ascii")
    assert value.isprintable() and value.count('"') == 2
    message = Message()
    message["Content-Disposition"] = value
    found = message.get_filename()
    assert found is not None and "/" not in value.split('"')[1]
