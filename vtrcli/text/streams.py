"""One caption -> three texts, one per expert: the whole caption, its nouns, its verbs.

That the paper splits by part of speech into these three is a reconstruction; tagger, word forms and fall-back are our
choice (docs/camoe.md). Turning the texts into features is the backbone's work.

HanTa is the default tagger: its English model is a part of its wheel, so nothing is downloaded. spaCy's
en_core_web_sm is there for those who have it; `none` leaves captions whole.
"""

from __future__ import annotations

import functools
import importlib
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from vtrcli.errors import UsageError

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


@dataclass(frozen=True)
class Word:
    """A word (or a sign) as the tagger saw it: characters `start` to before `end` of the caption in Unicode's composed
    form (NFC), in lower case; the `stream` that it went to, None where that is the whole caption alone."""

    text: str
    start: int
    end: int
    stream: Stream | None


def words_of(caption: str, tagger: Tagger) -> list[Word]:
    """The words of a caption, each with its place and its stream; single letters go to none."""
    lowered, origins = _lowered(unicodedata.normalize("NFC", caption))
    found = list(_WORD.finditer(lowered.replace("’", "'")))
    words = [match.group() for match in found]
    tags = tagger.tag(words) if words else []
    return [
        Word(word, origins[match.start()], origins[match.end()], _STREAM_OF[tag] if _is_word(word) else None)
        for match, word, tag in zip(found, words, tags, strict=True)
    ]


def split_streams(caption: str, tagger: Tagger) -> TextStreams:
    """`caption` as it stands, its nouns and its verbs in their order, as written but in lower case.

    Upper and lower case make no difference to the tags, as they make none to CLIP's tokenizer.
    Single letters are left out: MSR-VTT writes "a man s hat".
    """
    words = words_of(caption, tagger)
    entity, action = (
        " ".join(word.text for word in words if word.stream == stream) for stream in ("entity", "action")
    )
    return TextStreams(
        fusion=caption,
        entity=entity or caption,
        action=action or caption,
        has_entity=bool(entity),
        has_action=bool(action),
    )


def _lowered(sentence: str) -> tuple[str, Sequence[int]]:
    """A composed sentence in lower case, composed again; and for each character of that, and its end, which of the
    sentence's it comes from: few scripts have a letter that is one character in one case and two in the other."""
    lowered = unicodedata.normalize("NFC", sentence.lower())
    if sentence.isascii():
        return lowered, range(len(sentence) + 1)
    starts = [place for place, c in enumerate(sentence) if place == 0 or not unicodedata.combining(c)]
    origins: list[int] = []
    for start, stop in zip(starts, [*starts[1:], len(sentence)], strict=True):
        length = len(unicodedata.normalize("NFC", sentence[start:stop].lower()))
        origins += [min(start + place, stop - 1) for place in range(length)]
    return lowered, [*origins, len(sentence)]


def _is_word(word: str) -> bool:
    return len(word) > 1 and any(letter.isalpha() for letter in word)


Tag = Literal["noun", "verb", "other"]
_STREAM_OF: dict[Tag, Stream | None] = {"noun": "entity", "verb": "action", "other": None}
TaggerName = Literal["hanta", "spacy", "none"]

_SPACY_MODEL = "en_core_web_sm"
# HanTa's time grows with the square of a word's length: 5 s at 2,000 letters. No English word is longer than this.
_MAX_LETTERS = 32


class Tagger(Protocol):
    """`id` names the tagger, its version and its model; two equal ids tag alike."""

    @property
    def id(self) -> str:
        """For example "hanta-1.2.1-en"; stores and runs record it."""

    def tag(self, words: Sequence[str]) -> list[Tag]:
        """One tag per word of one sentence; the words are lower case and none is empty."""


@functools.cache  # a use case asks for its id, then for its tags; the model is never changed
def load_tagger(name: TaggerName = "hanta") -> Tagger:
    """The tagger of that name; HanTa takes 0.15 s to load.

    Raises:
        UsageError: an unknown name, or spaCy or its model is not installed.
    """
    if name == "hanta":
        return HantaTagger()
    if name == "spacy":
        return SpacyTagger()
    if name == "none":
        return WholeCaptions()
    raise UsageError(
        f"tagger {name!r}", allowed="hanta, spacy or none", to_do="leave the option out for hanta"
    )


class HantaTagger:
    """HanTa's English model, whose tags are those of CLAWS C5 (NN*, NP0, VV*, VB*, VD*, VH*, VM0).

    Auxiliaries (our choice): be and modal verbs are never "verb"; have and do are where the sentence has no other
    verb ("a man does a backflip"). HanTa unpickles its model; it is read from HanTa's own package by its whole path,
    because a bare name would be looked up in the working folder first.
    """

    def __init__(self) -> None:
        from importlib.metadata import version  # 30 ms, which every command would pay that names a tagger

        module: Any = importlib.import_module("HanTa.HanoverTagger")
        self._tagger = module.HanoverTagger(str(Path(module.__file__).with_name("morphmodel_en.pgz")))
        self.id = f"hanta-{version('HanTa')}-en"

    def tag(self, words: Sequence[str]) -> list[Tag]:
        """See `Tagger.tag`."""
        # A full stop, as the sentences of HanTa's corpus have: fewer last words are taken for nouns.
        sentence = [*(word[:_MAX_LETTERS] for word in words), "."]
        codes = self._tagger.tag_sent(sentence, taglevel=0)[:-1]
        has_main_verb = any(code.startswith("VV") for code in codes)
        verbs = ("VV",) if has_main_verb else ("VD", "VH")
        return [
            "noun" if code.startswith("N") else "verb" if code.startswith(verbs) else "other"
            for code in codes
        ]


class WholeCaptions:
    """Finds no nouns and no verbs: captions count as a whole, as their features do that others extracted."""

    id = "none"

    def tag(self, words: Sequence[str]) -> list[Tag]:
        """See `Tagger.tag`."""
        return ["other"] * len(words)


class SpacyTagger:
    """spaCy's en_core_web_sm; auxiliaries are what spaCy calls AUX."""

    def __init__(self) -> None:
        try:
            spacy: Any = importlib.import_module("spacy")
            model: Any = importlib.import_module(_SPACY_MODEL)
        except ImportError as cause:
            raise UsageError(
                f"tagger spacy: {cause}",
                allowed=f"spacy needs the packages spacy and {_SPACY_MODEL}",
                to_do=f"pip install spacy && python -m spacy download {_SPACY_MODEL}, or use the tagger hanta",
            ) from cause
        self._pipeline = model.load(exclude=["parser", "ner", "lemmatizer"])
        self._new_document = spacy.tokens.Doc
        self.id = f"spacy-{spacy.__version__}-{_SPACY_MODEL}-{model.__version__}"

    def tag(self, words: Sequence[str]) -> list[Tag]:
        """See `Tagger.tag`."""
        document = self._pipeline(self._new_document(self._pipeline.vocab, words=list(words)))
        tags: dict[str, Tag] = {"NOUN": "noun", "PROPN": "noun", "VERB": "verb"}
        return [tags.get(token.pos_, "other") for token in document]
