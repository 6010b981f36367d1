"""How others extract features, re-created with the same weights and frames: each takes paths and returns, per video,
features float32 [num_frames, dim] and the times of its frames in seconds."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

SIZE = 224
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)  # CLIP's
Encode = Callable[[np.ndarray], np.ndarray]  # uint8 [batch, height, width, 3] -> float32 [batch, dim]
Frames = Callable[[Path], Iterator[Any]]  # PyAV's frames of a video, those that are taken
Video = tuple[np.ndarray, list[float]]

# What clip-video-encode 1.3 does by default: so many videos are read before they are encoded, in batches of so many
# frames that so many processes prepare.
CHUNK_VIDEOS, BATCH_FRAMES, NUM_LOADERS = 100, 128, 6
NUM_READERS = 2  # its --frame_workers
LOOP_FRAMES = 16  # a batch of the simple loop; vtr's own on a CPU


def clip_video_encode(paths: Sequence[Path], *, every: int, model: Any, out: Path) -> dict[Path, Video]:
    """Every n-th frame: OpenCV in reader processes from start to end, cut to size there; then a DataLoader that
    normalises, the model in float32 (its autocast is CUDA's alone), and a .npy file per video."""
    found: dict[Path, Video] = {}
    with ProcessPoolExecutor(NUM_READERS, mp_context=get_context("fork")) as readers:
        chunk: list[tuple[Path, np.ndarray, list[float]]] = []
        for number, (path, read) in enumerate(
            zip(paths, readers.map(read_by_opencv, paths, repeat(every)), strict=True), 1
        ):
            chunk.append((path, *read))
            if number % CHUNK_VIDEOS == 0 or number == len(paths):
                features = encode_in_batches(np.concatenate([pixels for _, pixels, _ in chunk]), model)
                first = 0
                for video, pixels, times in chunk:
                    rows = features[first : first + len(pixels)]
                    np.save(out / f"{video.stem}.npy", rows)
                    found[video], first = (rows, times), first + len(pixels)
                chunk = []
    return found


def read_by_opencv(path: Path, every: int) -> tuple[np.ndarray, list[float]]:
    """uint8 [num_frames, 224, 224, 3]: all frames are grabbed, every n-th is fetched and made smaller."""
    import cv2

    capture, pictures, times, number = cv2.VideoCapture(str(path)), [], [], 0
    while capture.grab():
        if number % every == 0:
            times.append(capture.get(cv2.CAP_PROP_POS_MSEC) / 1000)
            _, picture = capture.retrieve()
            height, width = picture.shape[:2]
            scale = SIZE / min(height, width)
            wide, high = max(SIZE, int(width * scale)), max(SIZE, int(height * scale))
            picture = cv2.resize(picture, (wide, high), interpolation=cv2.INTER_CUBIC)
            top, left = (high - SIZE) // 2, (wide - SIZE) // 2
            pictures.append(picture[top : top + SIZE, left : left + SIZE, ::-1])
        number += 1
    capture.release()
    return np.stack(pictures), times


class Pictures(torch.utils.data.Dataset[torch.Tensor]):
    """Frames as tensors float32 [3, height, width], normalised one by one, by way of Pillow."""

    def __init__(self, pixels: np.ndarray) -> None:
        self._pixels = pixels
        self._mean, self._std = (torch.tensor(value).view(3, 1, 1) for value in (MEAN, STD))

    def __len__(self) -> int:
        return len(self._pixels)

    def __getitem__(self, number: int) -> torch.Tensor:
        picture = np.array(Image.fromarray(self._pixels[number]).convert("RGB"))
        return (torch.from_numpy(picture).permute(2, 0, 1).float() / 255 - self._mean) / self._std


def encode_in_batches(pixels: np.ndarray, model: Any) -> np.ndarray:
    """float32 [num_frames, dim]."""
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.filterwarnings(
            "ignore", "This DataLoader will create"
        )  # more processes than cores: its own choice
        loader = torch.utils.data.DataLoader(
            Pictures(pixels), batch_size=BATCH_FRAMES, num_workers=NUM_LOADERS
        )
        return np.concatenate([model.encode_image(batch).float().numpy() for batch in loader])


def pyav_loop(paths: Sequence[Path], *, frames: Frames, encode: Encode) -> dict[Path, Video]:
    """The loop of many scripts: one video after the other by PyAV, its frames prepared by Pillow as CLIP's own
    transform does, and encoded at once."""
    found = {}
    for path in paths:
        pixels, times = decoded(path, frames)
        batches = [
            encode(pixels[first : first + LOOP_FRAMES]) for first in range(0, len(pixels), LOOP_FRAMES)
        ]
        found[path] = np.concatenate(batches), times
    return found


def decoded(path: Path, frames: Frames) -> tuple[np.ndarray, list[float]]:
    """uint8 [num_frames, 224, 224, 3], and times."""
    pictures, times = [], []
    for frame in frames(path):
        pictures.append(prepared(frame.to_image()))
        times.append(float(frame.time))
    return np.stack(pictures), times


def prepared(picture: Image.Image) -> np.ndarray:
    scale = SIZE / min(picture.size)
    width, height = (max(SIZE, round(side * scale)) for side in picture.size)
    picture = picture.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - SIZE) // 2, (height - SIZE) // 2
    return np.asarray(picture.crop((left, top, left + SIZE, top + SIZE)).convert("RGB"))


def linear(path: Path, *, step_seconds: float) -> Iterator[Any]:
    """All frames are decoded, by as many threads as there are cores; those at 0, step, 2 x step ... are taken."""
    import av

    with av.open(str(path)) as container:
        stream: Any = container.streams.video[0]
        stream.thread_type = "AUTO"
        wanted = 0.0
        for frame in container.decode(stream):
            if frame.time >= wanted - 1e-3:
                yield frame
                wanted += step_seconds


def by_seeks(path: Path, *, step_seconds: float) -> Iterator[Any]:
    """A seek for each frame, then on from the key frame before it."""
    import av

    with av.open(str(path)) as container:
        stream: Any = container.streams.video[0]
        stream.thread_type = "AUTO"
        duration, wanted = float(container.duration or 0) / av.time_base, 0.0
        while wanted < duration - 1e-3:
            container.seek(int(wanted / stream.time_base), stream=stream, backward=True)
            for frame in container.decode(stream):
                if frame.time >= wanted - 1e-3:
                    yield frame
                    break
            wanted += step_seconds


def key_frames(path: Path) -> Iterator[Any]:
    """The decoder passes over all others."""
    import av

    with av.open(str(path)) as container:
        stream: Any = container.streams.video[0]
        stream.thread_type = "AUTO"
        stream.codec_context.skip_frame = "NONKEY"
        yield from container.decode(stream)


def every(step_seconds: float) -> dict[str, Frames]:
    """The two ways to frames at a fixed step."""
    return {
        "linear": partial(linear, step_seconds=step_seconds),
        "seeks": partial(by_seeks, step_seconds=step_seconds),
    }
