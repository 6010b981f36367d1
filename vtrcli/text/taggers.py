"""Part-of-speech taggers behind one small interface: words in, "noun", "verb" or "other" per word out.

HanTa is the default: its English model is a part of its wheel, so nothing is downloaded. spaCy's en_core_web_sm is
there for those who have it. What becomes of the tags is decided in `vtrcli.text.streams`.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, Protocol

from vtrcli.errors import UsageError

Tag = Literal["noun", "verb", "other"]
TaggerName = Literal["hanta", "spacy"]

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
    raise UsageError(f"tagger {name!r}", allowed="hanta or spacy", to_do="leave the option out for hanta")


class HantaTagger:
    """HanTa's English model, whose tags are those of CLAWS C5 (NN*, NP0, VV*, VB*, VD*, VH*, VM0).

    Auxiliaries (our choice): be and modal verbs are never "verb"; have and do are where the sentence has no other
    verb ("a man does a backflip"). HanTa unpickles its model; it is read from HanTa's own package by its whole path,
    because a bare name would be looked up in the working folder first.
    """

    def __init__(self) -> None:
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
