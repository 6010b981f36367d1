from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
from PIL import Image

from tests.store.stores import SHA256, make_config, make_record, make_store
from vtrcli.evaluation.report.parts import LONGEST_SIDE, MAX_THUMBNAILS, Thumbnails
from vtrcli.store.config import create_config
from vtrcli.store.frames import FrameJpegs, encode_jpegs
from vtrcli.store.reader import FeatureStore
from vtrcli.store.writer import StoreWriter


def store_with_frames(path: Path, frames: dict[str, tuple[bytes, ...]]) -> FeatureStore:
    create_config(path, make_config())
    writer = StoreWriter(path, backbone_sha256=SHA256)
    for video_id, images in frames.items():
        features = np.ones((len(images), 4), np.float16)
        writer.add(make_record(video_id), features, np.arange(len(images)) + 0.5, jpegs=FrameJpegs(images))
    writer.flush()
    return FeatureStore(path)


def picture(uri: str) -> Image.Image:
    kind, data = uri.split(",", 1)
    assert kind == "data:image/jpeg;base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


def test_the_middle_frame_made_small(tmp_path: Path) -> None:
    pixels = np.zeros((3, 240, 320, 3), np.uint8)
    pixels[1, :, :, 0] = 255
    store = store_with_frames(tmp_path / "store", {"a": encode_jpegs(pixels)})
    uri = Thumbnails(store).of("a")
    assert uri is not None
    image = picture(uri)
    assert image.size == (LONGEST_SIDE, LONGEST_SIDE * 3 // 4)
    red, green, blue = image.getpixel((80, 60))  # type: ignore[misc]
    assert red > 240 and green < 15 and blue < 15


def test_no_picture_without_a_store_without_frames_or_of_bytes_that_are_none(tmp_path: Path) -> None:
    assert Thumbnails(None).of("a") is None
    bare = FeatureStore(make_store(tmp_path / "bare", {"a": np.ones((2, 4), np.float16)}))
    assert Thumbnails(bare).of("a") is None
    broken = store_with_frames(tmp_path / "broken", {"a": (b"no jpeg",)})
    assert Thumbnails(broken).of("a") is None


def test_pictures_end_after_so_many_videos_but_those_made_stay(tmp_path: Path) -> None:
    one = encode_jpegs(np.zeros((1, 8, 8, 3), np.uint8))
    names = [f"v{number:03d}" for number in range(MAX_THUMBNAILS + 1)]
    thumbnails = Thumbnails(store_with_frames(tmp_path / "store", dict.fromkeys(names, one)))
    assert [thumbnails.of(name) is None for name in names] == [False] * MAX_THUMBNAILS + [True]
    assert thumbnails.of(names[0])
