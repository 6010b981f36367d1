"""What is written is what is read; later shards supersede earlier ones; opening reads no features."""

from __future__ import annotations

import io
import json
import os
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.store.stores import SHA256, make_record, make_store, write_shard
from vtrcli.errors import StoreError, VideoError
from vtrcli.files import write_whole
from vtrcli.store.failures import append_failure, make_failure, read_failures
from vtrcli.store.frames import (
    FrameJpegs,
    FrameShard,
    decode_frame,
    encode_jpegs,
    encode_whole,
    frame_shard_bytes,
    frames_of,
    kept_frames,
)
from vtrcli.store.maps import PartFile
from vtrcli.store.reader import FeatureStore, shard_paths
from vtrcli.store.roots import Root, add_roots, move_roots
from vtrcli.store.shard import open_tensors
from vtrcli.store.verify import verify
from vtrcli.store.writer import StoreWriter, remove_videos


def test_features_come_back_as_float16_and_in_the_order_of_ids(tmp_path: Path) -> None:
    make_store(tmp_path, {"b": np.full((2, 4), 1.5), "a": np.full((3, 4), -2.25)})
    store = FeatureStore(tmp_path)
    assert list(store.videos) == ["a", "b"]
    assert store.num_frames == 5
    assert store.features("a").dtype == np.float16
    assert store.features("a").tolist() == [[-2.25] * 4] * 3
    assert store.timestamps("b").tolist() == [0.5, 1.5]
    assert store.videos["b"].record == make_record("b")


def test_a_later_shard_supersedes_an_earlier_one_per_video(tmp_path: Path) -> None:
    make_store(tmp_path, {"a": np.zeros((2, 4)), "b": np.zeros((2, 4))})
    make_store(tmp_path, {"a": np.ones((1, 4))})
    store = FeatureStore(tmp_path)
    assert len(store.shards) == 2
    assert store.features("a").tolist() == [[1.0] * 4]
    assert store.features("b").shape == (2, 4)
    assert [[at.record.video_id for at in current] for _, current in store.by_shard()] == [["b"], ["a"]]


def test_a_removed_video_is_gone_until_it_is_written_again(tmp_path: Path) -> None:
    make_store(tmp_path, {"a": np.zeros((2, 4)), "b": np.zeros((2, 4))})
    path = remove_videos(tmp_path, ["a", "unknown"])
    assert path == shard_paths(tmp_path)[-1]
    store = FeatureStore(tmp_path)
    assert list(store.videos) == ["b"] and store.num_frames == 2
    assert store.shards[-1].removed == ("a",)
    assert remove_videos(tmp_path, ["a"]) is None
    report = verify(tmp_path)
    assert (report.problems, report.num_shards, report.num_frames) == ((), 2, 4)
    make_store(tmp_path, {"a": np.ones((1, 4))})
    assert FeatureStore(tmp_path).features("a").tolist() == [[1.0] * 4]


def test_a_removal_that_was_altered_is_found(tmp_path: Path) -> None:
    make_store(tmp_path, {"a": np.zeros((2, 4)), "b": np.zeros((2, 4))})
    path = remove_videos(tmp_path, ["a"])
    assert path is not None
    body = path.read_bytes()
    assert body.count(b'[\\"a\\"]') == 1
    path.write_bytes(body.replace(b'[\\"a\\"]', b'[\\"b\\"]'))
    assert verify(tmp_path).problems == ((path, "the bytes of removed are not those that were written"),)
    path.write_bytes(body.replace(b'[\\"a\\"]', b"[ 12  ]"))
    ((_, detail),) = verify(tmp_path).problems
    assert "what it removes is not a list of ids" in detail


def test_the_frames_of_a_removed_video_are_gone_with_it(tmp_path: Path) -> None:
    make_store(tmp_path, {"a": np.ones((1, 4))})
    writer = StoreWriter(tmp_path, backbone_sha256=SHA256)
    writer.add(make_record("b"), np.ones((1, 4)), np.zeros(1), jpegs=FrameJpegs((b"jpeg",)))
    writer.flush()
    remove_videos(tmp_path, ["b"])
    assert kept_frames(FeatureStore(tmp_path)).missing == {"a"}


def test_old_failures_of_a_removed_video_do_not_come_back(tmp_path: Path) -> None:
    make_store(tmp_path, {"a": np.ones((1, 4))})
    for name in "ab":
        old = replace(make_failure(Path(f"/videos/{name}.mp4"), "corrupt", "x", state=None), when=5.0)
        append_failure(tmp_path, old)
    remove_videos(tmp_path, ["a"])
    records = [at.record for at in FeatureStore(tmp_path).videos.values()]
    assert list(read_failures(tmp_path, records, keep_gone=True)) == ["/videos/b.mp4"]


def test_opening_a_store_reads_no_features(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_store(tmp_path, {"a": np.zeros((5000, 4))})
    num_read: list[int] = []
    read = PartFile.read
    monkeypatch.setattr(
        PartFile, "read", lambda self, start, size: num_read.append(size) or read(self, start, size)
    )
    store = FeatureStore(tmp_path)
    assert list(store.videos) == ["a"]
    assert sum(num_read) < 2000


def test_a_store_that_was_opened_can_be_read_when_its_files_go(tmp_path: Path) -> None:
    make_store(tmp_path, {"a": np.ones((2, 4))})
    store = FeatureStore(tmp_path)
    shard_paths(tmp_path)[0].unlink()
    assert store.features("a").tolist() == [[1.0] * 4] * 2
    assert store.timestamps("a").tolist() == [0.5, 1.5]


def test_a_shard_that_vanishes_between_listing_and_opening_is_looked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_store(tmp_path, {"a": np.ones((2, 4))})
    gone = tmp_path / "shards" / "0-gone.safetensors"
    lists = [[gone], [gone]]
    monkeypatch.setattr(
        "vtrcli.store.reader.shard_paths", lambda store: lists.pop() if lists else shard_paths(store)
    )
    assert list(FeatureStore(tmp_path).videos) == ["a"] and not lists
    lists.extend([[gone]] * 20)
    with pytest.raises(StoreError) as caught:
        FeatureStore(tmp_path)
    assert str(caught.value) == (
        f"{gone} cannot be read: No such file or directory; a file that stays where it is and that you may read; "
        "check the disk and the permissions, then run the same command again"
    )


@pytest.mark.parametrize("offsets", [[0, 2, 99], [1, 2, 3], [0, 0, 3], [0, 4, 3], [0, -1, 3]])
def test_offsets_that_do_not_cut_the_rows_are_refused(tmp_path: Path, offsets: list[int]) -> None:
    make_store(tmp_path, {"a": np.ones((2, 4)), "b": np.ones((1, 4))})
    (path,) = shard_paths(tmp_path)
    true_bytes = np.array([0, 2, 3], "<i8").tobytes()
    body = path.read_bytes()
    assert body.count(true_bytes) == 1
    path.write_bytes(body.replace(true_bytes, np.array(offsets, "<i8").tobytes()))
    with pytest.raises(StoreError) as caught:
        _ = FeatureStore(tmp_path).videos
    assert str(caught.value) == (
        f"{path} is damaged: the offsets do not cut the rows into videos; a whole file as `vtr extract` writes it; "
        "run `vtr store verify --repair` to set it aside, then `vtr extract` again"
    )


@pytest.mark.parametrize(
    ("dim", "sha256", "detail"),
    [
        (4, "cd" * 32, "the features are of another backbone"),
        (3, SHA256, "features have 3 dimensions, the store 4"),
    ],
)
def test_a_shard_of_another_backbone_is_refused(tmp_path: Path, dim: int, sha256: str, detail: str) -> None:
    make_store(tmp_path, {})
    writer = StoreWriter(tmp_path, backbone_sha256=sha256)
    writer.add(make_record("a"), np.ones((1, dim)), np.zeros(1))
    writer.flush()
    with pytest.raises(StoreError, match=f"is damaged: {detail}"):
        FeatureStore(tmp_path)


def test_an_unfinished_shard_is_invisible(tmp_path: Path) -> None:
    make_store(tmp_path, {"a": np.zeros((2, 4))})
    (tmp_path / "shards" / ".tmp-1-2.safetensors").write_bytes(b"half")
    assert list(FeatureStore(tmp_path).videos) == ["a"]


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e6])
def test_features_that_are_not_finite_in_float16_are_refused(tmp_path: Path, value: float) -> None:
    writer = StoreWriter(make_store(tmp_path, {}), backbone_sha256=SHA256)
    with np.errstate(over="ignore"), pytest.raises(VideoError) as caught:
        writer.add(make_record("a"), np.full((1, 4), value), np.zeros(1))
    assert caught.value.reason == "not-finite"
    writer.flush()
    assert shard_paths(tmp_path) == []


@pytest.mark.skipif(os.name == "nt", reason="needs /dev/full")
def test_a_full_disk_is_one_clear_line(tmp_path: Path) -> None:
    from vtrcli.files import replacing

    with pytest.raises(StoreError) as caught, replacing(tmp_path / "x") as temporary:
        temporary.symlink_to("/dev/full")
        with open(temporary, "wb") as file:
            file.write(b"0" * 100_000)
    assert str(caught.value) == (
        f"cannot write {tmp_path / 'x'}: No space left on device; the folder must be writable and the disk must "
        "have room; free some space or choose another place, then run the same command again"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["日" * 80 + "a.json", "a" * 255, "a." + "é" * 100])
def test_a_name_as_long_as_the_file_system_allows_can_be_written(tmp_path: Path, name: str) -> None:
    from vtrcli.files import write_whole

    write_whole(tmp_path / name, b"x")
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_kept_frames_come_back_with_their_video(tmp_path: Path) -> None:
    make_store(tmp_path, {})
    pixels = np.random.default_rng(0).integers(0, 255, (3, 32, 32, 3), np.uint8)
    images = encode_jpegs(pixels)
    writer = StoreWriter(tmp_path, backbone_sha256=SHA256)
    for video_id, kept in (("a", images[:1]), ("b", images[1:])):
        writer.add(
            make_record(video_id), np.ones((len(kept), 4)), np.zeros(len(kept)), jpegs=FrameJpegs(kept)
        )
    writer.flush()
    store = FeatureStore(tmp_path)
    at = store.videos["b"]
    assert frames_of(tmp_path, store.shards[at.shard], at) == list(images[1:])


def test_kept_frames_lose_nothing_and_those_of_older_stores_are_read(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (2, 24, 24, 3), np.uint8)
    for frame, image in zip(pixels, encode_jpegs(pixels), strict=True):
        np.testing.assert_array_equal(decode_frame(image, size=24), frame)
    buffer = io.BytesIO()
    Image.new("RGB", (24, 24), (200, 30, 60)).save(buffer, "JPEG", quality=90)
    assert np.abs(decode_frame(buffer.getvalue(), size=24) - np.array([200.0, 30, 60])).max() < 4
    buffer = io.BytesIO()
    Image.new("RGB", (24, 24)).save(buffer, "BMP")
    with pytest.raises(OSError):
        decode_frame(buffer.getvalue(), size=24)


def test_a_program_that_knows_no_whole_pictures_refuses_them_and_reads_the_others(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (1, 24, 32, 3), np.uint8)
    kept = {"cut": encode_jpegs(pixels[:, :, :24]), "whole": (encode_whole(pixels[0]),)}
    for name, images in kept.items():
        write_whole(tmp_path / name, frame_shard_bytes([(name, FrameJpegs(images), np.zeros(1))]))
        assert FrameShard(tmp_path / name).is_whole(name) == (name == "whole")
    as_before = partial(open_tensors, file_format="vtr-frames", called="a frame shard", newest=1)
    assert as_before(tmp_path / "cut").metadata["version"] == "1"
    with pytest.raises(
        StoreError, match=r"has format version 2; this vtr reads versions up to 1; update vtr"
    ):
        as_before(tmp_path / "whole")


def test_a_shard_may_hold_videos_with_and_without_frames(tmp_path: Path) -> None:
    make_store(tmp_path, {})
    images = encode_jpegs(np.zeros((2, 8, 8, 3), np.uint8))
    writer = StoreWriter(tmp_path, backbone_sha256=SHA256)
    writer.add(make_record("a"), np.ones((2, 4)), np.zeros(2))
    writer.add(make_record("b"), np.ones((2, 4)), np.zeros(2), jpegs=FrameJpegs(images))
    writer.flush()
    store = FeatureStore(tmp_path)
    kept = {name: frames_of(tmp_path, store.shards[at.shard], at) for name, at in store.videos.items()}
    assert kept == {"a": None, "b": list(images)}
    assert kept_frames(store).missing == {"a"}


@pytest.mark.skipif(os.name == "nt", reason="POSIX modes")
def test_files_are_readable_for_those_who_may_enter_the_folder(tmp_path: Path) -> None:
    make_store(tmp_path / "store", {"a": np.ones((1, 4))})
    (path,) = shard_paths(tmp_path / "store")
    assert path.stat().st_mode & 0o777 == path.parent.stat().st_mode & 0o666


def test_a_store_without_frames_says_none(tmp_path: Path) -> None:
    store = FeatureStore(make_store(tmp_path, {"a": np.zeros((1, 4))}))
    assert frames_of(tmp_path, store.shards[0], store.videos["a"]) is None


def test_a_clock_that_was_set_back_does_not_make_later_shards_lose(tmp_path: Path) -> None:
    make_store(tmp_path, {"a": np.zeros((1, 4))})
    (path,) = shard_paths(tmp_path)
    path.rename(path.with_name("09999999999999999999-1-ab.safetensors"))  # written in the year 2286
    make_store(tmp_path, {"a": np.ones((1, 4))})
    assert FeatureStore(tmp_path).features("a").tolist() == [[1.0] * 4]


def test_a_failed_flush_leaves_no_frames_and_is_not_tried_again(tmp_path: Path) -> None:
    make_store(tmp_path, {})
    (tmp_path / "shards").rmdir()
    (tmp_path / "shards").write_bytes(b"")
    writer = StoreWriter(tmp_path, backbone_sha256=SHA256)
    writer.add(make_record("a"), np.ones((1, 4)), np.zeros(1), jpegs=FrameJpegs((b"jpeg",)))
    with pytest.raises(StoreError, match="cannot make the folder"):
        writer.flush()
    assert list((tmp_path / "frames").glob("*")) == []
    (tmp_path / "shards").unlink()
    (tmp_path / "shards").mkdir()
    writer.flush()
    assert shard_paths(tmp_path) == []


def test_a_folder_of_frames_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    make_store(tmp_path, {})
    (tmp_path / "frames").write_bytes(b"")
    writer = StoreWriter(tmp_path, backbone_sha256=SHA256)
    writer.add(make_record("a"), np.ones((1, 4)), np.zeros(1), jpegs=FrameJpegs((b"jpeg",)))
    with pytest.raises(StoreError, match="cannot make the folder"):
        writer.flush()


@pytest.mark.parametrize(
    ("old", "new", "detail"),
    [
        (b'"version":"1"', b'"version":"x"', "is damaged: its format version is 'x'"),
        (b'"version":"1"', b'"version":"3"', "has format version 3; this vtr reads versions up to 2"),
        (b'"videos":"[', b'"videos":"{', "the video list cannot be read"),
        (b'[\\"a\\"]', b"[12345]", "the video list cannot be read"),
        (b'"format":"vtr-frames"', b'"format":"vtr-others"', "it is not a frame shard"),
    ],
)
def test_a_crafted_header_of_frames_is_refused(tmp_path: Path, old: bytes, new: bytes, detail: str) -> None:
    make_store(tmp_path, {})
    writer = StoreWriter(tmp_path, backbone_sha256=SHA256)
    writer.add(make_record("a"), np.ones((1, 4)), np.zeros(1), jpegs=FrameJpegs((b"jpeg",)))
    writer.flush()
    (path,) = (tmp_path / "frames").iterdir()
    assert old in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(old, new))
    with pytest.raises(StoreError, match=detail):
        FrameShard(path)


@pytest.mark.parametrize(
    "change", ["nothing", "a shard more", "another file", "a shard gone", "a folder moved"]
)
def test_a_later_view_that_reads_less_is_the_view_that_reads_all(tmp_path: Path, change: str) -> None:
    store = make_store(tmp_path / "store", {"a": np.ones((2, 4)), "b": np.zeros((1, 4))})
    writer = StoreWriter(store, backbone_sha256=SHA256)
    writer.add(make_record("c", path="/videos/c.mp4"), np.ones((3, 4)), np.arange(3))
    writer.flush()
    add_roots(store, [Root(name="videos", folder="/videos")])
    before = FeatureStore(store)
    assert len(before.videos) == 3
    first, second = shard_paths(store)
    if change == "a shard more":
        writer.add(make_record("a"), np.full((2, 4), 2.0), np.arange(2))
        writer.flush()
    elif change == "another file":
        second.unlink()
        write_shard(
            second, [make_record("x")], [np.ones((1, 4), np.float16)], [np.zeros(1)], backbone_sha256=SHA256
        )
    elif change == "a shard gone":
        first.unlink()
    elif change == "a folder moved":
        move_roots(store, [Root(name="videos", folder="/elsewhere")])
    later, fresh = FeatureStore(store, earlier=before), FeatureStore(store)
    assert later.videos == fresh.videos
    for video_id in fresh.videos:
        assert later.features(video_id).tobytes() == fresh.features(video_id).tobytes()
    assert (later.shards[-1] is before.shards[-1]) == (change in ("nothing", "a shard gone"))


def test_a_list_that_was_let_go_is_read_again(tmp_path: Path) -> None:
    """The text of a shard's videos is not held, and is still what its checksum is of."""
    store = make_store(tmp_path / "store", {"a": np.ones((2, 4))})
    [shard] = FeatureStore(store).shards
    assert "videos" not in shard.file.metadata and shard.file.wrong_checksums() == []
    assert json.loads(shard.file.text("videos"))[0]["id"] == "a"
