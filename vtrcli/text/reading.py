"""What of a text a backbone cannot read, as far as that is known without a model: other scripts, and what is cut off.

A script is told from the letters alone, so a language in Latin letters passes.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from vtrcli.store.config import ENGLISH, BackboneInfo

SCRIPT_NOTE = "letters of another script "  # how the remark on scripts begins
# First words of the letters' names in Unicode that people call by another one.
_SCRIPT_NAMES = {"Cjk": "Chinese", "Hangul": "Korean", "Hiragana": "Japanese", "Katakana": "Japanese"}


@dataclass(frozen=True, kw_only=True)
class Unread:
    """Of some texts: how many do not fit into `limit` tokens and were cut (None: not known), and how many have words in
    which scripts that the backbone was not trained on."""

    backbone: BackboneInfo
    num_texts: int
    num_cut: int | None
    limit: int
    num_in_scripts: int
    scripts: tuple[str, ...]

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences for the user about a file or data set of captions; none where all is read."""
        found = []
        if self.num_cut:
            found.append(
                f"{self.num_cut:,} of {self.num_texts:,} captions are longer than {self.limit} tokens and were cut"
            )
        if self.num_in_scripts:
            which = script_note(self.scripts, self.backbone)
            found.append(f"{self.num_in_scripts:,} of {self.num_texts:,} captions have {which}")
        return tuple(found)

    def to_json(self) -> dict[str, Any]:
        """Keys of `--json`."""
        return {
            "num_cut": self.num_cut,
            "num_unread_script": self.num_in_scripts,
            "unread_scripts": list(self.scripts),
        }


def unread(
    texts: Sequence[str], backbone: BackboneInfo, *, num_cut: int | None, limit: int | None = None
) -> Unread:
    """What a backbone does not read of texts; `limit` None: its own length."""
    scripts = [found for text in texts if (found := unread_scripts(text, backbone))]
    return Unread(
        backbone=backbone,
        num_texts=len(texts),
        num_cut=num_cut,
        limit=min(limit or backbone.context_length, backbone.context_length),
        num_in_scripts=len(scripts),
        scripts=_each_once(name for names in scripts for name in names),
    )


def script_note(scripts: Sequence[str], backbone: BackboneInfo) -> str:
    """The remark on scripts that a backbone was not trained on."""
    return (
        f"{SCRIPT_NOTE}({', '.join(scripts)}): {backbone.name} was trained on {backbone.languages} texts and finds"
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
