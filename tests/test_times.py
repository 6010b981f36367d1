"""Times as people write and read them."""

from __future__ import annotations

import pytest

from vtrcli.times import clock, parse_seconds, time_span


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


@pytest.mark.parametrize("seconds", [0, 59, 72, 3599, 3727])
def test_what_is_shown_is_read_back(seconds: int) -> None:
    assert parse_seconds(clock(seconds)) == seconds
