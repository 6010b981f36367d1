"""A split has videos, each with captions; texts are clean; caption ids are unique."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.datasets.layouts import message
from vtrcli.datasets.files import Json
from vtrcli.datasets.split import Caption, Split, build_split
from vtrcli.errors import InputError

LIST, TEXTS = Path("list.txt"), Path("texts.json")


def _build(video_ids: list[str], captions: dict[str, list[str]], **more) -> Split:
    return build_split(
        "test", video_ids=video_ids, listed_in=LIST, captions_of=captions, captions_in=TEXTS, **more
    )


def test_captions_follow_the_order_of_the_videos() -> None:
    split = _build(["b", "a"], {"a": ["x"], "b": ["y", "x"], "c": ["z"]}, categories={"a": "1", "c": "2"})
    assert split == Split(
        "test",
        ("b", "a"),
        (Caption("y", "b", "b#0"), Caption("x", "b", "b#1"), Caption("x", "a", "a#0")),
        {"a": "1"},
    )


@settings(deadline=None)
@given(st.dictionaries(st.text(), st.lists(st.text(), min_size=1), min_size=1))
def test_caption_ids_are_unique(captions: dict[str, list[str]]) -> None:
    split = _build(list(captions), captions)
    assert len({caption.caption_id for caption in split.captions}) == sum(map(len, captions.values()))


def test_listed_videos_without_captions_are_counted_and_named() -> None:
    with pytest.raises(InputError) as caught:
        _build([f"v{number}" for number in range(8)], {"v0": ["a"], "v1": []})
    assert message(caught) == (
        "list.txt: 7 of 8 videos have no caption in texts.json: v1, v2, v3, v4, v5 …; "
        "every video of a split has a caption; use a list and captions of the same release"
    )


def test_an_empty_split_is_refused() -> None:
    with pytest.raises(InputError) as caught:
        _build([], {})
    assert message(caught) == (
        "list.txt: no video in the split test; a split has at least one video; "
        "mend the file or get it again; `vtr datasets list` says where from"
    )


def test_white_space_in_captions_becomes_single_spaces() -> None:
    assert Json("  a dog\nruns\t ", TEXTS, "it").text() == "a dog runs"


@pytest.mark.parametrize("text", ["", " \n "])
def test_an_empty_caption_is_refused_because_dropping_it_would_change_the_counts(text: str) -> None:
    with pytest.raises(InputError) as caught:
        Json(text, TEXTS, "sentence 3").text()
    assert message(caught) == (
        "texts.json: sentence 3 is empty; every caption has a text; fill it or delete its row"
    )
