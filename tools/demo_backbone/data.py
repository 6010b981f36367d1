"""Freshly drawn batches for training the demo backbone: frames of random scenes and what is said of them.

The scenes come from other seeds than any demo corpus, so the corpus stays held out. No torch here.
"""

from __future__ import annotations

import io
import random
from dataclasses import dataclass, replace
from math import cos, log, nan, radians, sin

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from tools.demo_backbone.texts import frame_caption, reword
from vtrcli.demo.drawing import draw_frame
from vtrcli.demo.scenes import (
    ACTIONS,
    ORDERED_ACTIONS,
    POINTED_SHAPES,
    Scene,
    clip_captions,
    draw_lookalike,
    draw_scene,
    things_at,
)

GEOMETRY_DIM = 8


@dataclass(frozen=True)
class TrainingBatch:
    """One step's worth of pictures and texts; what belongs to a frame runs over clips, then over their frames."""

    frames: NDArray[np.uint8]  # [num_clips, num_frames, size, size, 3] RGB
    clip_texts: list[str]
    frame_texts: list[str]
    geometry: NDArray[np.float32]  # [num_clips * num_frames, GEOMETRY_DIM], NaN where there is nothing to say


def draw_batch(rng: random.Random, *, num_clips: int, num_frames: int, size: int) -> TrainingBatch:
    """Draw clips in groups of look-alikes; the frames of a clip are spread over its whole length."""
    frames, clip_texts, frame_texts, geometry = [], [], [], []
    for scene in _draw_scenes(rng, num_clips):
        clip_texts.append(reword(rng.choice(clip_captions(scene)), rng))
        for part in range(num_frames):
            moment = (part + rng.random()) / num_frames
            progress = 1 - moment if scene.backwards else moment
            frames.append(_worn(draw_frame(scene, progress), rng, size=size))
            frame_texts.append(reword(frame_caption(scene, progress, rng), rng))
            geometry.append(_geometry(scene, progress))
    stacked = np.stack(frames).reshape(num_clips, num_frames, size, size, 3)
    return TrainingBatch(stacked, clip_texts, frame_texts, np.array(geometry, dtype=np.float32))


def _draw_scenes(rng: random.Random, num_clips: int) -> list[Scene]:
    """Random scenes; half of them are followed by their reverse or by a look-alike that does something else."""
    scenes: list[Scene] = []
    while len(scenes) < num_clips:
        scene = replace(draw_scene(rng, action=rng.choice(ACTIONS)), backwards=rng.random() < 0.5)
        scenes.append(scene)
        if rng.random() < 0.5:
            if scene.action in ORDERED_ACTIONS and rng.random() < 0.7:
                scenes.append(replace(scene, backwards=not scene.backwards))
            elif other := draw_lookalike(rng, scene, actions=ACTIONS):
                scenes.append(replace(other, backwards=rng.random() < 0.5))
    return scenes[:num_clips]


def _geometry(scene: Scene, progress: float) -> list[float]:
    """Opacity, place, size and direction of the first thing and place of the second, each of unit scale."""
    *others, first = things_at(scene, progress)
    other = [4 * (others[0].x - 0.5), 4 * (others[0].y - 0.5)] if others else [nan, nan]
    if first.opacity < 0.12:
        return [first.opacity, nan, nan, nan, nan, nan, *other]
    angle = radians(first.angle)
    pointed = first.thing.shape in POINTED_SHAPES
    direction = [cos(angle), sin(angle)] if pointed else [nan, nan]
    size = 2 * log(first.thing.diameter * first.scale / 0.3)
    return [first.opacity, 4 * (first.x - 0.5), 4 * (first.y - 0.5), size, *direction, *other]


def _worn(frame: NDArray[np.uint8], rng: random.Random, *, size: int) -> NDArray[np.uint8]:
    """A frame as a video codec might leave it: block artefacts, blur, other brightness, noise; then resized."""
    image = Image.fromarray(frame)
    if rng.random() < 0.5:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=rng.randrange(40, 95))
        image = Image.open(buffer)
    if rng.random() < 0.3:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.2)))
    pixels = np.asarray(image.resize((size, size), Image.Resampling.BICUBIC), dtype=np.float32)
    contrast, brightness = rng.uniform(0.9, 1.1), rng.uniform(-10, 10)
    noise = np.random.default_rng(rng.getrandbits(32)).standard_normal(pixels.shape, dtype=np.float32)
    return (pixels * contrast + brightness + rng.uniform(0, 5) * noise).clip(0, 255).astype(np.uint8)
