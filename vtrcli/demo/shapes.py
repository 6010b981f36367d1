"""The vocabulary of the demo pictures: shapes as polygons, colours and surfaces with the names people use.

Nothing is drawn here (drawing.py) and nothing moves (scenes.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import atan2, cos, hypot, pi, sin

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
