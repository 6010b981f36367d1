"""The bytes of a shard, and every way in which one can be damaged."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.store.stores import make_record, write_shard
from vtrcli.errors import StoreError
from vtrcli.store.shard import crc32, open_shard


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
    assert metadata["videos_crc32"] == f"{zlib.crc32(metadata['videos'].encode()):08x}"
    assert json.loads(metadata["videos"])[0] == {
        "id": "a",
        "path": "/videos/a.mp4",
        "size": 1000,
        "mtime_ns": 1_700_000_000_123_456_789,
        "fingerprint": "ca978112ca1bbdcafac231b39a23dc4d",
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
    assert tensors["features"].tolist() == shard.features[:].tolist() == [[1, 2], [3, 4], [5, 6]]
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
        f"{path} has format version 2; this vtr reads versions up to 1; update vtr: pip install -U vtrcli"
    )


def test_a_failed_write_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot write"):
        write_two_videos(tmp_path / "missing" / "shard.safetensors")
    assert list(tmp_path.iterdir()) == []


def write_crafted(path: Path, **metadata: object) -> None:
    """A whole shard of one video, with parts of its metadata replaced (None takes a part out)."""
    tensors = {
        "features": np.ones((1, 2), np.float16),
        "timestamps": np.zeros(1, np.float32),
        "offsets": np.array([0, 1]),
    }
    entries: dict[str, object] = {}
    body = b""
    for name, code in (("features", "F16"), ("timestamps", "F32"), ("offsets", "I64")):
        data = tensors[name].tobytes()
        place = [len(body), len(body) + len(data)]
        entries[name] = {"dtype": code, "shape": list(tensors[name].shape), "data_offsets": place}
        body += data
    values: dict[str, object] = {
        "format": "vtr-shard",
        "version": "1",
        "backbone_sha256": "ab" * 32,
        "crc32": json.dumps({name: crc32(tensor) for name, tensor in tensors.items()}),
        "videos": json.dumps([make_record("a").to_json()]),
    }
    values.update(metadata)
    kept = {name: value for name, value in values.items() if value is not None}
    header = json.dumps({"__metadata__": kept, **entries}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + body)


def record_with(**changes: object) -> str:
    return json.dumps([{**make_record("a").to_json(), **changes}])


@pytest.mark.parametrize(
    "metadata",
    [
        {"version": 1},
        {"version": "²"},
        {"version": "9" * 5000},
        {"videos": None},
        {"videos": "{"},
        {"videos": "7"},
        {"videos": "[" * 100_000},
        {"videos": '["a"]'},
        {"videos": record_with(id=7)},
        {"videos": record_with(path=None)},
        {"videos": record_with(size=True)},
        {"videos": record_with(duration="long")},
        {"videos": record_with(warnings=7)},
        {"videos": "[]"},
    ],
)
def test_a_crafted_header_is_refused(tmp_path: Path, metadata: dict[str, object]) -> None:
    path = tmp_path / "shard.safetensors"
    write_crafted(path, **metadata)
    with pytest.raises(StoreError, match="is damaged"):
        open_shard(path)


@pytest.mark.parametrize(
    "header",
    [
        '{"__metadata__": []}',
        "[]",
        "[" * 100_000,
        '{"a": {"dtype": "F16", "shape": [1e999], "data_offsets": [0, 0]}}',
        '{"a": {"dtype": "F16", "shape": [4294967296, 4294967296], "data_offsets": [0, 0]}}',
        '{"a": {"dtype": [], "shape": [], "data_offsets": [0, 0]}}',
    ],
)
def test_a_header_that_is_no_safetensors_header_is_refused(tmp_path: Path, header: str) -> None:
    path = tmp_path / "shard.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header.encode())
    with pytest.raises(StoreError, match="is damaged"):
        open_shard(path)


@pytest.mark.parametrize("value", [None, "[]", "{", "7", "[" * 100_000])
def test_checksums_that_cannot_be_read_are_refused(tmp_path: Path, value: str | None) -> None:
    path = tmp_path / "shard.safetensors"
    write_crafted(path, crc32=value)
    with pytest.raises(StoreError, match="the checksums cannot be read"):
        open_shard(path).file.wrong_checksums()


def test_a_shard_of_before_the_header_had_a_checksum_is_read(tmp_path: Path) -> None:
    path = tmp_path / "shard.safetensors"
    write_crafted(path)
    assert open_shard(path).file.wrong_checksums() == []
    write_crafted(path, videos_crc32="00000000")
    assert open_shard(path).file.wrong_checksums() == ["videos"]
