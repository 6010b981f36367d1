from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest

from vtrcli.demo.drawing import draw_clip, draw_frame
from vtrcli.demo.scenes import (
    ACTIONS,
    FRAME_SIZE,
    OBJECT_COLOURS,
    ORDERED_ACTIONS,
    SURFACES,
    draw_scene,
    outlines,
)


@pytest.mark.parametrize("action", ACTIONS)
def test_a_clip_moves(action: str) -> None:
    scene = draw_scene(random.Random(action), action=action)
    frames = draw_clip(scene)
    assert frames.shape == (scene.num_frames, FRAME_SIZE, FRAME_SIZE, 3)
    assert frames.dtype == np.uint8
    assert np.ptp(frames, axis=0).max() > 30


@pytest.mark.parametrize("action", ORDERED_ACTIONS)
def test_a_clip_played_backwards_holds_the_same_frames_reversed(action: str) -> None:
    scene = draw_scene(random.Random(action), action=action)
    np.testing.assert_array_equal(draw_clip(replace(scene, backwards=True)), draw_clip(scene)[::-1])


@pytest.mark.parametrize("surface", SURFACES)
def test_the_thing_has_its_colour_on_every_surface(surface: str) -> None:
    scene = replace(draw_scene(random.Random(3), action="blink"), surface=surface, lane=0.5)
    for shape in set(outlines()) - {"ring", "moon"}:  # these are hollow in the middle
        thing = replace(scene.things[0], shape=shape)
        frame = draw_frame(replace(scene, things=(thing,)), 0.0)
        assert tuple(frame[FRAME_SIZE // 2, FRAME_SIZE // 2]) == OBJECT_COLOURS[thing.colour]
