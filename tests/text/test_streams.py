"""Captions split into fusion, entity and action, on invented captions."""

from __future__ import annotations

import importlib.util
import string
import unicodedata
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vtrcli.errors import UsageError
from vtrcli.text.streams import (
    STREAMS,
    HantaTagger,
    Tagger,
    TextStreams,
    load_tagger,
    split_streams,
    words_of,
)

TAGGER = HantaTagger()  # hypothesis takes no fixtures of pytest


@pytest.fixture(scope="module")
def tagger() -> Tagger:
    return load_tagger()


def test_the_streams_are_the_fields_of_the_result(tagger: Tagger) -> None:
    streams = split_streams("a woman is dancing", tagger)
    assert [getattr(streams, stream) for stream in STREAMS] == ["a woman is dancing", "woman", "dancing"]


def test_nouns_and_verbs_keep_their_order_and_form(tagger: Tagger) -> None:
    assert split_streams("Two boys are throwing a ball while the dog runs.", tagger) == TextStreams(
        fusion="Two boys are throwing a ball while the dog runs.",
        entity="boys ball dog",
        action="throwing runs",
        has_entity=True,
        has_action=True,
    )


def test_a_caption_without_a_verb_falls_back_and_says_so(tagger: Tagger) -> None:
    streams = split_streams("a red car", tagger)
    assert (streams.entity, streams.has_entity) == ("car", True)
    assert (streams.action, streams.has_action) == ("a red car", False)


def test_a_caption_without_a_noun_falls_back_and_says_so(tagger: Tagger) -> None:
    streams = split_streams("someone is swimming", tagger)
    assert (streams.entity, streams.has_entity) == ("someone is swimming", False)
    assert (streams.action, streams.has_action) == ("swimming", True)


@pytest.mark.parametrize("caption", ["", "  \n ", "...", "🎬 🎬", "1 2 3", "動画", "a"])
def test_captions_without_words_are_three_times_themselves(caption: str, tagger: Tagger) -> None:
    assert split_streams(caption, tagger) == TextStreams(caption, caption, caption, False, False)


@pytest.mark.parametrize(
    ("caption", "entity", "action"),
    [
        ("a boy doesn't eat his dog's food", "boy dog food", "eat"),
        ("a boy doesn’t eat his dog’s food", "boy dog food", "eat"),
        ("a man s hat", "man hat", "a man s hat"),
        ("a t-shirt is drying, outside!", "t-shirt", "drying"),
        ("the café owner pours coffee", "café owner coffee", "pours"),
        ("the cafe\u0301 owner pours coffee", "café owner coffee", "pours"),
    ],
)
def test_clitics_hyphens_punctuation_and_accents(
    caption: str, entity: str, action: str, tagger: Tagger
) -> None:
    streams = split_streams(caption, tagger)
    assert (streams.entity, streams.action) == (entity, action)


def test_a_caption_of_72_words_is_split_whole(tagger: Tagger) -> None:
    streams = split_streams(" ".join(["a dog chases a cat and"] * 12), tagger)
    assert streams.entity.split() == ["dog", "cat"] * 12
    assert streams.action.split() == ["chases"] * 12


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet=string.ascii_letters + " '-.,", max_size=80))
def test_letter_case_makes_no_difference(caption: str) -> None:
    lower, upper = split_streams(caption.lower(), TAGGER), split_streams(caption.upper(), TAGGER)
    assert (lower.has_entity, lower.has_action) == (upper.has_entity, upper.has_action)
    if lower.has_entity:
        assert lower.entity == upper.entity
    if lower.has_action:
        assert lower.action == upper.action


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60))
def test_no_text_breaks_the_split_and_no_stream_is_emptier_than_the_caption(caption: str) -> None:
    streams = split_streams(caption, TAGGER)
    assert streams.fusion == caption
    assert bool(streams.entity) == bool(streams.action) == bool(caption)


def words_tagged(tagger: Tagger, sentence: str, tag: str) -> str:
    words = sentence.split()
    return " ".join(word for word, given in zip(words, tagger.tag(words), strict=True) if given == tag)


@pytest.mark.parametrize(
    ("sentence", "nouns", "verbs"),
    [
        ("a man is cooking pasta in the kitchen", "man pasta kitchen", "cooking"),
        ("a dog jumps over a fence", "dog fence", "jumps"),
        ("the girl can sing", "girl", "sing"),
        ("someone is being filmed", "", "filmed"),
        ("a red car", "car", ""),
    ],
)
def test_nouns_and_verbs_of_plain_captions(tagger: Tagger, sentence: str, nouns: str, verbs: str) -> None:
    assert words_tagged(tagger, sentence, "noun") == nouns
    assert words_tagged(tagger, sentence, "verb") == verbs


@pytest.mark.parametrize(
    ("sentence", "verbs"),
    [
        ("a boy is at school", ""),
        ("a man does a backflip", "does"),
        ("the woman has a red hat", "has"),
        ("the woman has painted a wall", "painted"),
    ],
)
def test_be_is_no_verb_and_have_and_do_only_where_no_other_is(
    tagger: Tagger, sentence: str, verbs: str
) -> None:
    assert words_tagged(tagger, sentence, "verb") == verbs


def test_id_names_tagger_version_and_language(tagger: Tagger) -> None:
    name, version, language = tagger.id.split("-")
    assert (name, language) == ("hanta", "en")
    assert version.split(".")[0].isdigit()


def test_words_of_any_length_are_tagged_in_no_time(tagger: Tagger) -> None:
    assert len(tagger.tag(["a", "x" * 100_000])) == 2  # HanTa alone: hours


def test_the_model_is_never_taken_from_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "morphmodel_en.pgz").write_bytes(b"not a model")
    monkeypatch.chdir(tmp_path)
    assert load_tagger().tag(["dogs", "sleep"]) == ["noun", "verb"]


def test_an_unknown_tagger_is_refused() -> None:
    with pytest.raises(UsageError) as caught:
        load_tagger(cast(Any, "nltk"))
    assert str(caught.value) == "tagger 'nltk'; hanta, spacy or none; leave the option out for hanta"


@pytest.mark.skipif(importlib.util.find_spec("spacy") is not None, reason="spaCy is installed")
def test_spacy_where_it_is_missing_says_what_to_install() -> None:
    with pytest.raises(UsageError) as caught:
        load_tagger("spacy")
    assert str(caught.value) == (
        "tagger spacy: No module named 'spacy'; spacy needs the packages spacy and en_core_web_sm; "
        "pip install spacy && python -m spacy download en_core_web_sm, or use the tagger hanta"
    )


@pytest.mark.skipif(
    importlib.util.find_spec("en_core_web_sm") is None, reason="spaCy's en_core_web_sm is not installed"
)
def test_spacy_tags_a_plain_caption() -> None:
    spacy = load_tagger("spacy")
    assert spacy.id.startswith("spacy-")
    assert spacy.tag(["a", "man", "is", "cooking", "pasta"]) == ["other", "noun", "other", "verb", "noun"]


def test_without_a_tagger_captions_stay_whole() -> None:
    streams = split_streams("a man rides a horse", load_tagger("none"))
    assert (streams.entity, streams.action) == ("a man rides a horse",) * 2
    assert not streams.has_entity and not streams.has_action


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("A Man rides a t-shirt!", [("Man", "entity"), ("rides", "action"), ("t-shirt", "entity")]),
        ("Cafe\u0301 owners sing", [("Caf\u00e9", "entity"), ("owners", "entity"), ("sing", "action")]),
        (
            "\u0130zmir ferries and J\u030cs, a man runs",
            [("ferries", "entity"), ("man", "entity"), ("runs", "action")],
        ),
    ],
)
def test_words_stand_where_they_are_found(
    tagger: Tagger, caption: str, expected: list[tuple[str, str]]
) -> None:
    composed = unicodedata.normalize("NFC", caption)
    found = [
        (composed[word.start : word.end], word.stream) for word in words_of(caption, tagger) if word.stream
    ]
    assert found[-len(expected) :] == expected


@given(st.text(max_size=60))
def test_every_word_is_its_place_in_the_caption(caption: str) -> None:
    """In lower case and composed; the places follow each other."""
    composed = unicodedata.normalize("NFC", caption)
    last = 0
    for word in words_of(caption, load_tagger("none")):
        assert last <= word.start <= word.end <= len(composed)
        last = word.end
        shown = unicodedata.normalize("NFC", composed[word.start : word.end].lower()).replace("’", "'")
        if "İ" not in composed:  # of two characters in lower case, of which a word may have one
            assert shown == word.text or "ς" in word.text + shown  # a sigma at the end of what is cut out
