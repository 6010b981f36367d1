"""Text that is safe to show on a terminal."""

from __future__ import annotations


def printable(text: str) -> str:
    """File names and captions without control characters: a name must not steer the terminal."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )
