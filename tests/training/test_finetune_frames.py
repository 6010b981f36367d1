"""Batches of frames: crops by (seed, epoch, pair) alone, resumable at any batch; kept frames are read whole or cropped,
thinned like features, ahead of time; damage is one clear line."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.store.stores import make_config, make_record
from tests.training.toy_frames import WORDS, make_toy_frames
from vtrcli.errors import StoreError
from vtrcli.model.clip.tokens import tokenize
from vtrcli.model.families import load_trainable
from vtrcli.model.train_settings import TrainSettings
from vtrcli.store.config import create_config
from vtrcli.store.frames import FrameJpegs, decode_frame, encode_jpegs, encode_whole, is_whole
from vtrcli.store.reader import FeatureStore
from vtrcli.store.writer import StoreWriter
from vtrcli.training.data import join_splits, split_off
from vtrcli.training.finetune import (
    ClipRequest,
    FrameBatches,
    FrameSet,
    KeptFrames,
    frame_sets,
    load_clips,
    random_crop,
)
from vtrcli.training.step import World

SETTINGS = TrainSettings(batch_size=5, num_frames=3, captions="all", finetune=True)


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> FrameSet:
    toy = make_toy_frames(tmp_path_factory.mktemp("frames"))
    store = FeatureStore(toy / "store")
    parts = join_splits(store, "csv", toy, allow_missing=False, note=print)
    tuned = load_trainable(str(toy / "clip.safetensors"), device="cpu")
    return frame_sets(store, parts, SETTINGS, tuned, tagger="hanta")[0]


def test_an_epoch_can_begin_at_any_batch_and_epochs_differ(frames: FrameSet) -> None:
    source = FrameBatches(frames, SETTINGS, World())
    whole = list(source.batches(1, 0))
    assert len(whole) == source.num_batches() == 3  # 16 pairs; the last one alone has no negative
    for one, other in zip(whole[2:], source.batches(1, 2), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(vars(one).values(), vars(other).values(), strict=True))
    assert not torch.equal(whole[0].frames, next(source.batches(2, 0)).frames)


def test_two_processes_share_a_batch_without_overlap(frames: FrameSet) -> None:
    alone = next(FrameBatches(frames, SETTINGS, World()).batches(0, 0))
    parts = [next(FrameBatches(frames, SETTINGS, World(rank, 2)).batches(0, 0)) for rank in (0, 1)]
    assert torch.equal(torch.cat([part.frames for part in parts]), alone.frames[:4])
    assert all(part.video_numbers.tolist() == alone.video_numbers.tolist()[:4] for part in parts)


def test_tokens_are_those_of_the_text_tower_one_row_per_stream(frames: FrameSet) -> None:
    word = WORDS[0]
    expected = [tokenize(text, context_length=77)[0] for text in (f"a {word} is running", word, "running")]
    tokens = frames.padded_tokens(np.array([0]))[0]
    assert tokens.shape[1] == max(map(len, expected))
    assert [[token for token in row if token] for row in tokens.tolist()] == expected
    assert frames.stream_mask[0].tolist() == [True, True, True]


def test_a_tower_that_is_not_causal_gets_all_positions(frames: FrameSet) -> None:
    row = np.array([0])
    whole = replace(frames, may_cut=False).padded_tokens(row)
    assert whole.shape[2] == frames.tokens.shape[2] >= frames.padded_tokens(row).shape[2]


def test_a_limit_cuts_captions_before_their_nouns_and_verbs_are_taken(frames: FrameSet, tmp_path) -> None:
    toy = make_toy_frames(tmp_path)
    store = FeatureStore(toy / "store")
    parts = join_splits(store, "csv", toy, allow_missing=False, note=print)
    limited = replace(SETTINGS, max_tokens=4)
    tuned = load_trainable(str(toy / "clip.safetensors"), device="cpu")
    few = frame_sets(store, parts, limited, tuned, tagger="hanta")
    caption = f"a {WORDS[0]} is running"
    expected = [tokenize(text, context_length=4)[0] for text in (caption, WORDS[0])]
    tokens = few[0].tokens[0].tolist()
    assert [[token for token in row if token] for row in tokens[:2]] == expected
    assert few[0].stream_mask[0].tolist() == [True, True, False]  # its verb is not read


def test_a_split_off_validation_set_keeps_texts_with_their_videos(frames: FrameSet) -> None:
    train, val = split_off(frames, share=0.2, seed=0)
    assert set(train.video_ids).isdisjoint(val.video_ids) and len(val.video_ids) == 3
    original = frames.video_ids.index(val.video_ids[1])
    row = int(np.flatnonzero(val.video_of_text == 1)[0])
    assert (val.tokens[row] == frames.tokens[np.flatnonzero(frames.video_of_text == original)[0]]).all()


@given(seed=st.integers(0, 2**32))
def test_a_crop_lies_in_the_picture_and_takes_most_of_it(seed: int) -> None:
    left, top, right, bottom = random_crop(np.random.default_rng(seed))
    assert 0 <= left < right <= 1 + 1e-9 and 0 <= top < bottom <= 1 + 1e-9
    assert right - left == pytest.approx(bottom - top)
    assert 0.8 - 1e-9 <= (right - left) * (bottom - top) <= 1 + 1e-9


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
    assert (decode_frame(image, size=SIZE, part=(0, 0, 1, 1)) == decode_frame(image, size=SIZE)).all()
    right = decode_frame(image, size=SIZE, part=(0.5, 0, 1, 0.5))
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


def test_a_part_of_a_whole_picture_is_one_of_what_the_model_sees() -> None:
    rng = np.random.default_rng(1)
    for height, width in ((40, 90), (1800, 224), (61, 33), (SIZE, SIZE)):
        picture = np.zeros((height, width, 3), np.uint8)
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        # The left half of the middle square, and a pixel around it: the cut lies at a whole pixel, not in the middle.
        picture[max(0, top - 1) : top + side + 1, max(0, left - 1) : left + side // 2] = 250
        whole = encode_whole(picture)
        assert is_whole(whole) and not is_whole(encode_jpegs(picture[None])[0])
        seen = decode_frame(whole, size=SIZE)
        assert seen[:, : SIZE // 2 - 2].min() > 200 and seen[:, SIZE // 2 + 2 :].max() < 50
        assert decode_frame(whole, size=SIZE, part=(0.0, 0.0, 0.4, 1.0)).min() > 200
        assert decode_frame(whole, size=SIZE, part=(0.6, 0.0, 1.0, 1.0)).max() < 50
        for _ in range(20):
            assert decode_frame(whole, size=SIZE, part=random_crop(rng)).shape == (SIZE, SIZE, 3)
