"""What of a text a backbone does not read: letters of scripts that it was not trained on, and what is cut off."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.store.stores import make_config
from vtrcli.text.cache import unread
from vtrcli.text.scripts import unread_scripts

ENGLISH = make_config(name="ViT-B/32").backbone
MANY = replace(ENGLISH, languages="many")


@pytest.mark.parametrize(
    ("text", "scripts"),
    [
        ("a man cooking", ()),
        ("naïve café in Straße, ﬁne ª º", ()),  # letters with accents and forms of them are Latin
        ("ｆｕｌｌ ｗｉｄｔｈ", ()),
        ("Hawaiʻi 🐶 — 12 €", ()),  # signs are no letters
        ("an α particle, 5 µm", ()),  # a Greek letter alone is a sign
        ("человек готовит", ("Cyrillic",)),
        ("a sign that says 東京", ("Chinese",)),
        ("猫", ("Chinese",)),
        ("ねこ と ネコ", ("Japanese",)),
        ("강아지", ("Korean",)),
        ("cat الكلب γάτα", ("Arabic", "Greek")),
        ("गाड़ी", ("Devanagari",)),
        ("\ud800 \u0378", ()),  # no characters at all
    ],
)
def test_scripts_are_told_from_the_letters_and_only_where_english_alone_is_read(
    text: str, scripts: tuple[str, ...]
) -> None:
    assert unread_scripts(text, ENGLISH) == scripts
    assert unread_scripts(text, MANY) == ()


def test_captions_are_counted_in_sentences_and_in_json() -> None:
    texts = ["a dog", "собака", "猫 cat", "a cat"]
    found = unread(texts, ENGLISH, num_cut=2, limit=32)
    assert found.notes == (
        "2 of 4 captions are longer than 32 tokens and were cut",
        "2 of 4 captions have letters of another script (Cyrillic, Chinese): ViT-B/32 was trained on English texts and "
        "finds little by them; siglip2-b16 reads many languages (docs/backbones.md)",
    )
    assert found.to_json() == {
        "num_cut": 2,
        "num_unread_script": 2,
        "unread_scripts": ["Cyrillic", "Chinese"],
    }
    by_path = replace(ENGLISH, name="/models/PE-Core")
    assert ": PE-Core was trained on English" in unread(texts, by_path, num_cut=0).notes[0]
    assert unread(texts, MANY, num_cut=0).notes == () == unread(["a"], ENGLISH, num_cut=None).notes
    assert unread(texts, ENGLISH, num_cut=None, limit=500).limit == 77
