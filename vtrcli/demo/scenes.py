"""What happens in a demo clip: the vocabulary, a scene, where its things are at each moment, and how people tell it.

Every action is a function of the progress 0..1, so a clip played backwards holds exactly the same frames; its captions
and those of its reverse differ in one word only, at the same place. Random scenes come from here too; drawing.py draws
them.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from math import atan2, cos, dist, hypot, pi, sin

RGB = tuple[int, int, int]
Outline = tuple[tuple[float, float], ...]

OBJECT_COLOURS: dict[str, RGB] = {
    "red": (218, 46, 46),
    "orange": (245, 140, 30),
    "yellow": (248, 214, 50),
    "green": (42, 158, 72),
    "blue": (44, 96, 216),
    "purple": (132, 58, 178),
    "pink": (246, 128, 182),
    "brown": (132, 82, 44),
    "white": (250, 250, 250),
    "black": (34, 34, 38),
}

# Paler or darker than the objects, so that every object stands out.
SURFACE_COLOURS: dict[str, RGB] = {
    "grey": (158, 160, 164),
    "beige": (222, 204, 172),
    "pale blue": (176, 208, 236),
    "pale green": (182, 216, 172),
    "lilac": (208, 190, 230),
    "dark blue": (36, 48, 96),
    "dark green": (28, 74, 56),
    "maroon": (98, 34, 50),
}


@dataclass(frozen=True)
class Surface:
    """One kind of background: its noun and the prepositions that go with it."""

    noun: str
    still: str  # "a circle blinks on ..."
    along: str  # "a circle slides across ..."
    above: str  # "a circle rises over ..."


SURFACES: dict[str, Surface] = {
    "plain": Surface("floor", "on", "across", "over"),
    "stripes": Surface("striped wall", "in front of", "along", "in front of"),
    "checks": Surface("checkered tablecloth", "on", "across", "over"),
    "dots": Surface("dotted carpet", "on", "across", "over"),
    "gradient": Surface("sky", "in", "across", "in"),
}

# Shapes whose turning can be seen well; the others are turned too, but no clip is about it.
POINTED_SHAPES = ("triangle", "heart", "arrow", "moon")


def _around(radii: Sequence[float], *, start: float = -pi / 2) -> Outline:
    step = 2 * pi / len(radii)
    return tuple((r * cos(start + i * step), r * sin(start + i * step)) for i, r in enumerate(radii))


def _arc(radius: float, start: float, stop: float, *, centre_x: float = 0.0, steps: int = 40) -> Outline:
    angles = [start + (stop - start) * i / steps for i in range(steps + 1)]
    return tuple((centre_x + radius * cos(a), radius * sin(a)) for a in angles)


def _heart() -> Outline:
    points = []
    for i in range(60):
        t = 2 * pi * i / 60
        y = 13 * cos(t) - 5 * cos(2 * t) - 2 * cos(3 * t) - cos(4 * t)
        points.append((16 * sin(t) ** 3 / 16.5, -(y + 2.5) / 16.5))
    return tuple(points)


def _moon() -> Outline:
    """A crescent: two arcs that share their tips."""
    radius, tip, centre_x = 0.96, 0.3 * pi, 0.36
    tip_x, tip_y = radius * cos(tip), radius * sin(tip)
    inner_radius, inner_tip = hypot(tip_x - centre_x, tip_y), atan2(tip_y, tip_x - centre_x)
    return _arc(radius, tip, 2 * pi - tip) + _arc(
        inner_radius, 2 * pi - inner_tip, inner_tip, centre_x=centre_x
    )


@cache
def outlines() -> dict[str, Outline]:
    """Every shape as one closed polygon in a circle of radius 1; y points down, the tip of an arrow up."""
    third, box = 0.33, 0.80
    cross = ((third, 0.95), (third, third), (0.95, third))
    quarters = [(x, y) for x, y in cross] + [(y, -x) for x, y in cross] + [(-x, -y) for x, y in cross]
    arrow = ((0, -1), (0.78, -0.1), (0.3, -0.1), (0.3, 0.95), (-0.3, 0.95), (-0.3, -0.1), (-0.78, -0.1))
    return {
        "circle": _around([0.92] * 48),
        "square": ((-box, -box), (box, -box), (box, box), (-box, box)),
        "triangle": ((0, -1.0), (0.92, 0.72), (-0.92, 0.72)),
        "star": _around([1.0, 0.42] * 5),
        "cross": tuple(quarters + [(-y, x) for x, y in cross]),
        "ring": _arc(0.95, 0, 2 * pi) + _arc(0.5, 2 * pi, 0),
        "heart": _heart(),
        "arrow": arrow,
        "moon": _moon(),
        "diamond": ((0, -1.0), (0.68, 0), (0, 1.0), (-0.68, 0)),
    }


FRAME_SIZE = 128  # pixels, square
FRAMES_PER_SECOND = 12
MIN_FRAMES, MAX_FRAMES = 24, 48  # 2 to 4 seconds

# Told apart from their reverse by order alone.
ORDERED_ACTIONS = ("slide", "rise", "grow", "turn", "meet", "appear")
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


@dataclass(frozen=True)
class _Telling:
    """How an action is told: (verb forwards, backwards) per paraphrase, and the preposition it needs."""

    verbs: tuple[tuple[str, str], tuple[str, str], tuple[str, str]]
    place: str  # attribute of Surface: "still", "along" or "above"


def _same(*verbs: str) -> tuple[tuple[str, str], tuple[str, str], tuple[str, str]]:
    first, second, third = verbs
    return (first, first), (second, second), (third, third)


_TELLINGS: dict[str, _Telling] = {
    "slide": _Telling(
        (
            ("slides to the right", "slides to the left"),
            ("moves to the right", "moves to the left"),
            ("glides right", "glides left"),
        ),
        "along",
    ),
    "rise": _Telling((("rises", "falls"), ("goes up", "goes down"), ("climbs", "drops")), "above"),
    "grow": _Telling(
        (("grows", "shrinks"), ("gets bigger", "gets smaller"), ("expands", "contracts")), "still"
    ),
    "turn": _Telling(
        (
            ("turns clockwise", "turns counterclockwise"),
            ("rotates clockwise", "rotates counterclockwise"),
            ("swings clockwise", "swings counterclockwise"),
        ),
        "still",
    ),
    "meet": _Telling((("meets", "leaves"), ("joins", "abandons"), ("approaches", "escapes")), "still"),
    "appear": _Telling(
        (("appears", "disappears"), ("fades in", "fades out"), ("emerges", "vanishes")), "still"
    ),
    "jump": _Telling(_same("jumps up and down", "hops", "bounces"), "still"),
    "blink": _Telling(_same("blinks", "flashes", "flickers"), "still"),
    "spin": _Telling(_same("spins around", "whirls", "twirls"), "still"),
    "shake": _Telling(_same("shakes", "trembles", "wobbles"), "still"),
    "circle": _Telling(_same("circles around", "runs around", "orbits"), "still"),
    "follow": _Telling(_same("follows", "chases", "pursues"), "along"),
}


def clip_captions(scene: Scene) -> tuple[str, str, str]:
    """Three paraphrases of one clip, in plain lower-case English."""
    telling = _TELLINGS[scene.action]
    first, second, third = (verbs[scene.backwards] for verbs in telling.verbs)
    place = _place(scene, telling.place)
    thing = scene.things[0]
    # A size is no mark of a clip in which it changes, or of two things that are always small.
    sized = scene.action != "grow" and scene.action not in PAIR_ACTIONS
    size = thing.size_word if sized else ""
    partner = f" {with_article(name_thing(scene.things[1]))}" if len(scene.things) == 2 else ""
    the_partner = f" the {name_thing(scene.things[1])}" if len(scene.things) == 2 else ""
    return (
        f"{with_article(name_thing(thing))} {first}{partner} {place}",
        f"{with_article(name_thing(thing, size=size))} {second}{partner} {place}",
        f"the {name_thing(thing, size=size)} {third}{the_partner} {place}",
    )


def name_thing(thing: Thing, *, size: str = "") -> str:
    """For example "small red circle"."""
    return " ".join(filter(None, (size, thing.colour, thing.shape)))


def with_article(noun: str) -> str:
    """Put "a" or "an" before a noun."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def name_surface(scene: Scene) -> str:
    """For example "striped grey wall"."""
    noun = SURFACES[scene.surface].noun
    kind, _, bare = noun.rpartition(" ")
    return " ".join(filter(None, (kind, scene.surface_colour, bare)))


def _place(scene: Scene, attribute: str) -> str:
    return f"{getattr(SURFACES[scene.surface], attribute)} {with_article(name_surface(scene))}"
