"""A query is what was asked, or one clear line about what is wrong with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from vtrcli.errors import InputError, UsageError
from vtrcli.searching.encoding import split_place
from vtrcli.searching.query import Query, Term
from vtrcli.times import parse_seconds


def test_a_text_alone_is_one_term_and_described_as_it_stands() -> None:
    query = Query(text="  a man cooking ")
    assert query.terms == [Term("text", "a man cooking")] and query.describe() == "a man cooking"


def test_terms_come_in_the_order_of_their_weights() -> None:
    query = Query(
        text="dog",
        plus=("beach",),
        minus=("people",),
        images=(Path("a.png"),),
        like=("b.mp4@1:12",),
        weights=(2, 1, 0.25, 1, 3),
    )
    assert [(term.kind, term.value, term.weight) for term in query.terms] == [
        ("text", "dog", 2),
        ("text", "beach", 1),
        ("text", "people", -0.25),
        ("image", "a.png", 1),
        ("like", "b.mp4@1:12", 3),
    ]
    assert query.describe() == "2 × dog + beach - 0.25 × people + image a.png + 3 × like b.mp4@1:12"


def test_what_is_taken_away_counts_half() -> None:
    query = Query(text="dog", minus=("people",))
    assert [term.weight for term in query.terms] == [1, -0.5] and query.describe() == "dog - people"


@pytest.mark.parametrize("text", ["", "  \n", "x" * 10_001])
def test_an_empty_or_oversized_text_is_one_clear_line(text: str) -> None:
    with pytest.raises(InputError) as caught:
        Query(text="fine", plus=(text,))
    assert str(caught.value) == (
        f"a query of {len(text.strip()):,} characters; 1 to 10,000 characters (CLIP reads the first 77 tokens); "
        'describe the scene in a sentence, such as "a man cooking"'
    )


def test_a_query_needs_something_to_search_for() -> None:
    with pytest.raises(UsageError, match="^nothing to search for; a sentence, --plus, --image or --like; "):
        Query()
    with pytest.raises(UsageError, match="^only terms to avoid "):
        Query(minus=("a dog",))


@pytest.mark.parametrize("weights", [(1.0,), (1.0, 0.0), (1.0, -1.0), (1.0, float("nan")), (1.0, 1000.0)])
def test_wrong_weights_are_refused(weights: tuple[float, ...]) -> None:
    with pytest.raises(
        UsageError, match=" for 2 terms; a number above 0, up to 100, per term: query, --plus, "
    ):
        Query(text="dog", minus=("cat",), weights=weights)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("72", 72), ("72.5", 72.5), ("1:12", 72), ("0:01.25", 1.25), ("1:02:07", 3727), ("90:00", 5400)],
)
def test_times_are_read_as_people_write_them(text: str, seconds: float) -> None:
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "x", "-1", "1:", ":12", "1:2:3:4", "1e3", "٣", "1.", "nan"])
def test_other_times_are_none(text: str) -> None:
    assert parse_seconds(text) is None


def test_a_place_is_a_video_and_a_time_behind_the_last_at() -> None:
    assert split_place("clip.mp4@1:12") == ("clip.mp4", 72)
    assert split_place("me@home.mp4") == ("me@home.mp4", None)
    assert split_place("me@home.mp4@3") == ("me@home.mp4", 3)
    assert split_place("@3") == ("@3", None)
