"""The bytes of a shard, and every way in which one can be damaged."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.store.stores import make_record
from vtrcli.errors import StoreError
from vtrcli.store.shard import open_shard, write_shard


def write_two_videos(path: Path) -> None:
    write_shard(
        path,
        [make_record("a"), make_record("b")],
        [np.array([[1, 2], [3, 4]], np.float16), np.array([[5, 6]], np.float16)],
        [np.array([0.5, 1.5], np.float32), np.array([0.25], np.float32)],
        backbone_sha256="ab" * 32,
    )


def test_the_bytes_are_those_of_the_format_page(tmp_path: Path) -> None:
    path = tmp_path / "shard.safetensors"
    write_two_videos(path)
    body = path.read_bytes()
    header_bytes = int.from_bytes(body[:8], "little")
    header = json.loads(body[8 : 8 + header_bytes])
    data = body[8 + header_bytes :]
    metadata = header.pop("__metadata__")
    assert header == {
        "offsets": {"dtype": "I64", "shape": [3], "data_offsets": [0, 24]},
        "timestamps": {"dtype": "F32", "shape": [3], "data_offsets": [24, 36]},
        "features": {"dtype": "F16", "shape": [3, 2], "data_offsets": [36, 48]},
    }
    assert data[:24] == bytes.fromhex("0000000000000000 0200000000000000 0300000000000000")
    assert data[24:36] == bytes.fromhex("0000003f 0000c03f 0000803e")
    assert data[36:] == bytes.fromhex("003c 0040 0042 0044 0045 0046")
    assert {name: metadata[name] for name in ("format", "version", "backbone_sha256")} == {
        "format": "vtr-shard",
        "version": "1",
        "backbone_sha256": "ab" * 32,
    }
    assert json.loads(metadata["crc32"]).keys() == {"features", "offsets", "timestamps"}
    assert json.loads(metadata["videos"])[0] == {
        "id": "a",
        "path": "/videos/a.mp4",
        "size": 1000,
        "mtime_ns": 1_700_000_000_123_456_789,
        "fingerprint": "f" * 32,
        "duration": 2.0,
        "width": 320,
        "height": 240,
        "codec": "h264",
        "extracted_at": 1_700_000_001.5,
    }


def test_any_safetensors_reader_opens_a_shard(tmp_path: Path) -> None:
    path = tmp_path / "shard.safetensors"
    write_two_videos(path)
    tensors = load_file(path)
    shard = open_shard(path)
    assert tensors["features"].tolist() == shard.features.tolist() == [[1, 2], [3, 4], [5, 6]]
    assert tensors["offsets"].tolist() == shard.offsets.tolist() == [0, 2, 3]
    assert [record.video_id for record in shard.records] == ["a", "b"]


@pytest.mark.parametrize("keep", [0, 7, 8, 40, 300, -1])
def test_a_shard_cut_short_is_refused(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "shard.safetensors"
    write_two_videos(path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(StoreError, match=r"shard\.safetensors is damaged: .*vtr store verify --repair"):
        open_shard(path)


def test_a_header_that_promises_more_than_the_file_is_refused_before_anything_is_allocated(
    tmp_path: Path,
) -> None:
    path = tmp_path / "shard.safetensors"
    header = json.dumps({"features": {"dtype": "F16", "shape": [1 << 40, 512], "data_offsets": [0, 1 << 50]}})
    path.write_bytes(len(header).to_bytes(8, "little") + header.encode())
    with pytest.raises(StoreError, match="is damaged"):
        open_shard(path)


def test_a_foreign_safetensors_file_is_refused(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    path = tmp_path / "shard.safetensors"
    save_file({"weights": np.zeros(3, np.float32)}, path)
    with pytest.raises(StoreError, match="it is not a feature shard"):
        open_shard(path)


def test_a_newer_shard_is_refused_with_advice(tmp_path: Path) -> None:
    path = tmp_path / "shard.safetensors"
    write_two_videos(path)
    path.write_bytes(path.read_bytes().replace(b'"version":"1"', b'"version":"2"'))
    with pytest.raises(StoreError) as caught:
        open_shard(path)
    assert str(caught.value) == (
        f"shard {path} has format version '2'; this vtr reads versions up to 1; update vtr: pip install -U vtrcli"
    )


def test_a_failed_write_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot write"):
        write_two_videos(tmp_path / "missing" / "shard.safetensors")
    assert list(tmp_path.iterdir()) == []
