"""The pairs that a run learns from: splits joined with a store, cached features in memory, the batches of an epoch."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, TypeVar

import numpy as np
import torch

from vtrcli.datasets.match_store import JoinedSplit, join_with_store, require_complete
from vtrcli.datasets.registry import Annotations
from vtrcli.errors import InputError
from vtrcli.model.train_settings import Captions, TrainSettings
from vtrcli.store.reader import FeatureStore, padded_frames
from vtrcli.store.texts import TextCache
from vtrcli.text.streams import STREAMS, Stream
from vtrcli.training.step import PairBatch, World


def join_splits(
    store: FeatureStore,
    dataset: str,
    annotations: Path,
    *,
    allow_missing: bool,
    note: Callable[[str], None],
) -> list[JoinedSplit]:
    """The training split and, where the data set has one, the validation split; never the test split.

    Raises:
        InputError: the data set's files, no training split, or videos that the store lacks (unless `allow_missing`).
    """
    files = Annotations(dataset, annotations)
    parts: list[JoinedSplit] = []
    for name in ("train", *({"val"} & set(files.splits))):
        parts.append(join_with_store(files.load(name), store.videos, paths=store.paths))
        require_complete(parts[-1], allow_missing=allow_missing)
        if parts[-1].missing_videos:
            note(f"{name}: {len(parts[-1].missing_videos):,} videos are not in the store, left out")
    return parts


@dataclass(frozen=True, kw_only=True)
class PairSet:
    """Videos with their texts: `video_ids` of the store, `video_of_text` int64 [num_texts].

    `BY_VIDEO` and `BY_TEXT` name the arrays that have a row per video and per text.
    """

    BY_VIDEO: ClassVar[tuple[str, ...]]
    BY_TEXT: ClassVar[tuple[str, ...]]

    video_ids: tuple[str, ...]
    video_of_text: np.ndarray

    def subset(self: AnySet, videos: np.ndarray) -> AnySet:
        """The given videos (int64 indices) with their texts; both renumbered."""
        number = np.full(len(self.video_ids), -1)
        number[videos] = np.arange(len(videos))
        texts = np.flatnonzero(number[self.video_of_text] >= 0)
        return replace(
            self,
            video_ids=tuple(self.video_ids[index] for index in videos),
            video_of_text=number[self.video_of_text[texts]],
            **{name: getattr(self, name)[videos] for name in self.BY_VIDEO},
            **{name: getattr(self, name)[texts] for name in self.BY_TEXT},
        )


AnySet = TypeVar("AnySet", bound=PairSet)


@dataclass(frozen=True, kw_only=True)
class FeatureSet(PairSet):
    """A split as arrays of cached features.

    `frames` float16 [num_videos, num_frames, dim], padded with zeros; `frame_mask` bool [num_videos, num_frames];
    `texts` float16 [num_texts, num_streams, dim]; `stream_mask` bool [num_texts, num_streams].
    """

    BY_VIDEO = ("frames", "frame_mask")
    BY_TEXT = ("texts", "stream_mask")

    frames: np.ndarray
    frame_mask: np.ndarray
    texts: np.ndarray
    stream_mask: np.ndarray


def load_features(
    store: FeatureStore,
    split: JoinedSplit,
    texts: TextCache,
    *,
    num_frames: int,
    experts: Sequence[Stream],
) -> FeatureSet:
    """Copy a split's features into memory: the experts' streams, in their order, of every text; videos with more frames
    are thinned evenly to `num_frames`.

    Raises:
        StoreError: a caption is not cached.
    """
    frames, mask = padded_frames(store, split.video_ids, num_frames=num_frames)
    rows = texts.rows([caption.text for caption in split.captions])
    columns = [STREAMS.index(expert) for expert in experts]
    return FeatureSet(
        video_ids=split.video_ids,
        video_of_text=video_numbers(split),
        frames=frames,
        frame_mask=mask,
        texts=rows.features[:, columns],
        stream_mask=rows.mask[:, columns],
    )


def video_numbers(split: JoinedSplit) -> np.ndarray:
    """int64 [num_texts]: which video of the split each caption describes."""
    number = {video_id: row for row, video_id in enumerate(split.video_ids)}
    return np.array([number[caption.video_id] for caption in split.captions], np.int64)


def train_and_val(sets: Sequence[AnySet], settings: TrainSettings) -> tuple[AnySet, AnySet]:
    """What to train on and what to validate with; without a validation split a share of the training videos is.

    Raises:
        InputError: too few videos.
    """
    if len(sets) == 1:
        return split_off(sets[0], share=settings.val_share, seed=settings.seed)
    if len(sets[0].video_ids) < 2:
        raise too_few(len(sets[0].video_ids), 2)
    return sets[0], sets[1]


def split_off(videos: AnySet, *, share: float, seed: int) -> tuple[AnySet, AnySet]:
    """Training and validation videos of a data set that has no validation split; never both in one.

    Raises:
        InputError: fewer than four videos.
    """
    num_videos = len(videos.video_ids)
    num_val = min(max(2, round(share * num_videos)), num_videos - 2)
    if num_val < 2:
        raise too_few(num_videos, 4)
    order = np.random.default_rng([seed, 0x7A1]).permutation(num_videos)
    return videos.subset(np.sort(order[num_val:])), videos.subset(np.sort(order[:num_val]))


def too_few(num_videos: int, least: int) -> InputError:
    """The error for a split that contrastive training can do nothing with."""
    return InputError(
        f"{num_videos} videos to train on",
        allowed=f"at least {least}: every pair needs another video as its negative",
        to_do="extract more videos, or check --dataset and --store",
    )


def epoch_batches(
    video_of_text: np.ndarray, *, batch_size: int, captions: Captions, seed: int, epoch: int
) -> Iterator[np.ndarray]:
    """Text indices, int64 [num_pairs], batch by batch; each text stands for its pair with its video.

    `one`: every video once, with a caption drawn for this epoch. `all`: every caption once. A last batch of a
    single pair is left out: it has no negative. The order depends on (seed, epoch) alone, so that a run can be
    resumed at any batch.
    """
    rng = np.random.default_rng([seed, epoch])
    if captions == "all":
        order = rng.permutation(len(video_of_text))
    else:
        shuffled = rng.permutation(len(video_of_text))
        _, first = np.unique(video_of_text[shuffled], return_index=True)
        order = rng.permutation(shuffled[first])
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        if len(batch) >= 2:
            yield batch


class PairOrder(ABC):
    """Which pairs make which batch, whatever the batches are made of."""

    def __init__(self, pairs: PairSet, settings: TrainSettings, world: World) -> None:
        self._pairs, self._settings, self._world = pairs, settings, world

    @abstractmethod
    def batches(self, epoch: int, first: int) -> Iterator[PairBatch]:
        """This process's part of each batch, from number `first` of the epoch on."""

    def num_batches(self) -> int:
        """Batches per epoch; the same for every epoch."""
        return sum(1 for _ in self.order(0))

    def describe(self, epoch: int, batch: int) -> str:
        """The first few videos of a batch."""
        whole = next(self.order(epoch, batch))
        names = [self._pairs.video_ids[number] for number in self._pairs.video_of_text[whole[:5]]]
        return ", ".join(names) + (f" and {len(whole) - 5} more" if len(whole) > 5 else "")

    def order(self, epoch: int, first: int = 0) -> Iterator[np.ndarray]:
        """Text indices, int64 [global batch], of each batch from number `first` on."""
        settings = self._settings
        batches = epoch_batches(
            self._pairs.video_of_text,
            batch_size=settings.batch_size,
            captions=settings.captions,
            seed=settings.seed,
            epoch=epoch,
        )
        trimmed = (self._world.trimmed(batch) for batch in batches)
        return itertools.islice((batch for batch in trimmed if len(batch) >= 2), first, None)


class CachedBatches(PairOrder):
    """Batches of cached features; a gather of two arrays per batch."""

    def __init__(self, features: FeatureSet, settings: TrainSettings, world: World) -> None:
        super().__init__(features, settings, world)
        self._features = features

    def batches(self, epoch: int, first: int) -> Iterator[PairBatch]:
        """This process's part of each batch from number `first` on."""
        features = self._features
        for whole in self.order(epoch, first):
            texts = self._world.share(whole)
            videos = features.video_of_text[texts]
            yield PairBatch(
                frames=torch.from_numpy(features.frames[videos]),
                frame_mask=torch.from_numpy(features.frame_mask[videos]),
                texts=torch.from_numpy(features.texts[texts]),
                stream_mask=torch.from_numpy(features.stream_mask[texts]),
                video_numbers=torch.from_numpy(features.video_of_text[whole]),
            )
