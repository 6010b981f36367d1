"""In which scripts a text is written that a backbone cannot read, as far as that is known without a model.

A script is told from the letters alone, so a language in Latin letters passes.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence

from vtrcli.store.config import ENGLISH, BackboneInfo

SCRIPT_NOTE = "letters of another script "  # how the remark on scripts begins
# First words of the letters' names in Unicode that people call by another one.
_SCRIPT_NAMES = {"Cjk": "Chinese", "Hangul": "Korean", "Hiragana": "Japanese", "Katakana": "Japanese"}


def script_note(scripts: Sequence[str], backbone: BackboneInfo) -> str:
    """The remark on scripts that a backbone was not trained on."""
    return (
        f"{SCRIPT_NOTE}({', '.join(scripts)}): {backbone.bare_name} was trained on {backbone.languages} texts and finds"
        " little by them; siglip2-b16 reads many languages (docs/backbones.md)"
    )


def unread_scripts(text: str, backbone: BackboneInfo) -> tuple[str, ...]:
    """The scripts of a text's words, none of them Latin, where the backbone reads English alone."""
    if text.isascii() or backbone.languages != ENGLISH:
        return ()
    return _each_once(script for word in text.split() if (script := _script(word)))


def _script(word: str) -> str | None:
    """The script of most letters of a word, None for Latin or no letters; a Greek letter alone is a sign (α, µ)."""
    # Compatible forms count as what they mean: ª, ﬁ, full width, and letters with their accents apart.
    letters = [sign for sign in unicodedata.normalize("NFKD", word) if unicodedata.category(sign) in _LETTERS]
    names = [unicodedata.name(letter, "").partition(" ")[0].capitalize() for letter in letters]
    others = [name for name in names if name and name != "Latin"]
    if 2 * len(others) <= len(names) or others == ["Greek"]:
        return None
    most = max(others, key=others.count)
    return _SCRIPT_NAMES.get(most, most)


_LETTERS = frozenset({"Lu", "Ll", "Lt", "Lo"})  # not the modifiers, such as the apostrophe of Hawaiʻi


def _each_once(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))
