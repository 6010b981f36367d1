"""A backbone and a head trained together, on kept frames.

Frames are read and cropped ahead of the step by a few threads, and batched with tokens. Everything follows from (seed,
epoch, pair), so that a run can be resumed at any batch.
"""

from __future__ import annotations

import itertools
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from vtrcli.datasets.match_store import JoinedSplit
from vtrcli.errors import StoreError
from vtrcli.model.backbone import TrainableBackbone, default_batch_size
from vtrcli.model.families import load_trainable
from vtrcli.model.frame_batches import FrameBatcher, HostLane
from vtrcli.model.heads import Head
from vtrcli.model.train_settings import TrainSettings
from vtrcli.preprocessing import Box, Size, framing_of
from vtrcli.store.frames import FRAME_FOLDER, FrameShard, decode_frame, require_same_cut
from vtrcli.store.reader import FeatureStore, spread
from vtrcli.store.shard import damaged
from vtrcli.text.streams import STREAMS, Stream, Tagger, TaggerName, load_tagger, split_streams
from vtrcli.training.data import FeatureSet, PairOrder, PairSet, video_numbers
from vtrcli.training.step import PairBatch, World

CHUNK_FRAMES, CHUNK_TEXTS = 512, 256  # encoded at a time in validation
MIN_CROP_SHARE = 0.8  # of a frame's area (our choice)
PREFETCHED_BATCHES = 2
MAX_THREADS = 16


@dataclass(frozen=True)
class ClipRequest:
    """One video; `crop`: of what the model sees of its frames, in parts of the sides; None takes all of that."""

    video_id: str
    crop: Box | None = None


class KeptFrames:
    """The kept frames of a store's videos. Each shard is opened once; threads may read at the same time.

    Raises:
        StoreError: a video has no kept frames, or a shard is damaged.
    """

    def __init__(self, store: FeatureStore, video_ids: Iterable[str]) -> None:
        self._store = store
        self._open: dict[int, FrameShard] = {}
        without = [video_id for video_id in video_ids if not self._has(video_id)]
        if without:
            raise StoreError(
                f"store {store.path} keeps no frames of {len(without):,} videos, the first is {without[0]!r}",
                allowed="fine-tuning reads kept frames",
                to_do="run `vtr extract --keep-frames` into a new store",
            )

    def _has(self, video_id: str) -> bool:
        number = self._store.videos[video_id].shard
        if number not in self._open:
            path = self._store.path / FRAME_FOLDER / self._store.shards[number].path.name
            if not path.exists():
                return False
            self._open[number] = FrameShard(path)
        return video_id in self._open[number]

    def read(self, request: ClipRequest, pixels: np.ndarray, size: Size) -> int:
        """Decode a video into uint8 `pixels` [num_frames, height, width, 3]; more frames than that are thinned evenly.

        Returns:
            The number of frames written, from the first row on.

        Raises:
            StoreError: a frame cannot be decoded.
        """
        location = self._store.videos[request.video_id]
        shard = self._open[location.shard]
        images = shard.images(request.video_id)
        if len(images) != location.num_frames:
            raise damaged(
                shard.path, f"{request.video_id!r} has {len(images)} frames, not {location.num_frames}"
            )
        chosen = spread(len(images), len(pixels)).tolist()
        for row, number in enumerate(chosen):
            try:
                pixels[row] = decode_frame(images[number], size=size, part=request.crop)
            except OSError as cause:  # PIL's errors about a file's content
                raise damaged(shard.path, f"frame {number} of {request.video_id!r}: {cause}") from cause
        return len(chosen)


def load_clips(
    batches: Iterable[Sequence[ClipRequest]],
    kept: KeptFrames,
    *,
    num_frames: int,
    size: Size,
    pin_memory: bool = False,
) -> Generator[tuple[torch.Tensor, torch.Tensor], None, None]:
    """Per batch: pixels uint8 [batch, num_frames, height, width, 3] and mask bool [batch, num_frames].

    Threads decode two batches ahead. Close the generator to stop them early.
    """
    pool = ThreadPoolExecutor(min(os.cpu_count() or 1, MAX_THREADS), thread_name_prefix="frames")
    waiting: deque[tuple[torch.Tensor, list[Future[int]]]] = deque()
    try:
        for requests in batches:
            shape = (len(requests), num_frames, *framing_of(size).shape)
            pixels = torch.zeros(shape, dtype=torch.uint8, pin_memory=pin_memory)
            rows = pixels.numpy()  # the threads write into the tensor itself
            jobs = [pool.submit(kept.read, request, rows[row], size) for row, request in enumerate(requests)]
            waiting.append((pixels, jobs))
            if len(waiting) > PREFETCHED_BATCHES:
                yield _finished(*waiting.popleft())
        while waiting:
            yield _finished(*waiting.popleft())
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _finished(pixels: torch.Tensor, jobs: list[Future[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    counts = torch.tensor([job.result() for job in jobs])
    return pixels, torch.arange(pixels.shape[1]) < counts[:, None]


@dataclass(frozen=True, kw_only=True)
class FrameSet(PairSet):
    """A split as kept frames and tokens.

    `kept` has the frames of all `video_ids`, each video thinned to `num_frames` and resized to `size`; `tokens` uint16
    or int32 [num_texts, num_streams, longest], zeros behind the end token; `stream_mask` bool [num_texts, num_streams];
    `may_cut`: what stands behind an end token changes nothing; `num_cut` captions were longer than what is read.
    """

    BY_VIDEO = ()
    BY_TEXT = ("tokens", "stream_mask")

    kept: KeptFrames
    num_frames: int
    size: Size
    tokens: np.ndarray
    stream_mask: np.ndarray
    may_cut: bool = True
    num_cut: int = 0

    def padded_tokens(self, texts: np.ndarray | slice) -> torch.Tensor:
        """int64 [num_chosen, num_streams, longest of them where batches may be cut, else all]."""
        rows = self.tokens[texts].astype(np.int64)
        if not self.may_cut:
            return torch.from_numpy(rows)
        longest = int(np.flatnonzero(rows.any(axis=(0, 1)))[-1]) + 1
        return torch.from_numpy(rows[:, :, :longest])


def frame_sets(
    store: FeatureStore,
    parts: Sequence[JoinedSplit],
    settings: TrainSettings,
    tuned: TrainableBackbone,
    *,
    tagger: TaggerName,
    on_progress: Callable[[int, int], None] = lambda num_done, total: None,
) -> list[FrameSet]:
    """Kept frames and tokens. Raises StoreError when the store keeps none of a video, or others."""
    chosen = [video_id for part in parts for video_id in part.video_ids]
    require_same_cut(store, tuned.preprocessing, chosen)
    kept = KeptFrames(store, chosen)
    loaded = load_tagger(tagger)
    return [
        load_frame_set(
            kept,
            part,
            tuned,
            tagger=loaded,
            experts=settings.experts,
            num_frames=settings.num_frames,
            max_tokens=settings.max_tokens,
            on_progress=on_progress,
        )
        for part in parts
    ]


def load_frame_set(
    kept: KeptFrames,
    split: JoinedSplit,
    tuned: TrainableBackbone,
    *,
    tagger: Tagger,
    experts: Sequence[Stream],
    num_frames: int,
    max_tokens: int | None = None,
    on_progress: Callable[[int, int], None] = lambda num_done, total: None,
) -> FrameSet:
    """Split and tokenize a split's captions, as `text.encode.encode_streams` does; no frame is read yet."""
    limit = tuned.info.context_length if max_tokens is None else max_tokens
    length = min(limit, tuned.info.context_length) if tuned.is_causal else tuned.info.context_length
    tokens = np.zeros((len(split.captions), len(experts), length), np.int32)
    mask = np.zeros((len(split.captions), len(STREAMS)), bool)
    longest, num_cut = 1, 0
    for row, caption in enumerate(split.captions):
        read = tuned.cut_text(caption.text, max_tokens)
        num_cut += read != caption.text
        streams = replace(split_streams(read, tagger), fusion=caption.text)
        mask[row] = (True, streams.has_entity, streams.has_action)
        for column, expert in enumerate(experts):
            ids = tuned.tokenize(getattr(streams, expert), max_tokens=max_tokens)
            tokens[row, column, : len(ids)] = ids
            longest = max(longest, len(ids))
        on_progress(row + 1, len(split.captions))
    columns = [STREAMS.index(expert) for expert in experts]
    kind = np.uint16 if tokens.max(initial=0) <= np.iinfo(np.uint16).max else np.int32
    return FrameSet(
        video_ids=split.video_ids,
        video_of_text=video_numbers(split),
        kept=kept,
        num_frames=num_frames,
        size=tuned.preprocessing,
        tokens=tokens[:, :, : longest if tuned.is_causal else length].astype(kind),
        stream_mask=mask[:, columns],
        may_cut=tuned.is_causal,
        num_cut=num_cut,
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


def random_crop(rng: np.random.Generator) -> Box:
    """A part of 0.8 to 1 of the area, of the same shape; one for all frames of a clip, so that things still move as
    they did. Never mirrored: captions tell left from right."""
    side = rng.uniform(MIN_CROP_SHARE, 1) ** 0.5
    left, top = rng.uniform(0, 1 - side, size=2)
    return float(left), float(top), float(left + side), float(top + side)


class FinetuneEncoder(nn.Module):
    """As `PairEncoder`, but from pixels and tokens.

    Raises:
        UsageError: `freeze_layers` leaves no layer to train.
    """

    def __init__(
        self,
        tuned: TrainableBackbone,
        head: Head,
        *,
        freeze_layers: int = 0,
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.tuned = tuned
        self.clip, self.head = tuned.module, head  # the name that the run's files know
        tuned.prepare(freeze_layers=freeze_layers, gradient_checkpointing=gradient_checkpointing)

    def forward(
        self,
        frames: torch.Tensor,
        frame_mask: torch.Tensor,
        texts: torch.Tensor,
        stream_mask: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Pixels uint8 [part, F, height, width, 3], bool [part, F], token ids int64 [part, E, tokens], bool [part, E]
        -> what the head makes of videos and of texts, [part, ...] each."""
        encoded = self.tuned.encode_pixels(frames[frame_mask])
        features = encoded.new_zeros(*frame_mask.shape, encoded.shape[-1])
        features[frame_mask] = encoded
        videos = self.head.video_vectors(features, frame_mask)
        words = self.tuned.encode_tokens(texts.flatten(0, 1))
        return videos, self.head.text_vectors(words.view(*texts.shape[:2], -1), stream_mask)


def starting_backbone(
    tuned: Path | None, store: FeatureStore, settings: TrainSettings, *, backbone: str | None, device: str
) -> TrainableBackbone:
    """What fine-tuning begins with: the run's own backbone when it goes on, else `backbone`; None: the store's."""
    if tuned is not None:  # for the sizes; the weights of the last step are in last.safetensors
        return load_trainable(str(tuned), device=device)
    stored = store.config.backbone
    torch.manual_seed(settings.seed + 1)  # counts from scratch; not the numbers that the heads draw
    return load_trainable(
        backbone or stored.name,
        sha256=None if backbone else stored.sha256,
        from_scratch=settings.from_scratch,
        device=device,
    )


@torch.inference_mode()
def encode_set(encoder: FinetuneEncoder, frames: FrameSet, *, device: str) -> FeatureSet:
    """Features of a split by the backbone of now, as a store made with it has them; frames are taken whole.

    In the precision and the batches of `vtr cache` and `vtr extract`, so that `vtr eval` finds the numbers of the
    validation again: those of frames are the same bits, those of texts differ by a last bit of float16 at most, since
    their batches depend on what else is encoded.
    """
    num_videos, num_frames = len(frames.video_ids), frames.num_frames
    dim = encoder.head.config.dim
    features = np.zeros((num_videos, num_frames, dim), np.float16)
    masks = np.zeros((num_videos, num_frames), bool)
    encode_images, encode_tokens = encoder.tuned.encoders(device=device)
    batcher = FrameBatcher(
        [HostLane(encode_images, batch_size=default_batch_size(device), input_size=frames.size)]
    )
    num_done = np.zeros(num_videos, np.int64)

    def keep(found: Iterable[tuple[int, np.ndarray]]) -> None:
        for video, rows in found:
            features[video, num_done[video] : num_done[video] + len(rows)] = rows
            num_done[video] += len(rows)

    step = max(1, CHUNK_FRAMES // num_frames)
    starts = range(0, num_videos, step)
    requests = ([ClipRequest(name) for name in frames.video_ids[start : start + step]] for start in starts)
    loaded = load_clips(requests, frames.kept, num_frames=num_frames, size=frames.size)
    with closing(loaded):
        for start, (pixels, mask) in zip(starts, loaded, strict=True):
            masks[start : start + step] = mask.numpy()
            for number, its_mask in enumerate(mask):
                keep(batcher.push(start + number, pixels[number][its_mask].numpy()))
    keep(batcher.flush())
    texts = np.zeros((*frames.stream_mask.shape, dim), np.float16)
    for start, stop in itertools.pairwise([*range(0, len(texts), CHUNK_TEXTS), len(texts)]):
        tokens = frames.padded_tokens(slice(start, stop)).to(device)
        encoded = encode_tokens(tokens.flatten(0, 1))
        texts[start:stop] = encoded.view(*tokens.shape[:2], -1).cpu().numpy()
    return FeatureSet(
        video_ids=frames.video_ids,
        video_of_text=frames.video_of_text,
        frames=features,
        frame_mask=masks,
        texts=texts,
        stream_mask=frames.stream_mask,
    )
