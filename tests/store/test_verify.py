"""verify finds every kind of damage; repair sets it aside so that extraction can mend it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.store.stores import SHA256, make_record, make_store
from vtrcli.store.reader import FeatureStore, shard_paths
from vtrcli.store.shard import write_shard
from vtrcli.store.verify import repair, verify


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
    (tmp_path / "shards" / ".tmp-x.safetensors").write_bytes(b"half")
    renamed = repair(verify(tmp_path))
    assert [path.name for path in renamed] == [first.name + ".damaged"]
    assert list(FeatureStore(tmp_path).videos) == ["b"]
    report = verify(tmp_path)
    assert report.problems == () and report.leftovers == ()
