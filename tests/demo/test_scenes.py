"""Scenes of the demo and how they are told."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from vtrcli.demo.scenes import (
    ACTIONS,
    ORDERED_ACTIONS,
    PAIR_ACTIONS,
    Scene,
    Thing,
    clip_captions,
    draw_lookalike,
    draw_scene,
    things_at,
)


@pytest.mark.parametrize("action", ACTIONS)
def test_things_stay_in_the_picture(action: str) -> None:
    rng = random.Random(action)
    for _ in range(20):
        scene = draw_scene(rng, action=action)
        for step in range(11):
            placed = things_at(scene, step / 10)
            assert len(placed) == (2 if action in PAIR_ACTIONS else 1)
            for one in placed:
                assert 0.05 < one.x < 0.95
                assert 0.05 < one.y < 0.95
                assert 0 <= one.opacity <= 1


@pytest.mark.parametrize("action", ORDERED_ACTIONS)
def test_an_ordered_action_ends_elsewhere_than_it_began(action: str) -> None:
    scene = draw_scene(random.Random(action), action=action)
    assert things_at(scene, 0.0) != things_at(scene, 1.0)


def test_an_unknown_action_is_refused() -> None:
    scene = draw_scene(random.Random(0), action="yawn")
    with pytest.raises(ValueError, match="no action 'yawn' of one thing"):
        things_at(scene, 0.5)


def test_a_lookalike_shows_the_same_things_in_another_action() -> None:
    rng = random.Random(0)
    scene = draw_scene(rng, action="meet")
    other = draw_lookalike(rng, scene, actions=ACTIONS)
    assert other is not None
    assert (other.things, other.surface, other.surface_colour) == (
        scene.things,
        scene.surface,
        scene.surface_colour,
    )
    assert other.action in ("circle", "follow")
    assert draw_lookalike(rng, scene, actions=("jump", "meet")) is None


def test_a_shape_whose_turning_cannot_be_seen_is_not_turned() -> None:
    rng = random.Random(0)
    circle = replace(draw_scene(rng, action="jump"), things=(Thing("circle", "red", "small", 0.24),))
    assert draw_lookalike(rng, circle, actions=("turn", "spin")) is None
    arrow = replace(circle, things=(Thing("arrow", "red", "small", 0.24),))
    assert draw_lookalike(rng, arrow, actions=("turn", "spin")) is not None


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
