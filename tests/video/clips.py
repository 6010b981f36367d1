"""Tiny real videos, made by recorded ffmpeg calls."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vtrcli.video.ffmpeg import ffmpeg_binary
from vtrcli.video.reader import FrameBatch, open_video
from vtrcli.video.sampling import Sampling

# Frame n of this source is a flat grey of luma 16 + 3 n: a decoded picture tells which frame it is (up to n = 60).
NUMBERED = "color=black:size=32x32:rate={rate}:duration={seconds},geq=lum=16+3*N:cb=128:cr=128"


def run_ffmpeg(*arguments: str) -> None:
    command = [ffmpeg_binary(), "-v", "error", "-nostdin", "-y", *arguments]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


def make_video(path: Path, source: str, *options: str) -> Path:
    """Encodes a lavfi source; H.264 with key frames every 20 frames unless the options say otherwise."""
    defaults = ["-c:v", "libx264", "-g", "20", "-preset", "ultrafast", "-pix_fmt", "yuv420p"]
    run_ffmpeg("-f", "lavfi", "-i", source, *defaults, *options, f"file:{path}")
    return path


def numbered(path: Path, *options: str, rate: int = 10, seconds: float = 6) -> Path:
    # full chroma and -qp 0 keep the grey exact
    return make_video(path, NUMBERED.format(rate=rate, seconds=seconds), "-qp", "0", *options)


def frame_number(pixels: NDArray[np.uint8]) -> int:
    """Which frame of a `numbered` video this is; RGB of luma 16 + 3 n is 3 n * 255 / 219."""
    return round(float(pixels.mean()) * 219 / 255 / 3)


def read(path: Path, sampling: Sampling, *, size: int = 32) -> FrameBatch:
    """All frames in one batch."""
    with open_video(path, sampling, size=size) as reader:
        batches = list(reader)
    return FrameBatch(
        pixels=np.concatenate([batch.pixels for batch in batches]),
        timestamps=np.concatenate([batch.timestamps for batch in batches]),
    )
