"""A library sees what other processes do to its stores, and what it handed out stays usable."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from pathlib import Path

import pytest
from starlette.testclient import TestClient

import vtrcli as vtr
from vtrcli.errors import NotFoundError, StoreError, VideoError
from vtrcli.model.runs import newest_fitting_run
from vtrcli.serve.app import make_app
from vtrcli.serve.library import Library, store_folders, unique_names
from vtrcli.store.compact import compact
from vtrcli.store.config import read_config


@pytest.fixture
def own(demo: Path, tmp_path: Path) -> Path:
    """A store of the demo's first four videos, which are copies, and the other videos beside it."""
    (tmp_path / "videos").mkdir()
    for path in sorted((demo / "videos").glob("*.mp4"))[:4]:
        shutil.copy(path, tmp_path / "videos")
    vtr.extract(tmp_path / "videos", tmp_path / "store", backbone="demo", frames=4, device="cpu")
    return tmp_path


def add_video(demo: Path, own: Path, number: int) -> str:
    path = sorted((demo / "videos").glob("*.mp4"))[number]
    shutil.copy(path, own / "videos")
    vtr.extract(own / "videos", own / "store", backbone="demo", device="cpu")
    return path.stem


def test_what_is_extracted_meanwhile_is_found(demo: Path, own: Path) -> None:
    library = Library([own / "store"], device="cpu", look_seconds=0.05)
    library.watch()
    try:
        with TestClient(make_app(library), base_url="http://127.0.0.1") as client:
            assert client.get("/api/search?q=a circle").json()["num_videos"] == 4
            name = add_video(demo, own, 4)
            end = time.monotonic() + 20
            while client.get("/api/search?q=a circle").json()["num_videos"] < 5:
                assert time.monotonic() < end
                time.sleep(0.05)
            assert client.get(f"/api/videos/{name}").json()["state"] == "there"
    finally:
        library.close()


def test_an_opened_store_outlives_what_replaces_it(demo: Path, own: Path) -> None:
    library = Library([own / "store"], device="cpu")
    before = library.store()
    before.searcher.search("a circle")
    add_video(demo, own, 4)
    compact(own / "store")
    library.refresh()
    after = library.store()
    assert (before.catalog.num_videos, after.catalog.num_videos) == (4, 5)
    assert len(before.searcher.search("a square").hits) == 4
    assert before.record(0).codec == "h264"
    library.refresh()
    assert library.store() is after  # nothing changed


@pytest.mark.slow
def test_no_query_fails_while_the_store_is_rewritten(demo: Path, own: Path) -> None:
    library = Library([own / "store"], device="cpu", look_seconds=0.01)
    library.watch()
    statuses: list[int] = []
    is_over = threading.Event()
    first = library.store().catalog.ids[0]

    def keep_asking() -> None:
        with TestClient(
            make_app(library), base_url="http://127.0.0.1", raise_server_exceptions=False
        ) as client:
            while not is_over.is_set():
                for address in (
                    "/api/search?q=a circle&moments=1&strips=1",
                    f"/api/videos/{first}?q=a",
                    "/api/health",
                ):
                    statuses.append(client.get(address).status_code)

    thread = threading.Thread(target=keep_asking)
    thread.start()
    try:
        for number in (4, 5):
            add_video(demo, own, number)
            compact(own / "store")
    finally:
        is_over.set()
        thread.join()
        library.close()
    assert set(statuses) == {200}


def test_a_store_that_comes_later_is_opened_then(demo: Path, tmp_path: Path) -> None:
    library = Library([tmp_path / "store"], device="cpu")
    with pytest.raises(StoreError):
        library.store()
    shutil.copytree(demo / "store", tmp_path / "store")
    library.refresh()
    assert library.store().catalog.num_videos == 24
    shutil.rmtree(tmp_path / "store")
    library.refresh()
    with pytest.raises(StoreError):
        library.store()


def test_a_run_that_is_trained_meanwhile_ranks_without_a_restart(demo: Path, tmp_path: Path) -> None:
    trained = next(path.parent for path in (demo / "runs").glob("*/config.json"))

    def newest(store: Path) -> Path | None:
        return newest_fitting_run(tmp_path, store, read_config(store).backbone)[0]

    library = Library([demo / "store"], choose_run=newest, device="cpu")
    plain = library.store()
    library.refresh()
    assert library.store() is plain and plain.searcher.run is None
    shutil.copytree(trained, tmp_path / "first")
    library.refresh()
    ranked = library.store()
    assert ranked.searcher.run is not None and ranked.searcher.run.run == tmp_path / "first"
    library.refresh()
    assert library.store() is ranked
    os.utime(tmp_path / "first" / "model.safetensors", (1, 1))  # training went on and found a better one
    library.refresh()
    assert library.store() is not ranked


def test_vectors_of_a_run_that_a_better_one_replaced_are_not_kept(demo: Path, own: Path) -> None:
    run, index = own / "run", own / "store" / "index"
    shutil.copytree(demo / "runs" / "demo", run)
    library = Library([own / "store"], choose_run=lambda store: run, device="cpu")
    (before,) = index.glob("run-*")
    ranked = library.store().searcher
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps({**config, "num_val_videos": 99}))
    library.refresh()
    (after,) = index.glob("run-*")
    assert after != before
    assert ranked.search("a red circle").hits  # who holds the old one goes on


def test_a_file_that_is_gone_or_another_one_is_told_apart(own: Path) -> None:
    library = Library([own / "store"], device="cpu")
    opened = library.store()
    first, second, third = opened.sorted_ids[:3]
    (own / "videos" / f"{first}.mp4").unlink()
    (own / "videos" / f"{second}.mp4").write_bytes(b"another")
    with pytest.raises(VideoError) as gone:
        opened.file(first)
    with pytest.raises(VideoError) as replaced:
        opened.file(second)
    assert (gone.value.reason, replaced.value.reason) == ("not-found", "changed")
    assert opened.file(third) == own / "videos" / f"{third}.mp4"
    with pytest.raises(NotFoundError):
        opened.file("fourth")
    # Nothing to show is an answer, not an error.
    for path in (own / "videos").iterdir():
        path.unlink()
    with TestClient(make_app(library), base_url="http://127.0.0.1") as client:
        body = client.get("/api/search?q=a circle").json()
        assert body["results"] == [] and body["notes"][0].startswith("no result: all 4 videos are missing")


def test_pages_go_on_where_they_stopped_when_videos_come_between(demo: Path, own: Path) -> None:
    library = Library([own / "store"], device="cpu")
    with TestClient(make_app(library), base_url="http://127.0.0.1") as client:
        before = [row["video_id"] for row in client.get("/api/search?q=a red circle").json()["results"]]
        seen, token = [], ""
        for number in (4, 5, 6):
            body = client.get(f"/api/search?q=a red circle&top_k=2{token}").json()
            seen += [row["video_id"] for row in body["results"]]
            if body["next_page_token"] is None:
                break
            token = f"&page_token={body['next_page_token']}"
            add_video(demo, own, number)
            library.refresh()
    assert len(seen) == len(set(seen))
    assert [video_id for video_id in seen if video_id in before] == [one for one in before if one in seen]
    assert set(before[: len(before) // 2]) <= set(seen)


def test_a_folder_stands_for_the_stores_in_it(demo: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        shutil.copy(demo / "store" / "store.json", tmp_path / name)
    assert store_folders([tmp_path]) == [tmp_path / "a", tmp_path / "b"]
    assert store_folders([tmp_path / "a", tmp_path]) == [tmp_path / "a", tmp_path / "b"]
    assert store_folders([tmp_path / "none"]) == [tmp_path / "none"]


def test_names_of_tabs_are_apart() -> None:
    paths = [Path(path) for path in ("/a/store", "/b/store", "/c/b/store", "/films")]
    assert unique_names(paths) == ["store", "b/store", "store 3", "films"]
