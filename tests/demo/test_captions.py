from __future__ import annotations

import random
from dataclasses import replace

import pytest

from vtrcli.demo.captions import clip_captions
from vtrcli.demo.scenes import ACTIONS, ORDERED_ACTIONS, Scene, Thing, draw_scene


def _scene(action: str, *, backwards: bool = False) -> Scene:
    things = (Thing("circle", "red", "large", 0.35), Thing("arrow", "orange", "small", 0.24))
    count = 2 if action in ("meet", "circle", "follow") else 1
    return Scene(action, things[:count], "stripes", "pale blue", 0.5, 1, 0.0, 2, 30, backwards)


def test_captions_read_as_people_write_them() -> None:
    assert clip_captions(_scene("slide", backwards=True)) == (
        "a red circle slides to the left along a striped pale blue wall",
        "a large red circle moves to the left along a striped pale blue wall",
        "the large red circle glides left along a striped pale blue wall",
    )
    assert (
        clip_captions(_scene("meet"))[0]
        == "a red circle meets an orange arrow in front of a striped pale blue wall"
    )
    assert clip_captions(_scene("grow"))[1] == "a red circle gets bigger in front of a striped pale blue wall"


@pytest.mark.parametrize("action", ORDERED_ACTIONS)
def test_the_reverse_differs_in_the_order_word_alone(action: str) -> None:
    scene = draw_scene(random.Random(action), action=action)
    for forwards, backwards in zip(
        clip_captions(scene), clip_captions(replace(scene, backwards=True)), strict=True
    ):
        pairs = list(zip(forwards.split(), backwards.split(), strict=True))
        assert sum(one != other for one, other in pairs) == 1


@pytest.mark.parametrize("action", ACTIONS)
def test_captions_are_clean_text(action: str) -> None:
    rng = random.Random(action)
    for _ in range(30):
        for caption in clip_captions(draw_scene(rng, action=action)):
            assert caption == " ".join(caption.split())
            assert caption.isascii()
            assert " a o" not in caption  # orange: "an orange"
