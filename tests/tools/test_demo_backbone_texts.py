from __future__ import annotations

import random

import pytest

from tools.demo_backbone.texts import frame_caption, reword
from vtrcli.demo.scenes import ACTIONS, Scene, Thing, clip_captions, draw_scene


def test_a_frame_caption_tells_place_and_direction() -> None:
    scene = Scene("slide", (Thing("arrow", "red", "small", 0.24),), "plain", "grey", 0.74, 1, 0.0, 2, 30)
    told = {frame_caption(scene, 0.0, random.Random(seed)) for seed in range(20)}
    assert "a small red arrow pointing up at the very bottom far left of a grey floor" in told
    assert all(caption.endswith("at the very bottom far left of a grey floor") for caption in told)


def test_nothing_is_seen_before_it_appears() -> None:
    scene = Scene("appear", (Thing("ring", "blue", "large", 0.36),), "gradient", "maroon", 0.5, 1, 0.0, 2, 30)
    assert frame_caption(scene, 0.0, random.Random(0)) == "an empty maroon sky"


@pytest.mark.parametrize("action", ACTIONS)
def test_rewording_keeps_the_number_of_words_and_is_repeatable(action: str) -> None:
    caption = clip_captions(draw_scene(random.Random(action), action=action))[0]
    told = {reword(caption, random.Random(seed)) for seed in range(30)}
    assert len(told) > 1
    assert {len(one.split()) for one in told} == {len(caption.split())}
    assert reword(caption, random.Random(5)) == reword(caption, random.Random(5))


def test_every_verb_has_its_gerund() -> None:
    class Always(random.Random):
        def random(self) -> float:
            return 0.19  # below the share of gerunds, above that of synonyms

    for action in ACTIONS:
        scene = draw_scene(random.Random(action), action=action)
        for caption in clip_captions(scene):
            changed = set(reword(caption, Always()).split()) - set(caption.split())
            assert len(changed) == 1
            assert changed.pop().endswith("ing")
