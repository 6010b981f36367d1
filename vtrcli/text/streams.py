"""One caption -> three texts, one per expert: the whole caption, its nouns, its verbs.

That the paper splits by part of speech into these three is a reconstruction; tagger, word forms and fall-back are our
choice (docs/camoe.md). Turning the texts into features is the backbone's work.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import Literal

from vtrcli.text.taggers import Tag, Tagger

Stream = Literal["fusion", "entity", "action"]
STREAMS: tuple[Stream, ...] = ("fusion", "entity", "action")

# Words as the taggers' corpora cut them: "doesn't" is "does" "n't", "man's" is "man" "'s"; "t-shirt" is one word;
# any other sign stands alone, as context for the tagger.
_WORD = re.compile(r"n't\b|'(?:s|re|ve|ll|d|m)\b|\w+?(?=n't\b)|\w+(?:-\w+)*|[^\w\s]")


@dataclass(frozen=True)
class TextStreams:
    """The three texts of one caption. An empty stream holds the caption instead, and its flag is False."""

    fusion: str
    entity: str
    action: str
    has_entity: bool
    has_action: bool


def split_streams(caption: str, tagger: Tagger) -> TextStreams:
    """`caption` as it stands, its nouns and its verbs in their order, as written but in lower case.

    Upper and lower case make no difference to the tags, as they make none to CLIP's tokenizer.
    Single letters are left out: MSR-VTT writes "a man s hat".
    """
    words = _words(caption)
    tags = tagger.tag(words) if words else []
    entity = _chosen(words, tags, "noun")
    action = _chosen(words, tags, "verb")
    return TextStreams(
        fusion=caption,
        entity=entity or caption,
        action=action or caption,
        has_entity=bool(entity),
        has_action=bool(action),
    )


def _words(caption: str) -> list[str]:
    text = unicodedata.normalize("NFC", caption.lower()).replace("’", "'")
    return _WORD.findall(text)


def _chosen(words: list[str], tags: list[Tag], wanted: Tag) -> str:
    return " ".join(word for word, tag in zip(words, tags, strict=True) if tag == wanted and _is_word(word))


def _is_word(word: str) -> bool:
    return len(word) > 1 and any(letter.isalpha() for letter in word)
