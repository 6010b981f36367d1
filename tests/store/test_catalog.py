"""The catalogue says what the shards say, is kept, notices every change, and is never trusted blindly."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.store.stores import SHA256, make_config, make_record, make_store, write_shard
from vtrcli.errors import StoreError, VideoError
from vtrcli.store import catalog_file
from vtrcli.store.catalog import Catalog, NumberOf, PackedStrings
from vtrcli.store.catalog_file import CATALOG_NAME, open_catalog, vanished_shards
from vtrcli.store.compact import compact
from vtrcli.store.config import create_config, read_config
from vtrcli.store.reader import FeatureStore, open_shard_of
from vtrcli.store.verify import repair, verify
from vtrcli.store.writer import StoreWriter, remove_videos

RNG = np.random.default_rng(0)


def some_frames(num_frames: int) -> np.ndarray:
    return RNG.standard_normal((num_frames, 4)) * 10


def add(store: Path, **videos: np.ndarray) -> None:
    writer = StoreWriter(store, backbone_sha256=read_config(store).backbone.sha256)
    for video_id, features in videos.items():
        writer.add(make_record(video_id), features, np.arange(len(features)) + 0.5)
    writer.flush()


def check(catalog: Catalog, store: Path) -> None:
    """Everything a catalogue tells, against the shards themselves."""
    opened = FeatureStore(store)
    assert sorted(catalog.ids.all()) == list(opened.videos)
    for number, video_id in enumerate(catalog.ids.all()):
        record = opened.videos[video_id].record
        assert catalog.paths[number] == record.path and catalog.number_of[video_id] == number
        assert catalog.duration(number) == record.duration_seconds
        assert (catalog["mtime_ns"][number], catalog["num_bytes"][number]) == (
            record.mtime_ns,
            record.num_bytes,
        )
        np.testing.assert_array_equal(catalog.features(number), opened.features(video_id))
        np.testing.assert_array_equal(catalog.timestamps(number), opened.timestamps(video_id))
        rows = opened.features(video_id).astype(np.float64)
        norms = np.linalg.norm(rows, axis=1)
        here = slice(int(catalog["start"][number]), int(catalog["stop"][number]))
        np.testing.assert_allclose(catalog["inverse_norms"][here], 1 / norms, rtol=1e-5)
        mean = np.linalg.norm((rows / norms[:, None]).mean(axis=0))
        np.testing.assert_allclose(catalog["mean_norms"][number], mean, rtol=1e-5)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return make_store(tmp_path / "store", {name: some_frames(3) for name in ("b", "a", "c")})


def test_it_tells_what_the_shards_tell_and_is_read_back_the_same(store: Path) -> None:
    made = open_catalog(store)
    check(made, store)
    read = open_catalog(store)
    check(read, store)
    assert all(np.array_equal(made[name], read[name]) for name in made.arrays)


def test_new_and_changed_videos_are_taken_in(store: Path) -> None:
    open_catalog(store)
    add(store, d=some_frames(5), a=some_frames(1))
    catalog = open_catalog(store)
    check(catalog, store)
    assert catalog.num_videos == 4


def test_known_shards_are_not_read_again(store: Path) -> None:
    open_catalog(store)
    (shard,) = (store / "shards").iterdir()
    body = bytearray(shard.read_bytes())
    body[8:10] = b"??"  # its header is no JSON any more
    mtime_ns = shard.stat().st_mtime_ns
    shard.write_bytes(body)
    os.utime(shard, ns=(mtime_ns, mtime_ns))
    add(store, d=some_frames(2))
    assert sorted(open_catalog(store).ids.all()) == ["a", "b", "c", "d"]
    (store / "index" / CATALOG_NAME).unlink()
    with pytest.raises(StoreError, match="is damaged"):
        open_catalog(store)


def test_a_video_that_was_superseded_counts_again_when_the_newer_shard_has_gone(store: Path) -> None:
    add(store, a=some_frames(7))
    assert len(open_catalog(store).features(open_catalog(store).number_of["a"])) == 7
    sorted((store / "shards").iterdir())[-1].unlink()
    check(open_catalog(store), store)


def test_removed_videos_are_left_out_and_stay_out(store: Path) -> None:
    open_catalog(store)
    remove_videos(store, ["a", "c"])
    check(open_catalog(store), store)
    assert open_catalog(store).ids.all() == ["b"]
    add(store, c=some_frames(2))
    check(open_catalog(store), store)
    write_shard(  # a slow clock: it sorts before the removal
        store / "shards" / "00000000000000000001-1-00000000.safetensors",
        [make_record("a")],
        [some_frames(2).astype(np.float16)],
        [np.arange(2, dtype=np.float32)],
        backbone_sha256=SHA256,
    )
    check(open_catalog(store), store)
    assert sorted(open_catalog(store).ids.all()) == ["b", "c"]


def test_a_store_whose_videos_were_all_removed_is_empty(store: Path) -> None:
    remove_videos(store, ["a", "b", "c"])
    assert open_catalog(store).num_videos == open_catalog(store).num_videos == 0


def test_when_a_shard_has_gone_only_those_are_read_again_whose_videos_it_hid(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(store, a=some_frames(7))  # hides one of the first shard
    add(store, d=some_frames(5))
    add(store, e=some_frames(5))
    open_catalog(store)
    first, *_, last = sorted((store / "shards").iterdir())
    last.unlink()
    read: list[Path] = []
    monkeypatch.setattr(
        "vtrcli.store.catalog_file.open_shard_of",
        lambda config, path, roots: read.append(path) or open_shard_of(config, path, roots),
    )
    check(open_catalog(store), store)
    assert read == [first]


def test_a_shard_of_another_machine_with_a_slow_clock_does_not_win(store: Path) -> None:
    open_catalog(store)
    write_shard(
        store / "shards" / "00000000000000000001-1-00000000.safetensors",
        [make_record("a"), make_record("z")],
        [some_frames(2).astype(np.float16)] * 2,
        [np.arange(2, dtype=np.float32)] * 2,
        backbone_sha256=SHA256,
    )
    catalog = open_catalog(store)
    check(catalog, store)
    assert len(catalog.features(catalog.number_of["a"])) == 3


def test_a_store_that_cannot_be_written_is_opened_all_the_same(store: Path) -> None:
    (store / "index").write_text("not a folder")
    check(open_catalog(store), store)


def test_an_empty_store_has_an_empty_catalogue(tmp_path: Path) -> None:
    create_config(tmp_path, make_config())
    assert open_catalog(tmp_path).num_videos == 0
    assert open_catalog(tmp_path).num_videos == 0


def test_names_that_are_not_utf8_survive(tmp_path: Path) -> None:
    store = make_store(tmp_path, {"caf\udce9": some_frames(1)})
    assert open_catalog(store).ids.all() == open_catalog(store).ids.all() == ["caf\udce9"]


@pytest.mark.parametrize("where", range(0, 3000, 150))
def test_a_damaged_catalogue_is_made_again(store: Path, where: int) -> None:
    open_catalog(store)
    path = store / "index" / CATALOG_NAME
    body = bytearray(path.read_bytes())
    body[where % len(body)] ^= 0xFF
    path.write_bytes(body)
    catalog = open_catalog(store)
    for number in range(catalog.num_videos):  # whatever it says, nothing outside the shards is reached
        assert len(catalog.features(number)) == len(catalog.timestamps(number)) > 0


def test_the_catalogue_of_another_store_is_not_used(store: Path, tmp_path: Path) -> None:
    open_catalog(store)
    other = make_store(tmp_path / "other", {"x": some_frames(2)})
    shutil.copytree(store / "index", other / "index")
    check(open_catalog(other), other)


def test_a_shard_that_was_replaced_under_its_name_is_read_again(store: Path) -> None:
    before = open_catalog(store)
    (path,) = (store / "shards").iterdir()
    path.unlink()
    add(store, **{name: some_frames(3) for name in ("b", "a", "c")})
    (other,) = (store / "shards").iterdir()
    other.rename(path)
    catalog = open_catalog(store)
    check(catalog, store)
    assert catalog.shard_names == before.shard_names and catalog.shard_keys != before.shard_keys


def add_unsound(store: Path, *, times: list[float] | None = None, **change: object) -> None:
    """A shard as the first releases wrote it: nobody looked at what a video said of itself."""
    records = [make_record("a", **change), make_record("z")]
    frames = [some_frames(3).astype(np.float16), some_frames(2).astype(np.float16)]
    stamps = [np.array(times or [0.0, 1.0, 2.0], np.float32), np.arange(2, dtype=np.float32)]
    path = store / "shards" / "08888888888888888888-1-ab.safetensors"
    write_shard(path, records, frames, stamps, backbone_sha256=SHA256)


UNSOUND = [
    ({"times": [0.0, np.nan, 2.0]}, "the times of 'a' are no times in their order"),
    ({"times": [0.0, np.inf, 2.0]}, "the times of 'a' are no times in their order"),
    ({"times": [2.0, 1.0, 0.0]}, "the times of 'a' are no times in their order"),
    ({"times": [-1.0, 0.0, 1.0]}, "the times of 'a' are no times in their order"),
    ({"duration_seconds": 1e400}, "'a' lasts inf s"),
    ({"duration_seconds": -1.0}, "'a' lasts -1.0 s"),
    ({"num_bytes": -1}, "'a' has -1 bytes"),
    ({"num_bytes": 10**400}, "'a' has 10000000000000000000 bytes"),
]


@pytest.mark.parametrize(("change", "problem"), UNSOUND)
def test_one_unsound_video_is_left_out_and_the_others_are_found(
    store: Path, change: dict[str, Any], problem: str
) -> None:
    add_unsound(store, **change)
    for _ in range(2):  # made, and read back
        catalog = open_catalog(store)
        assert sorted(catalog.ids.all()) == ["b", "c", "z"]  # nor is the older "a" what its file is now
        assert [text for texts in catalog.left_out.values() for text in texts] == [problem]
    add(store, d=some_frames(2))
    assert sorted(open_catalog(store).ids.all()) == ["b", "c", "d", "z"] and open_catalog(store).left_out
    report = verify(store)
    assert report.problems == () and [(name, why) for _, name, why in report.unsound] == [("a", problem)]
    repair(store, report)
    assert verify(store).all_problems == () and not open_catalog(store).left_out
    assert sorted(open_catalog(store).ids.all()) == ["b", "c", "d", "z"]


@pytest.mark.parametrize(("change", "problem"), UNSOUND)
def test_what_is_unsound_is_not_written(tmp_path: Path, change: dict[str, Any], problem: str) -> None:
    writer = StoreWriter(make_store(tmp_path, {}), backbone_sha256=SHA256)
    times = np.array(change.pop("times", [0.0, 1.0, 2.0]))
    with pytest.raises(VideoError) as caught:
        writer.add(make_record("a", **change), some_frames(3), times)
    assert (caught.value.reason, caught.value.detail) == ("corrupt", problem)


@pytest.mark.parametrize("mtime_ns", [2**70, -(2**70), 0, -1])
def test_any_date_of_a_file_will_do(tmp_path: Path, mtime_ns: int) -> None:
    store = make_store(tmp_path, {})
    writer = StoreWriter(store, backbone_sha256=SHA256)
    writer.add(make_record("a", mtime_ns=mtime_ns), some_frames(3), np.arange(3.0))
    writer.flush()
    assert FeatureStore(store).videos["a"].record.mtime_ns == mtime_ns
    assert open_catalog(store)["mtime_ns"].tolist() == [max(-(2**63), min(mtime_ns, 2**63 - 1))]
    assert verify(store).all_problems == ()


def test_a_shard_that_somebody_deleted_is_missed_and_one_that_was_compacted_is_not(store: Path) -> None:
    add(store, d=some_frames(2))
    assert vanished_shards(store) == []
    open_catalog(store)
    path = sorted((store / "shards").iterdir())[-1]
    body = path.read_bytes()
    path.unlink()
    assert vanished_shards(store) == [(path, "gone, with 1 videos that were searched before")]
    path.write_bytes(body)
    compact(store)
    assert vanished_shards(store) == []


def test_a_large_catalogue_is_mapped_and_says_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mapped memory is everybody's: a million videos would take 200 MB of each process."""
    store = make_store(tmp_path, {"a": np.ones((2, 4)), "b": np.full((1, 4), 2.0), "ü": np.ones((3, 4))})
    open_catalog(store)
    held = open_catalog(store)
    monkeypatch.setattr(catalog_file, "MAPPED_BYTES", 0)
    mapped = open_catalog(store)
    assert (mapped.ids.all(), mapped.paths.all()) == (held.ids.all(), held.paths.all())
    assert mapped.ids[1:] == ["b", "ü"] and mapped.ids[::-1] == ["ü", "b", "a"] and mapped.ids[3:] == []
    for name, array in held.arrays.items():
        assert np.array_equal(mapped[name], array, equal_nan=array.dtype.kind == "f")
        assert not mapped[name].flags.owndata and not mapped[name].flags.writeable
    make_catalog_again(store)  # the file is replaced under the mapping
    assert mapped.ids.all() == held.ids.all()


def make_catalog_again(store: Path) -> None:
    writer = StoreWriter(store, backbone_sha256=SHA256)
    writer.add(make_record("c"), np.ones((1, 4)), np.arange(1))
    writer.flush()
    assert open_catalog(store).num_videos == 4


@given(st.lists(st.text(st.sampled_from("ab/\u00e9\udc80"), max_size=3), max_size=12), st.text(max_size=2))
def test_a_name_has_the_number_that_a_dict_would_give_it(names: list[str], other: str) -> None:
    found, wanted = NumberOf(PackedStrings.pack(names)), {name: number for number, name in enumerate(names)}
    for name in (*names, other):
        assert found.get(name) == wanted.get(name) and (name in found) == (name in wanted)
