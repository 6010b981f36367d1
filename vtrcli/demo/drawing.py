"""Draws the frames of a scene with Pillow, flat shapes with a soft edge on a patterned surface, and encodes them.

The same frames give the same bytes with the same ffmpeg.
"""

from __future__ import annotations

import subprocess
from functools import lru_cache
from math import cos, radians, sin
from pathlib import Path

import ffmpeg
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from vtrcli.demo.scenes import (
    FRAME_SIZE,
    OBJECT_COLOURS,
    RGB,
    SURFACE_COLOURS,
    Placed,
    Scene,
    outlines,
    things_at,
)
from vtrcli.errors import InputError
from vtrcli.files import replacing
from vtrcli.video.files import DRAWN_COMMENT

_OVERSAMPLING = 3
_CANVAS = FRAME_SIZE * _OVERSAMPLING
_ENCODE_SECONDS = 60.0


def draw_frame(scene: Scene, progress: float) -> NDArray[np.uint8]:
    """One frame, uint8 [FRAME_SIZE, FRAME_SIZE, 3] RGB, when `progress` (0..1) of the action is done."""
    canvas = _background(scene.surface, scene.surface_colour).copy()
    pen = ImageDraw.Draw(canvas, "RGBA")
    for placed in things_at(scene, progress):
        _draw_thing(pen, placed)
    return np.asarray(canvas.reduce(_OVERSAMPLING))


def draw_clip(scene: Scene) -> NDArray[np.uint8]:
    """All frames in the order in which they are shown, uint8 [num_frames, FRAME_SIZE, FRAME_SIZE, 3] RGB."""
    return np.stack([draw_frame(scene, scene.progress(index)) for index in range(scene.num_frames)])


def _draw_thing(pen: ImageDraw.ImageDraw, placed: Placed) -> None:
    """A shadow on the surface, a darker lower edge, and the shape itself on top of it."""
    if placed.opacity <= 0:
        return
    alpha = round(255 * placed.opacity)
    radius = placed.thing.diameter * placed.scale * _CANVAS / 2
    turn_cos, turn_sin = cos(radians(placed.angle)), sin(radians(placed.angle))
    points = [
        (
            placed.x * _CANVAS + radius * (x * turn_cos - y * turn_sin),
            placed.y * _CANVAS + radius * (x * turn_sin + y * turn_cos),
        )
        for x, y in outlines()[placed.thing.shape]
    ]
    colour = OBJECT_COLOURS[placed.thing.colour]
    depth = 0.12 * radius
    pen.polygon([(x + depth, y + 2.2 * depth) for x, y in points], fill=(0, 0, 0, alpha // 6))
    pen.polygon([(x, y + depth) for x, y in points], fill=(*_shade(colour, 0.66), alpha))
    pen.polygon(points, fill=(*colour, alpha))


def _shade(colour: RGB, factor: float) -> RGB:
    red, green, blue = (max(0, min(255, round(channel * factor))) for channel in colour)
    return red, green, blue


@lru_cache(maxsize=64)
def _background(surface: str, colour_name: str) -> Image.Image:
    """The oversampled surface; cached because every frame of a clip begins with a copy of it."""
    colour = SURFACE_COLOURS[colour_name]
    # Dark surfaces need a stronger pattern to be seen.
    step = 1.12 if sum(colour) > 300 else 1.4
    other = _shade(colour, 1 / step if sum(colour) > 300 else step)
    canvas = Image.new("RGB", (_CANVAS, _CANVAS), colour)
    pen = ImageDraw.Draw(canvas)
    cell = _CANVAS // 8
    if surface == "stripes":
        for left in range(0, _CANVAS, 2 * cell):
            pen.rectangle((left, 0, left + cell - 1, _CANVAS), fill=other)
    elif surface == "checks":
        for row in range(8):
            for column in range(row % 2, 8, 2):
                box = (column * cell, row * cell, (column + 1) * cell - 1, (row + 1) * cell - 1)
                pen.rectangle(box, fill=other)
    elif surface == "dots":
        for row in range(8):
            for column in range(8):
                x, y = (column + (0.25 if row % 2 else 0.75)) * cell, (row + 0.5) * cell
                pen.ellipse((x - 0.2 * cell, y - 0.2 * cell, x + 0.2 * cell, y + 0.2 * cell), fill=other)
    elif surface == "gradient":
        ramp = np.linspace(0.7, 1.12, _CANVAS)[:, None, None] * np.array(colour)[None, None, :]
        pixels = np.broadcast_to(ramp.clip(0, 255), (_CANVAS, _CANVAS, 3)).astype(np.uint8)
        canvas = Image.fromarray(pixels)
    return canvas


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
