"""Batches of kept frames and tokens, for fine-tuning: augmented, decoded ahead, the same for the same seed."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

import numpy as np
import torch

from vtrcli.datasets.join import JoinedSplit
from vtrcli.model.text_tower import cut_text, token_limit, tokenize
from vtrcli.model.train_settings import TrainSettings
from vtrcli.text.streams import STREAMS, Stream, split_streams
from vtrcli.text.taggers import Tagger
from vtrcli.training.data import PairOrder, rows_of_videos, video_numbers
from vtrcli.training.distributed import World
from vtrcli.training.encoder import PairBatch
from vtrcli.training.kept_frames import ClipRequest, Crop, KeptFrames, load_clips

MIN_CROP_SHARE = 0.8  # of a frame's area (our choice)


@dataclass(frozen=True)
class FrameSet:
    """A split as kept frames and tokens.

    `kept` has the frames of all `video_ids`, each video thinned to `num_frames` and resized to `size`; `tokens` uint16
    [num_texts, num_streams, longest], zeros behind the end token; `stream_mask` bool [num_texts, num_streams];
    `video_of_text` int64 [num_texts].
    """

    video_ids: tuple[str, ...]
    kept: KeptFrames
    num_frames: int
    size: int
    tokens: np.ndarray
    stream_mask: np.ndarray
    video_of_text: np.ndarray

    def subset(self, videos: np.ndarray) -> FrameSet:
        """The given videos (int64 indices) with their texts; both renumbered."""
        rows, numbers = rows_of_videos(self.video_of_text, videos, num_videos=len(self.video_ids))
        return replace(
            self,
            video_ids=tuple(self.video_ids[index] for index in videos),
            tokens=self.tokens[rows],
            stream_mask=self.stream_mask[rows],
            video_of_text=numbers,
        )

    def padded_tokens(self, texts: np.ndarray | slice) -> torch.Tensor:
        """int64 [num_chosen, num_streams, longest of them]: what stands behind an end token changes nothing."""
        rows = self.tokens[texts].astype(np.int64)
        longest = int(np.flatnonzero(rows.any(axis=(0, 1)))[-1]) + 1
        return torch.from_numpy(rows[:, :, :longest])


def load_frame_set(
    kept: KeptFrames,
    split: JoinedSplit,
    *,
    tagger: Tagger,
    experts: Sequence[Stream],
    num_frames: int,
    size: int,
    context_length: int,
    max_tokens: int | None = None,
    on_progress: Callable[[int, int], None] = lambda num_done, total: None,
) -> FrameSet:
    """Split and tokenize a split's captions, as `text.cache.encode_streams` does; no frame is read yet."""
    length = token_limit(max_tokens, context_length)
    tokens = np.zeros((len(split.captions), len(experts), length), np.uint16)  # 49,408 tokens
    mask = np.zeros((len(split.captions), len(STREAMS)), bool)
    longest = 1
    for row, caption in enumerate(split.captions):
        streams = replace(split_streams(cut_text(caption.text, max_tokens), tagger), fusion=caption.text)
        mask[row] = (True, streams.has_entity, streams.has_action)
        for column, expert in enumerate(experts):
            ids, _ = tokenize(getattr(streams, expert), context_length=length)
            tokens[row, column, : len(ids)] = ids
            longest = max(longest, len(ids))
        on_progress(row + 1, len(split.captions))
    columns = [STREAMS.index(expert) for expert in experts]
    return FrameSet(
        split.video_ids,
        kept,
        num_frames,
        size,
        tokens[:, :, :longest].copy(),
        mask[:, columns],
        video_numbers(split),
    )


class FrameBatches(PairOrder):
    """Batches of pixels and tokens. Crops depend on (seed, epoch, pair) alone, so a run can be resumed at any batch."""

    def __init__(
        self, frames: FrameSet, settings: TrainSettings, world: World, *, pin_memory: bool = False
    ) -> None:
        super().__init__(frames, settings, world)
        self._frames, self._pin_memory = frames, pin_memory

    def batches(self, epoch: int, first: int) -> Iterator[PairBatch]:
        """This process's part of each batch from number `first` on."""
        frames = self._frames
        now, ahead = itertools.tee(self.order(epoch, first))
        loaded = load_clips(
            (self._requests(epoch, self._world.share(whole)) for whole in ahead),
            frames.kept,
            num_frames=frames.num_frames,
            size=frames.size,
            pin_memory=self._pin_memory,
        )
        with closing(loaded):
            for whole, (pixels, mask) in zip(now, loaded, strict=True):
                texts = self._world.share(whole)
                yield PairBatch(
                    frames=pixels,
                    frame_mask=mask,
                    texts=frames.padded_tokens(texts),
                    stream_mask=torch.from_numpy(frames.stream_mask[texts]),
                    video_numbers=torch.from_numpy(frames.video_of_text[whole]),
                )

    def _requests(self, epoch: int, texts: np.ndarray) -> list[ClipRequest]:
        frames, seed = self._frames, self._settings.seed
        return [
            ClipRequest(
                frames.video_ids[frames.video_of_text[text]],
                random_crop(np.random.default_rng([seed, epoch, text, 0xC0])),
            )
            for text in texts
        ]


def random_crop(rng: np.random.Generator) -> Crop:
    """A part of 0.8 to 1 of the area, of the same shape; one for all frames of a clip, so that things still move as
    they did. Never mirrored: captions tell left from right."""
    side = rng.uniform(MIN_CROP_SHARE, 1) ** 0.5
    left, top = rng.uniform(0, 1 - side, size=2)
    return float(left), float(top), float(left + side), float(top + side)
