"""Encodes drawn frames as one small MP4 file; the same frames give the same bytes with the same ffmpeg."""

from __future__ import annotations

import subprocess
from pathlib import Path

import ffmpeg
import numpy as np
from numpy.typing import NDArray

from vtrcli.errors import InputError
from vtrcli.files import replacing
from vtrcli.video.files import DRAWN_COMMENT

_ENCODE_SECONDS = 60.0


def encode_clip(frames: NDArray[np.uint8], path: Path, *, binary: str, frames_per_second: int) -> None:
    """Write frames, uint8 [num_frames, height, width, 3] RGB, as H.264; `path` is there whole or not at all.

    Raises:
        InputError: ffmpeg failed or took too long, or the folder cannot be written.
    """
    with replacing(path, error=InputError) as temporary:
        command = _command(temporary, frames.shape, binary=binary, frames_per_second=frames_per_second)
        try:
            finished = subprocess.run(
                command, input=frames.tobytes(), capture_output=True, timeout=_ENCODE_SECONDS, check=False
            )
        except subprocess.TimeoutExpired as cause:
            raise _failure(path, f"ffmpeg took over {_ENCODE_SECONDS:.0f} s") from cause
        if finished.returncode != 0:
            raise _failure(path, finished.stderr.decode(errors="replace").strip())


def _command(target: Path, shape: tuple[int, ...], *, binary: str, frames_per_second: int) -> list[str]:
    _, height, width, _ = shape
    source = ffmpeg.input(
        "pipe:", format="rawvideo", pix_fmt="rgb24", s=f"{width}x{height}", r=frames_per_second, threads=1
    )
    # One thread and bitexact flags for equal bytes; a key frame every two seconds, so that clips can be cut.
    output = ffmpeg.output(
        source,
        f"file:{target}",
        **{"c:v": "libx264", "flags:v": "+bitexact"},
        preset="veryfast",
        crf=20,
        g=2 * frames_per_second,
        pix_fmt="yuv420p",
        threads=1,
        fflags="+bitexact",
        movflags="+faststart",
        metadata=f"comment={DRAWN_COMMENT}",
    )
    command: list[str] = ffmpeg.compile(output.global_args("-loglevel", "error"), cmd=binary)
    return command


def _failure(path: Path, detail: str) -> InputError:
    return InputError(
        f"{path.name} could not be encoded: {detail}",
        allowed="ffmpeg must be able to encode H.264 (libx264)",
        to_do="use the ffmpeg of the imageio-ffmpeg package",
    )
