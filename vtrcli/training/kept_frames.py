"""Kept frames as arrays: open shards, decoding, cropping, and a few threads that work ahead of the training step."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch

from vtrcli.errors import StoreError
from vtrcli.store.frames import FrameShard, decode_frame, open_frame
from vtrcli.store.padding import spread
from vtrcli.store.reader import FeatureStore
from vtrcli.store.shard import damaged

PREFETCHED_BATCHES = 2
MAX_THREADS = 16

Crop = tuple[float, float, float, float]  # left, top, right, bottom as parts of the picture's sides


@dataclass(frozen=True)
class ClipRequest:
    """One video; `crop` None takes the frames whole."""

    video_id: str
    crop: Crop | None = None


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
            path = self._store.path / "frames" / self._store.shards[number].path.name
            if not path.exists():
                return False
            self._open[number] = FrameShard(path)
        return video_id in self._open[number]

    def read(self, request: ClipRequest, pixels: np.ndarray) -> int:
        """Decode a video into uint8 `pixels` [num_frames, size, size, 3]; more frames than that are thinned evenly.

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
                pixels[row] = decoded(images[number], size=pixels.shape[1], crop=request.crop)
            except OSError as cause:  # PIL's errors about a file's content
                raise damaged(shard.path, f"frame {number} of {request.video_id!r}: {cause}") from cause
        return len(chosen)


def decoded(image: bytes, *, size: int, crop: Crop | None) -> np.ndarray:
    """uint8 [size, size, 3] of a kept frame, or of a part of it, resized (bicubic)."""
    if crop is None:
        return decode_frame(image, size=size)
    from PIL import Image

    picture = open_frame(image).convert("RGB")
    width, height = picture.size
    box = (crop[0] * width, crop[1] * height, crop[2] * width, crop[3] * height)
    return np.asarray(picture.resize((size, size), Image.Resampling.BICUBIC, box=box))


def load_clips(
    batches: Iterable[Sequence[ClipRequest]],
    kept: KeptFrames,
    *,
    num_frames: int,
    size: int,
    pin_memory: bool = False,
) -> Generator[tuple[torch.Tensor, torch.Tensor], None, None]:
    """Per batch: pixels uint8 [batch, num_frames, size, size, 3] and mask bool [batch, num_frames].

    Threads decode two batches ahead. Close the generator to stop them early.
    """
    pool = ThreadPoolExecutor(min(os.cpu_count() or 1, MAX_THREADS), thread_name_prefix="frames")
    waiting: deque[tuple[torch.Tensor, list[Future[int]]]] = deque()
    try:
        for requests in batches:
            shape = (len(requests), num_frames, size, size, 3)
            pixels = torch.zeros(shape, dtype=torch.uint8, pin_memory=pin_memory)
            rows = pixels.numpy()  # the threads write into the tensor itself
            jobs = [pool.submit(kept.read, request, rows[row]) for row, request in enumerate(requests)]
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
