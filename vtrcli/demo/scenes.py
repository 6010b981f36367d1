"""What happens in a demo clip: a scene and where its objects are at each moment.

Every action is a function of the progress 0..1, so a clip played backwards holds exactly the same frames.
Random scenes come from here too; drawing.py draws them, captions.py tells them.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import cos, dist, pi, sin

from vtrcli.demo.shapes import OBJECT_COLOURS, POINTED_SHAPES, SURFACE_COLOURS, SURFACES, outlines

FRAME_SIZE = 128  # pixels, square
FRAMES_PER_SECOND = 12
MIN_FRAMES, MAX_FRAMES = 24, 48  # 2 to 4 seconds

ORDERED_ACTIONS = (
    "slide",
    "rise",
    "grow",
    "turn",
    "meet",
    "appear",
)  # told apart from their reverse by order alone
OTHER_ACTIONS = ("jump", "blink", "spin", "shake", "circle", "follow")
ACTIONS = ORDERED_ACTIONS + OTHER_ACTIONS
PAIR_ACTIONS = ("meet", "circle", "follow")  # two objects
TURNING_ACTIONS = ("turn", "spin")

_SIZE_RANGES = {"small": (0.22, 0.26), "large": (0.34, 0.40)}  # diameter as a part of the frame's side
_MIN_CONTRAST = 115  # Euclidean distance in RGB; our choice, by eye
_LANES = (0.26, 0.5, 0.74)


@dataclass(frozen=True)
class Thing:
    """An object as the caption names it. `diameter` is a part of the frame's side."""

    shape: str
    colour: str
    size_word: str
    diameter: float


@dataclass(frozen=True)
class Placed:
    """A thing at one moment: centre in parts of the side, angle in degrees clockwise, opacity 0..1."""

    thing: Thing
    x: float
    y: float
    scale: float = 1.0
    angle: float = 0.0
    opacity: float = 1.0


@dataclass(frozen=True)
class Scene:
    """Everything that a clip is made of. `backwards` plays the same frames in the opposite order."""

    action: str
    things: tuple[Thing, ...]
    surface: str
    surface_colour: str
    lane: float  # the coordinate that the action leaves alone
    side: int  # -1 or 1: mirrors actions whose caption does not name a side
    tilt: float  # degrees
    num_repeats: int
    num_frames: int
    backwards: bool = False

    def progress(self, frame_index: int) -> float:
        """Progress 0..1 of the action at a frame."""
        index = self.num_frames - 1 - frame_index if self.backwards else frame_index
        return index / (self.num_frames - 1)


def draw_scene(rng: random.Random, *, action: str) -> Scene:
    """A random scene of one action, played forwards."""
    shapes = POINTED_SHAPES if action in TURNING_ACTIONS else tuple(outlines())
    size_word = rng.choice(("small", "large"))
    if action in PAIR_ACTIONS:
        size_word = "small"
    colours = rng.sample(tuple(OBJECT_COLOURS), 2)
    kinds = rng.sample(shapes, 2)
    count = 2 if action in PAIR_ACTIONS else 1
    things = tuple(
        Thing(kinds[i], colours[i], size_word, rng.uniform(*_SIZE_RANGES[size_word])) for i in range(count)
    )
    return Scene(
        action=action,
        things=things,
        surface=rng.choice(tuple(SURFACES)),
        surface_colour=rng.choice(_surfaces_showing(things)),
        lane=rng.choice(_LANES) + rng.uniform(-0.03, 0.03),
        side=rng.choice((-1, 1)),
        tilt=rng.uniform(-8, 8),
        num_repeats=rng.choice((2, 3)),
        num_frames=rng.randrange(MIN_FRAMES, MAX_FRAMES + 1),
    )


def draw_lookalike(rng: random.Random, scene: Scene, *, actions: Sequence[str]) -> Scene | None:
    """The same things on the same surface doing another one of `actions`; None where they can do none of them."""
    possible = [action for action in actions if action != scene.action and _can_do(scene.things, action)]
    if not possible:
        return None
    other = draw_scene(rng, action=rng.choice(possible))
    return replace(other, things=scene.things, surface=scene.surface, surface_colour=scene.surface_colour)


def _can_do(things: tuple[Thing, ...], action: str) -> bool:
    if (action in PAIR_ACTIONS) != (len(things) == 2):
        return False
    return action not in TURNING_ACTIONS or things[0].shape in POINTED_SHAPES


def _surfaces_showing(things: tuple[Thing, ...]) -> tuple[str, ...]:
    """The surface colours that every thing stands out from."""
    return tuple(
        name
        for name, colour in SURFACE_COLOURS.items()
        if all(dist(colour, OBJECT_COLOURS[thing.colour]) > _MIN_CONTRAST for thing in things)
    )


def things_at(scene: Scene, progress: float) -> tuple[Placed, ...]:
    """Where the things of a scene are when `progress` (0..1) of its action is done."""
    if len(scene.things) == 2:
        return _two_things(scene, progress)
    return (_one_thing(scene, progress),)


def _one_thing(scene: Scene, p: float) -> Placed:
    thing, lane, tilt = scene.things[0], scene.lane, scene.tilt
    travel = 0.2 + 0.6 * p
    wave = 2 * pi * scene.num_repeats * p
    match scene.action:
        case "slide":
            return Placed(thing, travel, lane, angle=tilt)
        case "rise":
            return Placed(thing, lane, 1 - travel, angle=tilt)
        case "grow":
            return Placed(thing, lane, 0.5, scale=(0.14 + 0.5 * p) / thing.diameter, angle=tilt)
        case "turn":
            return Placed(thing, lane, 0.5, angle=tilt + (180 * p if scene.side > 0 else 180 * (p - 1)))
        case "appear":
            return Placed(thing, lane, 0.5, angle=tilt, opacity=p)
        case "jump":
            return Placed(thing, lane, 0.76 - 0.5 * abs(sin(wave / 2)), angle=tilt)
        case "blink":
            return Placed(thing, lane, 0.5, angle=tilt, opacity=1.0 if cos(wave) > -0.3 else 0.0)
        case "spin":
            return Placed(thing, lane, 0.5, angle=tilt + scene.side * 360 * scene.num_repeats * p / 2)
        case "shake":
            return Placed(thing, lane + 0.07 * sin(3 * wave), 0.5, angle=tilt)
    raise ValueError(f"no action {scene.action!r} of one thing")


def _two_things(scene: Scene, p: float) -> tuple[Placed, ...]:
    first, second = scene.things
    side, lane = scene.side, scene.lane
    touching = 0.47 * (first.diameter + second.diameter)
    match scene.action:
        case "meet":
            target = 0.5 + side * 0.28
            start = 0.5 - side * 0.34
            x = start + (target - side * touching - start) * p
            return Placed(second, target, lane), Placed(first, x, lane, angle=scene.tilt)
        case "circle":
            angle = 2 * pi * (side * p * scene.num_repeats / 2 + lane)
            return Placed(second, 0.5, 0.5), Placed(first, 0.5 + 0.33 * cos(angle), 0.5 + 0.33 * sin(angle))
        case "follow":
            travel = side * (-0.36 + 0.42 * p)
            return Placed(second, 0.5 + travel + side * 0.3, lane), Placed(first, 0.5 + travel, lane)
    raise ValueError(f"no action {scene.action!r} of two things")
