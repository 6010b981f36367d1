"""The timeline's rate, and the names of its reels."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vtrcli.searching.timeline import TIMELINE_RATES, Reels, rate_name, timeline_rate


@pytest.mark.parametrize(
    ("rates", "chosen"),
    [
        ("25", "25"),
        ("25 30000/1001 30000/1001", "30000/1001"),
        ("25 30 50", "25"),  # the first of equals
        ("15", "30"),
        ("12", "24"),
        ("10", "30"),
        ("10 10 25", "25"),
        ("179/6 20 30", "30"),
        ("15000/1001", "30000/1001"),
        ("120", "60"),
        ("120000/1001", "60000/1001"),
        ("240", "60"),
        ("17123/1000", "24000/1001"),
        ("500", "50"),
        ("90", "30"),
    ],
)
def test_a_timeline_runs_as_most_of_its_sources_do(rates: str, chosen: str) -> None:
    assert timeline_rate([Fraction(rate) for rate in rates.split()]) == Fraction(chosen)


@given(st.fractions(min_value=Fraction(1, 60), max_value=1000))
def test_every_timeline_has_a_rate_that_editors_have(rate: Fraction) -> None:
    assert timeline_rate([rate]) in TIMELINE_RATES


def test_reels_are_short_plain_and_unlike_each_other() -> None:
    reels = Reels()
    names = ["A001_C002_0903XY", "a001c002", "Ärger & Co", "猫", "犬", "ax", "BL", "A001C0029"]
    assert [reels.name(name) for name in names] == [
        *("A001C002", "A001C0X2", "ARGERCO", "REEL", "REELX2", "AXX2", "BLX2", "A001C0X3"),
    ]


@given(st.lists(st.text(), max_size=6))
def test_whatever_files_are_called_reels_fit_an_edl(names: list[str]) -> None:
    reels = Reels()
    given_names = [reels.name(name) for name in names]
    assert len(set(given_names)) == len(names)
    assert all(1 <= len(name) <= 8 and name.isascii() and name.isalnum() for name in given_names)


@pytest.mark.parametrize(
    ("rate", "name"), [("30000/1001", "29.97"), ("24000/1001", "23.976"), ("25", "25"), ("25/2", "12.5")]
)
def test_the_name_of_a_rate(rate: str, name: str) -> None:
    assert rate_name(Fraction(rate)) == name
