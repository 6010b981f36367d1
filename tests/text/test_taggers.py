"""The taggers' interface, on invented sentences."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any, cast

import pytest

from vtrcli.errors import UsageError
from vtrcli.text.taggers import HantaTagger, load_tagger


@pytest.fixture(scope="module")
def tagger() -> HantaTagger:
    return HantaTagger()


def words_tagged(tagger: HantaTagger, sentence: str, tag: str) -> str:
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
def test_nouns_and_verbs_of_plain_captions(
    tagger: HantaTagger, sentence: str, nouns: str, verbs: str
) -> None:
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
    tagger: HantaTagger, sentence: str, verbs: str
) -> None:
    assert words_tagged(tagger, sentence, "verb") == verbs


def test_id_names_tagger_version_and_language(tagger: HantaTagger) -> None:
    name, version, language = tagger.id.split("-")
    assert (name, language) == ("hanta", "en")
    assert version.split(".")[0].isdigit()


def test_words_of_any_length_are_tagged_in_no_time(tagger: HantaTagger) -> None:
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
    assert str(caught.value) == "tagger 'nltk'; hanta or spacy; leave the option out for hanta"


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
