"""Compacting is invisible, crash-safe, and never lets older rows win over what is written meanwhile."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import vtrcli.store.compact as compacting
from tests.store.stores import SHA256, make_config, make_record, make_store
from vtrcli.errors import StoreError
from vtrcli.store.catalog_file import open_catalog
from vtrcli.store.compact import MERGE_AT, compact, merge_small
from vtrcli.store.config import create_config
from vtrcli.store.frames import FrameJpegs, frame_paths, frames_of
from vtrcli.store.reader import FeatureStore, shard_paths
from vtrcli.store.shard import shard_bytes
from vtrcli.store.verify import verify
from vtrcli.store.writer import StoreWriter, put_newest, remove_videos

View = dict[str, tuple[str, bytes, bytes, tuple[bytes, ...] | None]]


def write(
    store: Path,
    *video_ids: str,
    value: float = 1.0,
    num_frames: int = 2,
    frames: bool = False,
    **record: object,
) -> None:
    writer = StoreWriter(store, backbone_sha256=SHA256)
    for video_id in video_ids:
        images = FrameJpegs(tuple(f"{video_id}{value}{number}".encode() for number in range(num_frames)))
        writer.add(
            make_record(video_id, **record),
            np.full((num_frames, 4), value),
            np.arange(num_frames) + value,
            jpegs=images if frames else None,
        )
    writer.flush()


def view(store: Path) -> View:
    """All that a reader can see, byte by byte."""
    opened = FeatureStore(store)
    return {
        video_id: (
            json.dumps(at.record.to_json()),
            opened.features(video_id).tobytes(),
            opened.timestamps(video_id).tobytes(),
            None if (kept := frames_of(store, opened.shards[at.shard], at)) is None else tuple(kept),
        )
        for video_id, at in opened.videos.items()
    }


def check_catalog(store: Path) -> None:
    seen, catalog = view(store), open_catalog(store)
    assert sorted(catalog.ids.all()) == list(seen)
    for number, video_id in enumerate(catalog.ids.all()):
        assert catalog.features(number).tobytes() == seen[video_id][1]
        assert catalog.timestamps(number).tobytes() == seen[video_id][2]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Superseded and removed rows, with and without frames."""
    store = make_store(tmp_path / "store", {})
    write(store, "a", "b", value=1)
    write(store, "b", "c", value=2, frames=True)
    write(store, "d", value=3)
    remove_videos(store, ["a", "d"])
    write(store, "d", "e", value=4, frames=True)
    return store


def names(store: Path) -> list[str]:
    return [path.name for path in (*shard_paths(store), *frame_paths(store))]


def test_what_counts_is_kept_bit_for_bit_and_the_rest_goes(store: Path) -> None:
    before = view(store)
    report = compact(store)
    assert view(store) == before and list(before) == ["b", "c", "d", "e"]
    assert (report.num_shards_before, report.num_shards_after, report.num_dropped) == (5, 1, 3)
    assert report.num_bytes_after < report.num_bytes_before
    assert verify(store).problems == () and verify(store).leftovers == ()
    assert len(names(store)) == 2  # one shard, one of frames
    check_catalog(store)


def test_compacting_twice_is_compacting_once(store: Path) -> None:
    compact(store)
    before = names(store)
    report = compact(store)
    assert names(store) == before and report.num_dropped == 0


def test_a_store_of_the_size_of_one_made_afresh(store: Path, tmp_path: Path) -> None:
    for round_number in range(30):
        write(store, *"abcdefghij", value=round_number, num_frames=50)
    compact(store)
    fresh = make_store(tmp_path / "fresh", {})
    write(fresh, *"abcdefghij", value=29, num_frames=50)
    sizes = [sum(path.stat().st_size for path in folder.glob("shards/*")) for folder in (store, fresh)]
    assert sizes[0] <= 1.05 * sizes[1]


def test_frames_go_on_wish_and_features_stay(store: Path) -> None:
    before = view(store)
    compact(store, drop_frames=True)
    assert frame_paths(store) == []
    assert view(store) == {name: (*rest[:3], None) for name, rest in before.items()}


def test_what_a_later_writer_says_of_a_video_is_kept(store: Path) -> None:
    body = {**make_record("z").to_json(), "mood": "calm"}
    rows = [np.ones((1, 4), np.float16)], [np.zeros(1, np.float32)]
    put_newest(store, shard_bytes([body], *rows, backbone_sha256=SHA256), None)
    compact(store)
    (shard,) = FeatureStore(store).shards
    assert body in json.loads(shard.file.text("videos"))


def test_every_video_may_have_been_removed(store: Path) -> None:
    remove_videos(store, "bcde")
    compact(store)
    assert names(store) == [] and view(store) == {}
    write(store, "b")
    assert list(view(store)) == ["b"]


def test_damage_is_not_given_new_checksums(store: Path) -> None:
    path = shard_paths(store)[0]
    body = bytearray(path.read_bytes())
    body[-1] ^= 1
    path.write_bytes(body)
    with pytest.raises(StoreError, match=f"{path.name} is damaged: the bytes of features are not those"):
        compact(store)
    assert len(shard_paths(store)) == 5


def test_a_reader_that_opened_before_goes_on(store: Path) -> None:
    before = view(store)
    opened = FeatureStore(store)
    catalog = open_catalog(store)
    compact(store)
    for video_id, at in opened.videos.items():
        assert opened.features(video_id).tobytes() == before[video_id][1]
        kept = frames_of(store, opened.shards[at.shard], at)
        assert (None if kept is None else tuple(kept)) == before[video_id][3]
    for number, video_id in enumerate(catalog.ids.all()):
        assert catalog.features(number).tobytes() == before[video_id][1]


def while_writing(monkeypatch: pytest.MonkeyPatch, do: Callable[[], object]) -> None:
    """Let something happen when new rows are written but no old shard is deleted."""
    put = compacting.put

    def meanwhile(*arguments: object) -> Path:
        do()
        return put(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(compacting, "put", meanwhile)


def test_what_is_written_meanwhile_wins(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    while_writing(monkeypatch, lambda: write(store, "b", value=9))
    compact(store)
    assert FeatureStore(store).features("b")[0, 0] == 9
    monkeypatch.undo()
    compact(store)
    assert FeatureStore(store).features("b")[0, 0] == 9


def test_what_is_removed_meanwhile_stays_away(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    while_writing(monkeypatch, lambda: remove_videos(store, ["b"]))
    compact(store)
    assert list(view(store)) == ["c", "d", "e"]
    monkeypatch.undo()
    compact(store)
    assert list(view(store)) == ["c", "d", "e"] and len(shard_paths(store)) == 1


def test_two_at_once_hurt_nobody(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = view(store)
    calls: list[int] = []

    def other() -> None:
        if not calls:
            calls.append(1)
            remove_videos(store, ["b"])  # the other one knows of it and drops the tombstone
            compact(store)

    while_writing(monkeypatch, other)
    compact(store)
    del before["b"]
    assert view(store) == before
    assert verify(store).problems == ()


def test_a_tombstone_stays_while_an_unknown_shard_lies_before_it(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copy of another compact that is about to find out that it came too late."""
    (path,) = [path for path in shard_paths(store) if FeatureStore(store).shards[3].path == path]
    listing = compacting.shard_paths
    monkeypatch.setattr(compacting, "shard_paths", lambda store: [store / "shards" / "0-x", *listing(store)])
    compact(store)
    assert path in shard_paths(store)
    monkeypatch.undo()
    compact(store)
    assert path not in shard_paths(store)


def test_a_writer_that_was_held_up_is_not_superseded(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It chose its name, then another wrote and a third compacted, and only then its file appears."""
    import vtrcli.store.writer as writing

    publish, calls = writing.publish, []

    def late(temporary: Path, path: Path) -> None:
        if not calls:
            calls.append(path)
            write(store, "z")
            compact(store)
        publish(temporary, path)

    monkeypatch.setattr(writing, "publish", late)
    write(store, "b", value=9, frames=True)
    seen = view(store)
    assert np.frombuffer(seen["b"][1], np.float16)[0] == 9 and seen["b"][3] == (b"b90", b"b91")
    assert "z" in seen


def test_rows_of_a_contest_that_is_not_settled_are_kept(store: Path) -> None:
    import time

    now = time.time()
    write(store, "x", path="/one/x.mp4", fingerprint="1" * 32, extracted_at=now)
    write(store, "x", path="/two/x.mp4", fingerprint="2" * 32, extracted_at=now)
    compact(store)
    rows = [record for shard in FeatureStore(store).shards for record in shard.records]
    assert {record.path for record in rows if record.video_id == "x"} == {"/one/x.mp4", "/two/x.mp4"}


def test_small_shards_are_merged_when_there_are_many(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store", {})
    for number in range(MERGE_AT - 1):
        write(store, f"v{number}", value=number, frames=number % 2 == 0)
    before = names(store)
    merge_small(store)
    assert names(store) == before
    write(store, "v0", value=99)
    seen = view(store)
    merge_small(store)
    assert len(shard_paths(store)) == 1 and view(store) == seen
    remove_videos(store, ["v3"])
    for number in range(MERGE_AT):
        write(store, f"w{number}", value=number)
    merge_small(store)
    assert len(shard_paths(store)) == 2  # the tombstone
    assert list(view(store)) == sorted({*seen, *(f"w{number}" for number in range(MERGE_AT))} - {"v3"})


def killed_at(call: int, work: Callable[[], object]) -> bool:
    """Run `work` in a child process that dies at its `call`-th step on the disk; whether it came that far."""
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9
    count = 0

    def counting(step: Callable[..., object]) -> Callable[..., object]:
        def stepped(*arguments: object, **options: object) -> object:
            nonlocal count
            count += 1
            if count == call:
                os._exit(9)
            return step(*arguments, **options)

        return stepped

    for name in ("replace", "fsync", "unlink", "chmod"):
        setattr(os, name, counting(getattr(os, name)))
    try:
        work()
    finally:
        os._exit(0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize(
    "what",
    [
        pytest.param("compact", marks=pytest.mark.slow),
        pytest.param("remove"),
        pytest.param("merge", marks=pytest.mark.slow),
        pytest.param("drop frames", marks=pytest.mark.slow),
    ],
)
def test_a_kill_at_any_step_loses_nothing_and_the_next_one_finishes(
    store: Path, tmp_path: Path, what: str
) -> None:
    for number in range(MERGE_AT if what == "merge" else 1):
        write(store, f"v{number}", frames=number == 3)
    before = view(store)
    removed = {name: rest for name, rest in before.items() if name != "b"}
    bare = {name: (*rest[:3], None) for name, rest in before.items()}
    work: Callable[[Path], object]
    work, allowed = {
        "compact": (compact, [before]),
        "remove": (lambda store: remove_videos(store, ["b"]), [before, removed]),
        "merge": (merge_small, [before]),
        "drop frames": (lambda store: compact(store, drop_frames=True), [before, bare]),
    }[what]
    call, copy = 0, tmp_path / "copy"
    while True:
        call += 1
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(store, copy)
        if not killed_at(call, lambda: work(copy)):
            break
        seen = view(copy)
        if what == "drop frames":  # frames go file by file
            assert {name: rest[:3] for name, rest in seen.items()} == {n: r[:3] for n, r in before.items()}
            assert all(rest[3] in (None, before[name][3]) for name, rest in seen.items())
        else:
            assert seen in allowed
        assert verify(copy).problems == ()
        work(copy)
        compact(copy)
        assert view(copy) == allowed[-1]
        assert len(shard_paths(copy)) == 1
    assert call > (3 if what == "remove" else 8)


IDS = st.lists(st.sampled_from("abcde"), min_size=1, max_size=4, unique=True)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), IDS),
        st.tuples(st.just("remove"), IDS),
        st.tuples(st.just("compact"), st.just([])),
        st.tuples(st.just("merge"), st.just([])),
        st.tuples(st.just("catalog"), st.just([])),
    ),
    max_size=12,
)


@settings(max_examples=40, deadline=None)
@given(STEPS)
def test_whatever_is_done_in_whatever_order_the_view_is_that_of_a_dictionary(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, list[str]]]
) -> None:
    store = tmp_path_factory.mktemp("store")
    create_config(store, make_config())
    truth: dict[str, float] = {}
    for number, (what, ids) in enumerate(steps):
        if what == "write":
            write(store, *ids, value=number, num_frames=1 + number % 3, frames=number % 2 == 0)
            truth.update(dict.fromkeys(ids, float(number)))
        elif what == "remove":
            remove_videos(store, ids)
            truth = {name: value for name, value in truth.items() if name not in ids}
        elif what == "catalog":
            check_catalog(store)
        else:
            compact(store) if what == "compact" else merge_small(store)
        seen = {name: float(np.frombuffer(rest[1], np.float16)[0]) for name, rest in view(store).items()}
        assert seen == dict(sorted(truth.items()))
    check_catalog(store)
    assert verify(store).problems == ()
