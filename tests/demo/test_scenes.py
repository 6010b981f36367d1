from __future__ import annotations

import random
from dataclasses import replace

import pytest

from vtrcli.demo.scenes import (
    ACTIONS,
    ORDERED_ACTIONS,
    PAIR_ACTIONS,
    Thing,
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
