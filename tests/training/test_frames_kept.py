"""Kept frames are read whole or cropped, thinned like features, ahead of time; damage is one clear line."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from tests.store.stores import make_config, make_record
from vtrcli.errors import StoreError
from vtrcli.store.config import create_config
from vtrcli.store.frames import FrameJpegs, decode_frame, encode_jpegs
from vtrcli.store.reader import FeatureStore
from vtrcli.store.writer import StoreWriter
from vtrcli.training.frames import ClipRequest, KeptFrames, decoded, load_clips

SIZE = 16
IMAGES = {name: encode_jpegs(np.full((count, SIZE, SIZE, 3), 20 * count, np.uint8)) for name, count in
          {"one": 1, "five": 5}.items()}  # fmt: skip


def make(folder: Path, videos: dict[str, tuple[bytes, ...] | None]) -> FeatureStore:
    create_config(folder, make_config())
    for video_id, images in videos.items():
        writer = StoreWriter(folder, backbone_sha256=make_config().backbone.sha256)
        count = len(images or "x")
        jpegs = FrameJpegs(images) if images else None
        writer.add(make_record(video_id), np.ones((count, 4)), np.arange(count), jpegs=jpegs)
        writer.flush()
    return FeatureStore(folder)


def test_videos_of_all_lengths_share_a_batch_by_a_mask(tmp_path: Path) -> None:
    kept = KeptFrames(make(tmp_path, dict(IMAGES)), IMAGES)
    requests = [ClipRequest("five"), ClipRequest("one")]
    [(pixels, mask)] = load_clips([requests], kept, num_frames=3, size=SIZE)
    assert pixels.shape == (2, 3, SIZE, SIZE, 3)
    assert mask.tolist() == [[True, True, True], [True, False, False]]
    assert [int(frame[0, 0, 0]) for frame in pixels[0]] == [100, 100, 100]
    assert int(pixels[1, 0].min()) == 20 and int(pixels[1, 1:].max()) == 0


def test_batches_come_in_order_however_many_threads_work(tmp_path: Path) -> None:
    kept = KeptFrames(make(tmp_path, dict(IMAGES)), IMAGES)
    names = [["one", "five"][number % 2] for number in range(20)]
    loaded = load_clips([[ClipRequest(name)] for name in names], kept, num_frames=5, size=SIZE)
    assert [int(mask.sum()) for _, mask in loaded] == [len(IMAGES[name]) for name in names]


def test_closing_early_leaves_no_thread_behind(tmp_path: Path) -> None:
    kept = KeptFrames(make(tmp_path, dict(IMAGES)), IMAGES)
    loaded = load_clips([[ClipRequest("five")]] * 50, kept, num_frames=5, size=SIZE)
    next(loaded)
    loaded.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("frames")]


def test_the_whole_picture_as_a_crop_is_the_picture_and_a_part_is_resized() -> None:
    picture = np.zeros((SIZE, SIZE, 3), np.uint8)
    picture[:, SIZE // 2 :] = 200
    (image,) = encode_jpegs(picture[None])
    assert (decoded(image, size=SIZE, crop=(0, 0, 1, 1)) == decode_frame(image, size=SIZE)).all()
    right = decoded(image, size=SIZE, crop=(0.5, 0, 1, 0.5))
    assert right.shape == (SIZE, SIZE, 3) and right[:, 3:].min() > 180


def test_a_store_without_kept_frames_says_how_to_get_them(tmp_path: Path) -> None:
    store = make(tmp_path, {"one": IMAGES["one"], "none": None})
    with pytest.raises(StoreError) as caught:
        KeptFrames(store, ["one", "none"])
    assert str(caught.value) == (
        f"store {tmp_path} keeps no frames of 1 videos, the first is 'none'; fine-tuning reads kept frames; "
        "run `vtr extract --keep-frames` into a new store"
    )


def test_a_frame_that_cannot_be_decoded_names_the_video(tmp_path: Path) -> None:
    kept = KeptFrames(make(tmp_path, {"bad": (b"no picture",)}), ["bad"])
    with pytest.raises(StoreError, match="is damaged: frame 0 of 'bad': "):
        list(load_clips([[ClipRequest("bad")]], kept, num_frames=2, size=SIZE))
