"""Milvus holds what the store holds, ranks as numpy does, and fails in sentences."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.milvus.stores import (
    DIM,
    HOSTILE_PATHS,
    closing_server,
    exact_ranking,
    fill,
    guarded_server,
    make_records,
    of_another_backbone,
    query_vector,
)
from tests.store.stores import make_record
from vtrcli.errors import InputError, StoreError, UsageError
from vtrcli.milvus.collection import LABEL
from vtrcli.milvus.push import PushResult, push, spaces_of
from vtrcli.milvus.reader import FoundVideo, MilvusIndex
from vtrcli.milvus.rows import decode_text, encode_text, expression
from vtrcli.milvus.server import MilvusServer
from vtrcli.searching.filters import Filters
from vtrcli.store.reader import FeatureStore, unit_rows

pytestmark = pytest.mark.slow  # a server is started
pytest.importorskip("milvus_lite", reason="milvus-lite is not installed: pip install 'vtrcli[milvus]'")


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory):
    """One milvus-lite for the module; the tests use prefixes of their own."""
    path = tmp_path_factory.mktemp("milvus") / "vtr.db"
    yield str(path)
    from milvus_lite.server_manager import server_manager_instance

    server_manager_instance.release_server(str(path))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    return fill(tmp_path_factory.mktemp("store"), make_records())


@pytest.fixture(scope="module")
def index(uri: str, store: FeatureStore):
    push(store, uri=uri, prefix="shared")
    with MilvusIndex(uri, prefix="shared") as index:
        yield index


def rank(found: list[FoundVideo]) -> list[tuple[str, float]]:
    return [(video.video_id, pytest.approx(video.score, abs=1e-5)) for video in found]


def counts(result: PushResult) -> tuple[int, int, int, int]:
    return result.num_added, result.num_changed, result.num_removed, result.num_unchanged


def rows(uri: str, name: str) -> dict[str, tuple]:
    """Everything in a collection, vectors too."""
    server = MilvusServer(uri, must_exist=True)
    found = server.client.query(name, filter="frame >= 0", output_fields=["*"], limit=10_000)
    server.close()
    return {row["id"]: tuple(sorted((key, str(value)) for key, value in row.items())) for row in found}


# ---- ranking


@pytest.mark.parametrize("top_k", [1, 10, 39, 100])
def test_the_ranking_is_the_exact_one(index: MilvusIndex, store: FeatureStore, top_k: int) -> None:
    query = query_vector()
    assert rank(index.search_frames(query, top_k=top_k)) == exact_ranking(store, query)[:top_k]


def test_a_video_with_very_many_good_frames_does_not_hide_the_others(uri: str, tmp_path: Path) -> None:
    store = fill(tmp_path, make_records(1), num_frames=400)
    store = fill(tmp_path, make_records(6)[1:], seed=1)
    push(store, uri=uri, prefix="long")
    # Every frame of the long video beats the others: milvus-lite's group_by alone finds one video.
    query = unit_rows(store.features("video-0"))[0]
    with MilvusIndex(uri, prefix="long") as index:
        assert rank(index.search_frames(query, top_k=5)) == exact_ranking(store, query)[:5]


def test_no_store_is_needed_to_search(index: MilvusIndex, store: FeatureStore) -> None:
    assert index.backbone == store.config.backbone
    assert index.num_videos == 40


def test_found_videos_carry_what_filters_ask_for(index: MilvusIndex, store: FeatureStore) -> None:
    for video in index.search_frames(query_vector(), top_k=40):
        record = store.videos[video.video_id].record
        assert (video.path, video.duration_seconds) == (record.path, record.duration_seconds)
        assert (video.changed_at, video.num_bytes) == (record.mtime_ns / 1e9, record.num_bytes)


def test_frames_come_back_whole_and_in_order(index: MilvusIndex, store: FeatureStore) -> None:
    frames = index.frames_of(["video-3", "video-7", "no such video"])
    assert list(frames) == ["video-3", "video-7"]
    vectors, timestamps, duration, path = frames["video-7"]
    np.testing.assert_allclose(vectors, unit_rows(store.features("video-7")), atol=1e-7)
    np.testing.assert_array_equal(timestamps, store.timestamps("video-7"))
    assert vectors.dtype == timestamps.dtype == np.float32
    assert duration is None and path == store.videos["video-7"].record.path
    assert frames["video-3"].duration_seconds == 3.0


def test_a_query_of_another_width_is_refused(index: MilvusIndex) -> None:
    with pytest.raises(
        InputError, match=r"a query vector of shape \[8\]; \[16\], as the vectors in Milvus; encode"
    ):
        index.search_frames(np.ones(8, np.float32), top_k=1)


# ---- filters


@pytest.mark.parametrize(
    "filters",
    [
        Filters(paths=("*.mp4",)),
        Filters(paths=("kitchen/*",)),
        Filters(paths=("KITCHEN",)),
        Filters(paths=("kitchen/", "TEE2*")),
        Filters(paths=("my_cat*", "kitchen/Tee2*")),
        Filters(paths=("*[13].mov",)),
        Filters(paths=("pasta?.mp4",)),
        Filters(paths=("[!p]*",)),
        Filters(paths=("*]*", "Tee5.m*")),
        Filters(paths=("nothing like it",)),
        Filters(min_duration_seconds=10.0),
        Filters(max_duration_seconds=10.0),
        Filters(min_duration_seconds=-5.0, max_duration_seconds=1e300),
        Filters(min_changed_at=1_700_000_010.123456789, max_changed_at=1_700_000_020),
        Filters(min_bytes=5000, max_bytes=10**30),
        Filters(min_bytes=35_000, paths=("*.mov",), max_duration_seconds=38),
        Filters(max_bytes=-1),
        Filters(min_duration_seconds=float("inf")),
    ],
    ids=str,
)
def test_filters_mean_what_they_mean_in_a_store(
    index: MilvusIndex, store: FeatureStore, filters: Filters
) -> None:
    query = query_vector(7)
    for top_k in (3, 40):
        found = index.search_frames(query, top_k=top_k, filters=filters)
        assert rank(found) == exact_ranking(store, query, filters)[:top_k]


def test_hostile_paths_survive_and_match_as_in_a_store(uri: str, tmp_path: Path) -> None:
    store = fill(tmp_path, [make_record(path, path=path) for path in HOSTILE_PATHS])
    assert push(store, uri=uri, prefix="hostile").refused == ()
    patterns = (
        "*'*",
        '*"*',
        "*\\*",
        "*%*",
        "*_*",
        "*grün*",
        "*\udcff*",
        "*\n*",
        "*{x}*",
        "*[[]*",
        "*猫 ?.mp4",
    )
    with MilvusIndex(uri, prefix="hostile") as index:
        query = query_vector()
        assert {video.path for video in index.search_frames(query, top_k=100)} == set(HOSTILE_PATHS)
        assert index.frames_of([HOSTILE_PATHS[7]])[HOSTILE_PATHS[7]].path == HOSTILE_PATHS[7]
        for pattern in (*patterns, *(path.replace("[", "[[]") for path in HOSTILE_PATHS)):
            filters = Filters(paths=(pattern,))
            expected = exact_ranking(store, query, filters)
            assert rank(index.search_frames(query, top_k=100, filters=filters)) == expected != []


def test_nothing_that_a_user_wrote_can_leave_its_quotes() -> None:
    assert expression(Filters(paths=('7"] or 1 == 1 or name like "[x]%_\\*',))) == (
        '(path like "%/7_] __ 1 == 1 __ ____ ____ _%__%/%" or path like "%/7_] __ 1 == 1 __ ____ ____ _%__%"'
        ' or name like "7_] __ 1 == 1 __ ____ ____ _%__%")'
    )
    assert expression(Filters(paths=("*", "a*"))) == expression(Filters()) == ""


def test_encoded_texts_are_utf8_and_come_back() -> None:
    for path in (*HOSTILE_PATHS, "two lone surrogates \ud83d\ude00", "\\", "\\u005c", "\\\\u0041"):
        assert decode_text(encode_text(path)) == path
        encode_text(path).encode("utf-8")
    assert encode_text("/v/grün 100%.mp4") == "/v/grün 100%.mp4"


# ---- pushing


def test_pushing_twice_writes_nothing(uri: str, store: FeatureStore, index: MilvusIndex) -> None:
    calls: list[tuple[int, int]] = []
    before = rows(uri, "shared_frames")
    again = push(store, uri=uri, prefix="shared", on_progress=lambda *progress: calls.append(progress))
    assert counts(again) == (0, 0, 0, 40) and calls == []
    assert rows(uri, "shared_frames") == before and len(before) == 200


def test_changed_videos_are_replaced_and_removed_ones_go(uri: str, tmp_path: Path) -> None:
    records = make_records(10)
    push(fill(tmp_path / "old", records), uri=uri, prefix="change")
    store = fill(tmp_path / "new", records[:8])
    push(store, uri=uri, prefix="change")
    store = fill(tmp_path / "new", [replace(records[3], path="/elsewhere.mp4")], seed=5, num_frames=2)
    assert counts(push(store, uri=uri, prefix="change")) == (0, 1, 0, 7)
    with MilvusIndex(uri, prefix="change") as index:
        query = query_vector()
        assert rank(index.search_frames(query, top_k=20)) == exact_ranking(store, query)
        assert len(index.frames_of(["video-3"])["video-3"].vectors) == 2
        assert index.frames_of(["video-9"]) == {}


def test_a_push_that_was_stopped_ends_in_the_same_state(uri: str, tmp_path: Path) -> None:
    store = fill(tmp_path, make_records(8), num_frames=9)
    push(store, uri=uri, prefix="whole")

    def stop(num_done: int, total: int) -> None:
        if num_done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):  # in the middle of a video: a batch holds two or three frames
        push(store, uri=uri, prefix="stopped", batch_bytes=1000, on_progress=stop)
    assert 27 < len(rows(uri, "stopped_frames")) < 36
    server = MilvusServer(uri, must_exist=True)
    some = [key for key in rows(uri, "stopped_frames") if key.endswith("-0000004")][:1]
    server.client.delete("stopped_frames", ids=some)  # and a row that somebody removed
    server.close()
    assert counts(push(store, uri=uri, prefix="stopped"))[0] >= 5
    assert rows(uri, "stopped_frames") == rows(uri, "whole_frames")


def test_a_push_stopped_after_any_of_its_calls_ends_in_the_same_state(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = make_records(6)
    old = fill(tmp_path / "old", records[:4])
    new = fill(tmp_path / "new", [*records[2:3], *records[4:]], seed=5, num_frames=3)  # new, changed and gone
    calling, num_calls, stop_after = MilvusServer.calling, 0, 0

    @contextmanager
    def counted(server: MilvusServer, doing: str):
        nonlocal num_calls
        with calling(server, doing) as client:
            yield client
        num_calls += 1
        if num_calls == stop_after:
            raise KeyboardInterrupt

    push(old, uri=uri, prefix="calm")
    monkeypatch.setattr(MilvusServer, "calling", counted)
    push(new, uri=uri, prefix="calm", batch_bytes=200)
    total, wanted = num_calls, rows(uri, "calm_frames")
    assert total > 5 and len(wanted) == 9
    for after in range(1, total + 1):
        stop_after = 0
        push(old, uri=uri, prefix=f"after{after}")
        num_calls, stop_after = 0, after
        with pytest.raises(KeyboardInterrupt):
            push(new, uri=uri, prefix=f"after{after}", batch_bytes=200)
        push(new, uri=uri, prefix=f"after{after}", batch_bytes=200)
        assert rows(uri, f"after{after}_frames") == wanted, f"stopped after call {after} of {total}"
    print(f"stopped after each of {total} calls")


def test_a_half_written_video_is_not_taken_for_whole(uri: str, tmp_path: Path) -> None:
    store = fill(tmp_path, make_records(2))
    push(store, uri=uri, prefix="half")
    server = MilvusServer(uri, must_exist=True)
    gone = next(key for key in rows(uri, "half_frames") if key.endswith("-0000002"))
    server.client.delete("half_frames", ids=[gone])
    server.close()
    with (
        MilvusIndex(uri, prefix="half") as index,
        pytest.raises(
            StoreError, match=r"half_frames at .* holds 4 of 5 frames of video-[01]; whole videos; wait"
        ),
    ):
        index.frames_of(["video-0", "video-1"])


def test_what_milvus_cannot_hold_costs_that_video_only(uri: str, tmp_path: Path) -> None:
    store = fill(tmp_path, [make_record("long", path="/" + "x" * 70_000), make_record("fine")])
    result = push(store, uri=uri, prefix="refused")
    assert result.refused == (("long", "its id or path is longer than 65,535 bytes"),)
    assert counts(result) == (1, 0, 0, 0)


# ---- vectors of a trained run


def test_vectors_of_a_run_are_ranked_by_inner_product(uri: str, tmp_path: Path) -> None:
    records = make_records(30)
    store = fill(tmp_path, records)
    ids = list(store.videos)
    vectors = np.random.default_rng(3).standard_normal((30, 48)).astype(np.float32)
    first = push(store, uri=uri, prefix="run", vectors={"first": (ids, vectors)})
    assert first.num_vectors == {"first": 30}
    vectors[4] *= -1
    assert push(store, uri=uri, prefix="run", vectors={"first": (ids, vectors)}).num_vectors == {"first": 1}
    query = np.random.default_rng(4).standard_normal(48).astype(np.float32)
    scores = vectors @ query
    kept = [
        number for number in np.argsort(-scores).tolist() if store.videos[ids[number]].record.num_bytes > 9000
    ]
    with MilvusIndex(uri, prefix="run") as index:
        assert spaces_of(index._server, "run") == ["first"]
        found = index.search_vectors("first", query, top_k=10, filters=Filters(min_bytes=9001))
        assert [video.video_id for video in found] == [ids[number] for number in kept[:10]]
        np.testing.assert_allclose([video.score for video in found], scores[kept[:10]], rtol=1e-5)
    fill(tmp_path, records[:1], seed=8)  # the video changed, the run has not seen it since
    push(FeatureStore(tmp_path), uri=uri, prefix="run")
    with MilvusIndex(uri, prefix="run") as index:
        assert len(index.search_vectors("first", query, top_k=99)) == 29
        with pytest.raises(StoreError, match="no collection run_b at "):
            index.search_vectors("b", query, top_k=1)
    with pytest.raises(
        StoreError, match=r"collection run_first at .* holds vectors of width 48, not 9; a space"
    ):
        push(store, uri=uri, prefix="run", vectors={"first": (ids, np.ones((30, 9), np.float32))})
    with pytest.raises(
        InputError, match=r"space 'a': 1 video ids .* and 'x' is not in the store; one vector"
    ):
        push(store, uri=uri, prefix="run", vectors={"a": (["x"], np.ones((1, 8), np.float32))})


# ---- refusals


def test_two_backbones_do_not_share_a_prefix(uri: str, tmp_path: Path, index: MilvusIndex) -> None:
    other = of_another_backbone(fill(tmp_path, make_records(1)))
    with pytest.raises(StoreError) as caught:
        push(other, uri=uri, prefix="shared")
    assert str(caught.value) == (
        f"collection shared_frames at {uri} holds features of tiny (weights abababababab), "
        "not of other (weights cdcdcdcdcdcd); the collections of a prefix hold one backbone; "
        "use another --prefix for other"
    )


def test_foreign_and_newer_collections_are_left_alone(
    uri: str, store: FeatureStore, index: MilvusIndex
) -> None:
    server = MilvusServer(uri, must_exist=True)
    server.client.create_collection("foreign_frames", dimension=DIM)
    label = json.loads(server.client.describe_collection("shared_frames")["properties"][LABEL])
    newer = {LABEL: json.dumps({**label, "version": 2})}
    schema = server.client.create_schema().add_field("id", 5, is_primary=True).add_field("v", 101, dim=2)
    server.client.create_collection("newer_frames", schema=schema, properties=newer)
    server.close()
    for action in (
        lambda prefix: MilvusIndex(uri, prefix=prefix),
        lambda prefix: push(store, uri=uri, prefix=prefix),
    ):
        with pytest.raises(
            StoreError, match=r"collection foreign_frames at .* was not made by vtr; collections as"
        ):
            action("foreign")
        with pytest.raises(
            StoreError, match=r"newer_frames at .* has format version 2; this vtr reads versions up to 1"
        ):
            action("newer")


def test_nothing_pushed_there(uri: str, index: MilvusIndex) -> None:
    with pytest.raises(StoreError) as caught:
        MilvusIndex(uri, prefix="nobody")
    assert str(caught.value) == (
        f"no collection nobody_frames at {uri}; collections that `vtr milvus push` made; "
        f"run `vtr milvus push --milvus {uri}`, or correct --prefix"
    )
    with pytest.raises(
        UsageError, match=r"prefix 'a-b' cannot be part of the name of a Milvus collection; up to"
    ):
        MilvusIndex(uri, prefix="a-b")


def test_a_server_that_is_not_there_is_told_within_seconds(capfd: pytest.CaptureFixture[str]) -> None:
    start = time.monotonic()
    with pytest.raises(StoreError) as caught:
        MilvusIndex("http://me:secret@127.0.0.1:9", timeout_seconds=3)
    assert time.monotonic() - start < 5
    assert str(caught.value) == (
        "no Milvus server answers at http://…@127.0.0.1:9 (Failed to connect to remote host: Connection refused); "
        "an address where Milvus answers within 3 s; start the server, or correct --milvus"
    )
    assert capfd.readouterr() == ("", "")


def test_a_server_that_hangs_up_is_told_within_seconds(capfd: pytest.CaptureFixture[str]) -> None:
    start = time.monotonic()
    with (
        closing_server() as address,
        pytest.raises(StoreError, match="no Milvus server answers at http://127"),
    ):
        MilvusIndex(address, timeout_seconds=2)
    assert time.monotonic() - start < 5
    assert capfd.readouterr() == ("", "")


def test_a_connection_lost_during_the_work_is_told(
    tmp_path: Path, store: FeatureStore, capfd: pytest.CaptureFixture[str]
) -> None:
    from milvus_lite.adapter.grpc.server import start_server_in_thread

    server, database, port = start_server_in_thread(str(tmp_path / "own.db"))
    address = f"http://127.0.0.1:{port}"
    assert counts(push(store, uri=address)) == (40, 0, 0, 0)

    def lose(num_done: int, total: int) -> None:
        server.stop(None).wait()

    with MilvusIndex(address, timeout_seconds=0.5) as index:
        assert index.search_frames(query_vector(), top_k=1)
        start = time.monotonic()
        with pytest.raises(StoreError) as caught:
            push(store, uri=address, prefix="b", batch_bytes=1000, timeout_seconds=0.5, on_progress=lose)
        assert caught.value.came_in.startswith(f"Milvus at {address} failed while writing to b_frames: ")
        assert caught.value.allowed == "a server that answers within 0.5 s"
        assert caught.value.to_do == "see that the server runs and is reachable, then run the command again"
        with pytest.raises(StoreError, match="failed while searching vtr_frames: "):
            index.search_frames(query_vector(), top_k=1)
        assert time.monotonic() - start < 5
    database.close()
    assert capfd.readouterr() == ("", "")


def test_a_wrong_token_is_told() -> None:
    with guarded_server() as address, pytest.raises(StoreError) as caught:
        MilvusIndex(address, token="me:wrong", timeout_seconds=2)
    assert str(caught.value).startswith(
        f"Milvus at {address} does not accept the token; a token user:password"
    )


@pytest.mark.parametrize(
    "address", ["localhost:19530", "ftp://host", "http://", "http://host:99999", "vtr.sqlite"]
)
def test_a_wrong_address_is_told(address: str) -> None:
    with pytest.raises(StoreError) as caught:
        MilvusIndex(address)
    assert str(caught.value) == (
        f"'{address}' is no address of a Milvus server; "
        "http://host:19530, https://host, or a local file that ends in .db; correct --milvus"
    )


def test_a_local_file_that_cannot_be(tmp_path: Path, store: FeatureStore) -> None:
    with pytest.raises(StoreError) as caught:
        push(store, uri=str(tmp_path / "missing" / "vtr.db"))
    assert str(caught.value) == (
        f"the folder {tmp_path / 'missing'} of the Milvus file vtr.db does not exist; "
        "a file in an existing folder; make the folder, or choose another file with --milvus"
    )
    with pytest.raises(
        StoreError, match=r"no Milvus file at .*; a file that `vtr milvus push` made; make it with"
    ):
        MilvusIndex(str(tmp_path / "new.db"))
    assert not (tmp_path / "new.db").exists()
    (tmp_path / "other.db").write_bytes(b"SQLite format 3")
    with pytest.raises(StoreError, match=r"cannot open .* with milvus-lite: .*; a database of milvus-lite 3"):
        MilvusIndex(str(tmp_path / "other.db"))


def test_the_module_costs_nothing_until_a_server_is_opened() -> None:
    code = (
        "import sys, vtrcli.milvus.reader as milvus\n"
        "assert not {'pymilvus', 'grpc', 'torch', 'pandas'} & set(sys.modules)\n"
        "sys.modules['pymilvus'] = None\n"
        "try: milvus.MilvusIndex('http://localhost')\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == (
        "UsageError --milvus needs pymilvus, which is not installed; pymilvus, and milvus-lite for a local file; "
        'pip install "vtrcli[milvus]"'
    )
