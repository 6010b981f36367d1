"""Words for training the demo backbone: captions of single frames, and other words for the same caption.

The demo corpus never uses these; they make the tiny CLIP look at place, size and angle, and know more words.
"""

from __future__ import annotations

import random
from math import dist

from vtrcli.demo.scenes import (
    POINTED_SHAPES,
    Placed,
    Scene,
    name_surface,
    name_thing,
    things_at,
    with_article,
)

# Degrees clockwise from "up" to where the tip (or the opening of the moon) points when nothing is turned.
_TIP_ANGLES = {"triangle": 0, "arrow": 0, "heart": 180, "moon": 90}
_DIRECTIONS = ("up", "up right", "right", "down right", "down", "down left", "left", "up left")

_SYNONYMS: dict[str, tuple[str, ...]] = {
    "circle": ("ball", "disc", "dot"),
    "square": ("box", "block"),
    "ring": ("donut", "hoop"),
    "moon": ("crescent",),
    "cross": ("plus",),
    "purple": ("violet",),
    "grey": ("gray",),
    "large": ("big",),
    "small": ("little",),
    "beige": ("cream",),
    "checkered": ("checked",),
    "striped": ("stripy",),
    "floor": ("ground",),
    "carpet": ("rug",),
    "tablecloth": ("cloth", "table"),
}

_GERUNDS = {
    "slides": "sliding",
    "moves": "moving",
    "glides": "gliding",
    "rises": "rising",
    "falls": "falling",
    "goes": "going",
    "climbs": "climbing",
    "drops": "dropping",
    "grows": "growing",
    "shrinks": "shrinking",
    "gets": "getting",
    "expands": "expanding",
    "contracts": "contracting",
    "turns": "turning",
    "rotates": "rotating",
    "swings": "swinging",
    "meets": "meeting",
    "leaves": "leaving",
    "joins": "joining",
    "abandons": "abandoning",
    "approaches": "approaching",
    "escapes": "escaping",
    "appears": "appearing",
    "disappears": "disappearing",
    "fades": "fading",
    "emerges": "emerging",
    "vanishes": "vanishing",
    "jumps": "jumping",
    "hops": "hopping",
    "bounces": "bouncing",
    "blinks": "blinking",
    "flashes": "flashing",
    "flickers": "flickering",
    "spins": "spinning",
    "whirls": "whirling",
    "twirls": "twirling",
    "shakes": "shaking",
    "trembles": "trembling",
    "wobbles": "wobbling",
    "circles": "circling",
    "runs": "running",
    "orbits": "orbiting",
    "follows": "following",
    "chases": "chasing",
    "pursues": "pursuing",
}


def reword(caption: str, rng: random.Random) -> str:
    """The same caption with some synonyms, and now and then "sliding" for "slides"."""
    gerund = rng.random() < 0.2
    words = []
    for word in caption.split():
        if gerund and word in _GERUNDS:
            word = _GERUNDS[word]
        if word in _SYNONYMS and rng.random() < 0.15:
            word = rng.choice(_SYNONYMS[word])
        words.append(word)
    return " ".join(words)


def frame_caption(scene: Scene, progress: float, rng: random.Random) -> str:
    """One caption of one frame: what is there, where, how large, which way it points."""
    visible = [placed for placed in things_at(scene, progress) if placed.opacity > 0.12]
    surface = with_article(name_surface(scene))
    if not visible:
        return f"an empty {name_surface(scene)}"
    where = f"{_position(visible)} of {surface}"
    if len(visible) == 2:
        return f"{_relation(visible[1], visible[0], rng)} {where}"
    placed = visible[0]
    size = f"{_faintness(placed)} {_size(placed) if rng.random() < 0.7 else ''}".strip()
    caption = with_article(name_thing(placed.thing, size=size))
    if placed.thing.shape in POINTED_SHAPES and rng.random() < 0.7:
        caption += f" pointing {_direction(placed)}"
    return f"{caption} {where}"


def _position(visible: list[Placed]) -> str:
    """The place of the middle of all that is seen, on a grid of five columns and five rows."""
    x = sum(placed.x for placed in visible) / len(visible)
    y = sum(placed.y for placed in visible) / len(visible)
    column = "far left" if x < 0.27 else "left" if x < 0.42 else ""
    column = "far right" if x > 0.73 else "right" if x > 0.58 else column
    row = "very top" if y < 0.27 else "top" if y < 0.42 else ""
    row = "very bottom" if y > 0.73 else "bottom" if y > 0.58 else row
    if not row and not column:
        return "in the middle"
    return f"on the {column}" if not row else f"at the {row} {column}".strip()


def _size(placed: Placed) -> str:
    diameter = placed.thing.diameter * placed.scale
    return "tiny" if diameter < 0.2 else "small" if diameter < 0.3 else "large" if diameter < 0.45 else "huge"


def _faintness(placed: Placed) -> str:
    return "hardly visible" if placed.opacity < 0.4 else "faint" if placed.opacity < 0.75 else ""


def _direction(placed: Placed) -> str:
    angle = placed.angle + _TIP_ANGLES[placed.thing.shape]
    return _DIRECTIONS[round(angle / 45) % 8]


def _relation(first: Placed, second: Placed, rng: random.Random) -> str:
    gap = dist((first.x, first.y), (second.x, second.y)) - (first.thing.diameter + second.thing.diameter) / 2
    near = "touching" if gap < 0.05 else "near" if gap < 0.2 else "far from"
    across, down = first.x - second.x, first.y - second.y
    if abs(across) > abs(down):
        side = "to the left of" if across < 0 else "to the right of"
    else:
        side = "above" if down < 0 else "below"
    first_name, second_name = with_article(name_thing(first.thing)), with_article(name_thing(second.thing))
    return f"{first_name} {near if rng.random() < 0.5 else side} {second_name}"
