"""Kept frames make a store of another backbone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.model.tiny_clip import write_tiny_clip
from tests.store.old_frames import keep_what_was_seen
from tests.video_files import make_video
from vtrcli.errors import StoreError
from vtrcli.extraction.extract import extract
from vtrcli.extraction.reencode import reencode_frames
from vtrcli.model.families import load_backbone
from vtrcli.store.frames import decode_frame, frames_of
from vtrcli.store.reader import FeatureStore, unit_rows
from vtrcli.video.sampling import Uniform


def test_whole_pictures_make_a_store_of_another_backbone(tiny_store: FeatureStore, tmp_path: Path) -> None:
    other = str(write_tiny_clip(tmp_path / "other.safetensors", seed=1))
    reencode_frames(tiny_store.path, target=tmp_path / "new", backbone=other, device="cpu")
    direct = tmp_path / "direct"
    extract([tmp_path / "videos"], store=direct, backbone=other, sampling=Uniform(num_frames=2), device="cpu")
    ours, theirs = (unit_rows(FeatureStore(each).features("a")) for each in (tmp_path / "new", direct))
    assert (ours * theirs).sum(axis=1).min() > 0.998


def test_what_an_encoder_saw_makes_a_store_of_another_backbone_as_the_videos_would(
    tiny_store: FeatureStore, tmp_path: Path
) -> None:
    keep_what_was_seen(tiny_store.path)
    other = str(write_tiny_clip(tmp_path / "other.safetensors", seed=1))
    assert reencode_frames(tiny_store.path, target=tmp_path / "new", backbone=other, device="cpu") == 1
    assert reencode_frames(tiny_store.path, target=tmp_path / "new", backbone=other, device="cpu") == 0
    new = FeatureStore(tmp_path / "new")
    direct = tmp_path / "direct"
    extract([tmp_path / "videos"], store=direct, backbone=other, sampling=Uniform(num_frames=2), device="cpu")
    np.testing.assert_array_equal(new.features("a"), FeatureStore(direct).features("a"))
    assert new.timestamps("a").tolist() == tiny_store.timestamps("a").tolist()


def test_kept_frames_give_the_features_of_the_extraction_bit_for_bit(
    tiny_store: FeatureStore, weights: str, tmp_path: Path
) -> None:
    reencode_frames(tiny_store.path, target=tmp_path / "again", backbone=weights, device="cpu")
    np.testing.assert_array_equal(FeatureStore(tmp_path / "again").features("a"), tiny_store.features("a"))
    keep_what_was_seen(tiny_store.path)
    at = tiny_store.videos["a"]
    images = frames_of(tiny_store.path, tiny_store.shards[at.shard], at)
    pixels = np.stack([decode_frame(image, size=32) for image in images or ()])
    seen = load_backbone(weights, device="cpu", towers="image").encode_images(pixels)
    np.testing.assert_array_equal(seen.astype(np.float16), tiny_store.features("a"))


def test_new_checksums_do_not_vouch_for_damage(
    tiny_store: FeatureStore, weights: str, tmp_path: Path
) -> None:
    (path,) = (tiny_store.path / "frames").iterdir()
    body = bytearray(path.read_bytes())
    body[-40] ^= 0xFF
    path.write_bytes(body)
    with pytest.raises(StoreError, match="is damaged: the bytes of jpeg are not those that were written"):
        reencode_frames(tiny_store.path, target=tmp_path / "again", backbone=weights, device="cpu")
    assert not (tmp_path / "again").exists()


def test_without_kept_frames_the_way_out_is_named_and_no_store_is_left(weights: str, tmp_path: Path) -> None:
    make_video(tmp_path / "a.mp4", seconds=0.5)
    extract(
        [tmp_path / "a.mp4"],
        store=tmp_path / "store",
        backbone=weights,
        sampling=Uniform(num_frames=2),
        device="cpu",
    )
    with pytest.raises(StoreError, match="keeps no frames of 'a'; a store made with --keep-frames; "):
        reencode_frames(tmp_path / "store", target=tmp_path / "new", backbone=weights, device="cpu")
    assert not (tmp_path / "new").exists()
