"""Tells a demo scene in words, as people caption videos: three paraphrases per clip.

The captions of a clip and of its reverse differ in one word only, at the same place.
"""

from __future__ import annotations

from dataclasses import dataclass

from vtrcli.demo.scenes import PAIR_ACTIONS, Scene, Thing
from vtrcli.demo.shapes import SURFACES


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
