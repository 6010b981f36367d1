"""Draws the frames of a scene with Pillow: flat shapes with a soft edge on a patterned surface.

Encoding them is the business of corpus.py.
"""

from __future__ import annotations

from functools import lru_cache
from math import cos, radians, sin

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from vtrcli.demo.scenes import FRAME_SIZE, Placed, Scene, things_at
from vtrcli.demo.shapes import OBJECT_COLOURS, RGB, SURFACE_COLOURS, outlines

_OVERSAMPLING = 3
_CANVAS = FRAME_SIZE * _OVERSAMPLING


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
