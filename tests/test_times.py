"""Times as people write and read them."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vtrcli.times import (
    can_drop_frames,
    clock,
    parse_seconds,
    parse_timecode,
    time_span,
    time_spans,
    timecode,
)

RATES = tuple(map(Fraction, "24000/1001 24 25 30000/1001 30 50 60000/1001 60 12 90000/1001".split()))
DROPPING = tuple(rate for rate in RATES if can_drop_frames(rate))


@pytest.mark.parametrize(
    ("start", "end", "shown"),
    [
        (4.75, 6.75, "0:04-0:07"),
        (0.0, 0.88, "0:00.0-0:00.9"),
        (59.97, 61.0, "1:00.0-1:01.0"),
        (72.0, 91.0, "1:12-1:31"),
        (3599.2, 3723.5, "59:59-1:02:04"),
    ],
)
def test_a_span_in_whole_seconds_holds_all_of_it_and_a_short_one_has_tenths(
    start: float, end: float, shown: str
) -> None:
    assert time_span(start, end) == shown


def test_spans_of_one_sequence_are_equally_fine() -> None:
    assert time_spans([(0, 1.5), (1.5, 3.7)]) == ["0:00.0-0:01.5", "0:01.5-0:03.7"]
    assert time_spans([(0, 4.2), (4.2, 9)]) == ["0:00-0:05", "0:04-0:09"]


@pytest.mark.parametrize("seconds", [0, 59, 72, 3599, 3727])
def test_what_is_shown_is_read_back(seconds: int) -> None:
    assert parse_seconds(clock(seconds)) == seconds


def test_which_rates_can_drop_frames() -> None:
    assert tuple(map(str, DROPPING)) == ("30000/1001", "60000/1001", "90000/1001")


@pytest.mark.parametrize(
    ("frame", "rate", "drop_frame", "shown"),
    [
        (0, "25", False, "00:00:00:00"),
        (107999, "30", False, "00:59:59:29"),
        (1800, "30000/1001", False, "00:01:00:00"),
        # The first minute is whole, the next begins with 2 (ST 12-1); so does every other but each tenth.
        (1799, "30000/1001", True, "00:00:59;29"),
        (1800, "30000/1001", True, "00:01:00;02"),
        (17981, "30000/1001", True, "00:09:59;29"),
        (17982, "30000/1001", True, "00:10:00;00"),
        (107892, "30000/1001", True, "01:00:00;00"),
        (3600, "60000/1001", True, "00:01:00;04"),
        (35964, "60000/1001", True, "00:10:00;00"),
        (86400 * 24, "24000/1001", False, "00:00:00:00"),
        (2589408, "30000/1001", True, "00:00:00;00"),
    ],
)
def test_a_timecode(frame: int, rate: str, drop_frame: bool, shown: str) -> None:
    assert timecode(frame, Fraction(rate), drop_frame=drop_frame) == shown
    if frame < 86400 * 24:
        assert parse_timecode(shown, Fraction(rate)) == (frame, drop_frame)


@given(st.integers(0, 23 * 3600 * 120), st.sampled_from(RATES), st.booleans())
def test_a_timecode_is_read_back_and_counts_up(frame: int, rate: Fraction, drop_frame: bool) -> None:
    frame %= 23 * 3600 * int(rate)  # less than a day, and frames with two digits
    drop_frame &= can_drop_frames(rate)
    shown = timecode(frame, rate, drop_frame=drop_frame)
    assert parse_timecode(shown, rate) == (frame, drop_frame)
    assert timecode(frame + 1, rate, drop_frame=drop_frame) > shown


@given(st.integers(0, 24 * 3600 - 1), st.sampled_from(DROPPING))
def test_a_drop_frame_timecode_is_the_clock_s_time(seconds: int, rate: Fraction) -> None:
    """But for the frames that are dropped next, and for 86 ms a day, which no rule of the standard takes away."""
    hours, minutes, rest, frames = (
        int(part)
        for part in timecode(round(seconds * rate), rate, drop_frame=True).replace(";", ":").split(":")
    )
    read = hours * 3600 + minutes * 60 + rest + frames / round(rate)
    assert abs(read - seconds) <= 0.18


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("", "25"),
        ("1:00:00:00", "25"),
        ("01:00:00:25", "25"),
        ("24:00:00:00", "25"),
        ("00:60:00:00", "25"),
        ("00:00:00;00", "25"),
        ("00:01:00;01", "30000/1001"),
        ("00:01:00;00\n", "30000/1001"),
        ("٠١:00:00:00", "25"),
    ],
)
def test_what_is_no_timecode(text: str, rate: str) -> None:
    assert parse_timecode(text, Fraction(rate)) is None
