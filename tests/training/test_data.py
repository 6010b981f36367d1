"""Batches: every pair once, the same for the same seed, resumable at any batch; no video on both sides of a split."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vtrcli.errors import InputError
from vtrcli.model.train_settings import TrainSettings
from vtrcli.store.reader import spread
from vtrcli.training.data import CachedBatches, FeatureSet, epoch_batches, split_off
from vtrcli.training.step import World


def make_features(num_videos: int, *, captions_per_video: int = 3) -> FeatureSet:
    rng = np.random.default_rng(0)
    num_texts = num_videos * captions_per_video
    return FeatureSet(
        video_ids=tuple(f"v{number}" for number in range(num_videos)),
        frames=rng.normal(size=(num_videos, 2, 4)).astype(np.float16),
        frame_mask=np.ones((num_videos, 2), bool),
        texts=rng.normal(size=(num_texts, 3, 4)).astype(np.float16),
        stream_mask=np.ones((num_texts, 3), bool),
        video_of_text=np.repeat(np.arange(num_videos), captions_per_video),
    )


@given(num_videos=st.integers(2, 30), batch_size=st.integers(2, 9), epoch=st.integers(0, 3))
def test_one_caption_per_video_or_all_of_them(num_videos: int, batch_size: int, epoch: int) -> None:
    video_of_text = np.repeat(np.arange(num_videos), 3)
    for captions, expected in (("one", num_videos), ("all", 3 * num_videos)):
        batches = list(
            epoch_batches(video_of_text, batch_size=batch_size, captions=captions, seed=1, epoch=epoch)  # type: ignore[arg-type]
        )
        seen = np.concatenate(batches)
        left_out = 1 if expected % batch_size == 1 else 0
        assert len(set(seen.tolist())) == len(seen) == expected - left_out
        assert all(len(batch) >= 2 for batch in batches)
        if captions == "one":
            assert len(set(video_of_text[seen])) == len(seen)


def test_epochs_differ_and_repeat() -> None:
    def draw(seed: int, epoch: int) -> list[int]:
        video_of_text = np.repeat(np.arange(20), 3)
        return np.concatenate(
            list(epoch_batches(video_of_text, batch_size=7, captions="one", seed=seed, epoch=epoch))
        ).tolist()

    assert draw(1, 0) == draw(1, 0)
    assert draw(1, 0) != draw(1, 1)
    assert draw(1, 0) != draw(2, 0)


def test_an_epoch_can_begin_at_any_batch() -> None:
    source = CachedBatches(make_features(11), TrainSettings(batch_size=3), World())
    whole = [batch.video_numbers.tolist() for batch in source.batches(2, 0)]
    assert len(whole) == source.num_batches() == 4
    assert [batch.video_numbers.tolist() for batch in source.batches(2, 2)] == whole[2:]


def test_two_processes_share_a_batch_without_overlap() -> None:
    features = make_features(10)
    settings = TrainSettings(batch_size=5)
    alone = list(CachedBatches(features, settings, World()).batches(0, 0))
    parts = [list(CachedBatches(features, settings, World(rank, 2)).batches(0, 0)) for rank in (0, 1)]
    for whole, left, right in zip(alone, *parts, strict=True):
        assert len(left.frames) == len(right.frames) == 2
        assert left.video_numbers.tolist() == right.video_numbers.tolist() == whole.video_numbers.tolist()[:4]


def test_a_split_off_validation_set_shares_no_video_and_keeps_texts_with_their_videos() -> None:
    features = make_features(40)
    train, val = split_off(features, share=0.1, seed=3)
    assert len(val.video_ids) == 4
    assert set(train.video_ids).isdisjoint(val.video_ids)
    assert sorted(train.video_ids + val.video_ids) == sorted(features.video_ids)
    row = int(np.flatnonzero(val.video_of_text == 2)[0])
    original = features.video_ids.index(val.video_ids[2])
    assert (val.texts[row] == features.texts[original * 3]).all()


def test_too_few_videos_are_one_clear_line() -> None:
    with pytest.raises(InputError) as caught:
        split_off(make_features(1), share=0.1, seed=0)
    assert str(caught.value) == (
        "1 videos to train on; at least 4: every pair needs another video as its negative; "
        "extract more videos, or check --dataset and --store"
    )


def test_long_videos_are_thinned_to_the_centres_of_equal_parts() -> None:
    assert spread(12, 3).tolist() == [2, 6, 10]
    assert spread(2, 3).tolist() == [0, 1]


def test_an_error_can_name_the_videos_of_a_batch() -> None:
    source = CachedBatches(make_features(10), TrainSettings(batch_size=8), World())
    assert source.describe(0, 0).endswith(" and 3 more")
