"""Batches of frames: crops by (seed, epoch, pair) alone, resumable at any batch, tokens as the text tower cuts them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.training.toy_frames import WORDS, make_toy_frames
from vtrcli.model.clip.towers import tokenize
from vtrcli.model.families import load_trainable
from vtrcli.model.train_settings import TrainSettings
from vtrcli.store.reader import FeatureStore
from vtrcli.training.data import join_splits, split_off
from vtrcli.training.frames import FrameBatches, FrameSet, frame_sets, random_crop
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
