"""verify finds every kind of damage; repair sets it aside so that extraction can mend it."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.store.stores import SHA256, make_record, make_store, write_shard
from vtrcli.files import ABANDONED_SECONDS
from vtrcli.store.frames import FrameJpegs, frame_paths, frames_of
from vtrcli.store.reader import FeatureStore, shard_paths
from vtrcli.store.roots import Root, add_roots
from vtrcli.store.texts import TextCache, TextRows, write_texts
from vtrcli.store.verify import repair, verify
from vtrcli.store.writer import StoreWriter


def write_old(path: Path, body: bytes = b"half") -> None:
    path.write_bytes(body)
    hours_ago = time.time() - 2 * ABANDONED_SECONDS
    os.utime(path, (hours_ago, hours_ago))


def flip_last_bit(path: Path) -> None:
    body = bytearray(path.read_bytes())
    body[-1] ^= 1
    path.write_bytes(body)


def add_frames(store: Path, video_id: str = "a") -> Path:
    """One more shard with a kept frame; returns the frame shard."""
    writer = StoreWriter(store, backbone_sha256=SHA256)
    writer.add(make_record(video_id), np.ones((1, 4)), np.zeros(1), jpegs=FrameJpegs((b"jpeg",)))
    writer.flush()
    return frame_paths(store)[-1]


def add_texts(store: Path) -> Path:
    rows = TextRows(np.ones((2, 1, 4)), np.ones((2, 1), bool))
    return write_texts(store, ["a", "bc"], rows, streams=["fusion"], tagger_id="t", backbone_sha256=SHA256)


def test_a_clean_store_has_no_problems(tmp_path: Path) -> None:
    make_store(tmp_path, {"a": np.ones((3, 4))})
    report = verify(tmp_path)
    assert (report.num_shards, report.num_frames, report.problems, report.leftovers) == (1, 3, (), ())


def test_one_flipped_bit_is_found(tmp_path: Path) -> None:
    make_store(tmp_path, {"a": np.ones((3, 4))})
    (path,) = shard_paths(tmp_path)
    body = bytearray(path.read_bytes())
    body[-1] ^= 1
    path.write_bytes(body)
    assert verify(tmp_path).problems == ((path, "the bytes of features are not those that were written"),)


def test_features_of_another_backbone_or_dimension_are_found(tmp_path: Path) -> None:
    make_store(tmp_path, {})
    frames = [np.ones((1, 3), np.float16)]
    times = [np.zeros(1, np.float32)]
    write_shard(tmp_path / "shards/1.safetensors", [make_record("a")], frames, times, backbone_sha256=SHA256)
    frames = [np.ones((1, 4), np.float16)]
    write_shard(
        tmp_path / "shards/2.safetensors", [make_record("b")], frames, times, backbone_sha256="cd" * 32
    )
    assert [detail for _, detail in verify(tmp_path).problems] == [
        "features have 3 dimensions, the store 4",
        "the features are of another backbone",
    ]


def test_repair_sets_damage_aside_and_the_rest_can_be_read(tmp_path: Path) -> None:
    make_store(tmp_path, {"a": np.ones((3, 4))})
    make_store(tmp_path, {"b": np.ones((3, 4))})
    first = shard_paths(tmp_path)[0]
    first.write_bytes(first.read_bytes()[:50])
    for name in (".tmp-a", ".store.json-0", "shards/.tmp-x.safetensors"):
        write_old(tmp_path / name)
    assert len(verify(tmp_path).leftovers) == 3
    renamed = repair(tmp_path, verify(tmp_path))
    assert [path.name for path in renamed] == [first.name + ".damaged"]
    assert list(FeatureStore(tmp_path).videos) == ["b"]
    report = verify(tmp_path)
    assert report.problems == () and report.leftovers == ()


def test_what_a_running_writer_may_still_finish_is_left_alone(tmp_path: Path) -> None:
    make_store(tmp_path, {})
    frames = add_frames(tmp_path)
    shard_paths(tmp_path)[0].unlink()
    (tmp_path / "shards" / ".tmp-x").write_bytes(b"half")
    report = verify(tmp_path)
    assert (report.problems, report.leftovers) == ((), ())
    assert repair(tmp_path, report) == []
    assert frames.exists() and (tmp_path / "shards" / ".tmp-x").exists()


def test_frames_whose_features_are_gone_are_set_aside(tmp_path: Path) -> None:
    make_store(tmp_path, {})
    frames = add_frames(tmp_path)
    shard_paths(tmp_path)[0].unlink()
    assert verify(tmp_path).problems == ()  # their writer may be about to put the features beside them
    write_old(frames, frames.read_bytes())
    detail = "kept frames without shards/ of the same name, which was deleted or never written"
    assert verify(tmp_path).problems == ((frames, detail),)
    assert repair(tmp_path, verify(tmp_path)) == [frames.with_name(frames.name + ".damaged")]
    assert verify(tmp_path).problems == ()


def test_a_shard_of_a_newer_format_is_no_damage(tmp_path: Path) -> None:
    make_store(tmp_path, {"a": np.ones((3, 4))})
    make_store(tmp_path, {"b": np.ones((3, 4))})
    path = shard_paths(tmp_path)[-1]
    path.write_bytes(path.read_bytes().replace(b'"version":"1"', b'"version":"2"'))
    report = verify(tmp_path)
    assert (report.problems, report.others) == ((), ((path, f"{path} has format version 2"),))
    assert repair(tmp_path, report) == [] and path.exists()


@pytest.mark.skipif(os.name == "nt" or os.getuid() == 0, reason="root may read every file")
def test_a_file_that_may_not_be_read_is_no_damage(tmp_path: Path) -> None:
    make_store(tmp_path, {"a": np.ones((3, 4))})
    (path,) = shard_paths(tmp_path)
    path.chmod(0)
    report = verify(tmp_path)
    assert (report.problems, len(report.others)) == ((), 1) and repair(tmp_path, report) == []


def test_too_few_descriptors_are_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_store(tmp_path, {"a": np.ones((3, 4))})

    opened = os.open

    def refuse(path: Path, *arguments: Any, **options: Any) -> int:
        if path.suffix == ".safetensors":
            raise OSError(errno.EMFILE, "Too many open files")
        return opened(path, *arguments, **options)

    monkeypatch.setattr("vtrcli.store.maps.os.open", refuse)
    report = verify(tmp_path)
    assert (report.problems, len(report.others)) == ((), 1) and repair(tmp_path, report) == []
    assert "too many open files" in report.others[0][1]


def test_a_root_that_is_not_known_is_told(tmp_path: Path) -> None:
    make_store(tmp_path, {})
    writer = StoreWriter(tmp_path, backbone_sha256=SHA256)
    writer.add(make_record("a", root="films", relative_path="a.mp4"), np.ones((1, 4)), np.zeros(1))
    writer.flush()
    (path,) = shard_paths(tmp_path)
    detail = "its videos lie below the root 'films', which roots.jsonl lacks"
    assert verify(tmp_path).others == ((path, detail),)
    add_roots(tmp_path, [Root(name="films", folder="/films")])
    assert verify(tmp_path).all_problems == ()


def test_damaged_frames_and_texts_are_found_and_the_rest_works_without_them(tmp_path: Path) -> None:
    make_store(tmp_path, {})
    frames, texts = add_frames(tmp_path), add_texts(tmp_path)
    assert verify(tmp_path).problems == ()
    flip_last_bit(frames)
    flip_last_bit(texts)
    assert [path for path, _ in verify(tmp_path).problems] == [frames, texts]
    assert "jpeg are not those that were written" in verify(tmp_path).problems[0][1]
    repair(tmp_path, verify(tmp_path))
    assert verify(tmp_path).problems == ()
    store = FeatureStore(tmp_path)
    assert frames_of(tmp_path, store.shards[0], store.videos["a"]) is None
    cache = TextCache(tmp_path, streams=["fusion"], tagger_id="t", backbone_sha256=SHA256)
    assert cache.missing(["a", "bc"]) == ["a", "bc"]


@pytest.mark.parametrize("keep", [0, 100, -1])
def test_frames_and_texts_cut_short_are_found(tmp_path: Path, keep: int) -> None:
    make_store(tmp_path, {})
    paths = [add_frames(tmp_path), add_texts(tmp_path)]
    for path in paths:
        path.write_bytes(path.read_bytes()[:keep])
    assert [path for path, _ in verify(tmp_path).problems] == paths


def test_a_damaged_shard_takes_its_frames_along(tmp_path: Path) -> None:
    make_store(tmp_path, {})
    frames = add_frames(tmp_path)
    (shard,) = shard_paths(tmp_path)
    flip_last_bit(shard)
    flip_last_bit(frames)
    renamed = repair(tmp_path, verify(tmp_path))
    assert [path.parent.name for path in renamed] == ["shards", "frames"]
    assert verify(tmp_path).problems == ()


def test_a_flipped_bit_in_the_list_of_videos_is_found(tmp_path: Path) -> None:
    make_store(tmp_path, {"a": np.ones((3, 4))})
    (path,) = shard_paths(tmp_path)
    path.write_bytes(path.read_bytes().replace(b"/videos/a.mp4", b"/videos/c.mp4"))
    assert verify(tmp_path).problems == ((path, "the bytes of videos are not those that were written"),)


def test_checksums_that_cannot_be_read_are_a_problem_not_a_crash(tmp_path: Path) -> None:
    make_store(tmp_path, {"a": np.ones((3, 4))})
    (path,) = shard_paths(tmp_path)
    path.write_bytes(path.read_bytes().replace(b'"crc32":"{', b'"crc32":"['))
    ((_, detail),) = verify(tmp_path).problems
    assert "the checksums cannot be read" in detail
