"""Sizes, lengths and dates are read as people write them."""

from __future__ import annotations

from datetime import datetime

import pytest

from vtrcli.errors import UsageError
from vtrcli.written import to_bytes, to_seconds, to_timestamp


def test_nothing_is_no_bound() -> None:
    assert (
        to_bytes(None, option="-") is to_seconds(None, option="-") is to_timestamp(None, option="-") is None
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [("500", 500), ("20MB", 20_000_000), ("1.5g", 1_500_000_000), ("3 kB", 3000), ("7B", 7)],
)
def test_sizes(text: str, expected: int) -> None:
    assert to_bytes(text, option="--min-size") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2019", datetime(2019, 1, 1)),
        ("2019-06", datetime(2019, 6, 1)),
        ("2019-06-30", datetime(2019, 6, 30)),
        ("2019-06-30T12:05", datetime(2019, 6, 30, 12, 5)),
    ],
)
def test_dates_are_the_beginning_of_what_they_name(text: str, expected: datetime) -> None:
    assert to_timestamp(text, option="--after") == expected.timestamp()


def test_what_cannot_be_read_is_told_with_an_example() -> None:
    with pytest.raises(UsageError) as caught:
        to_bytes("large", option="--min-size")
    assert str(caught.value) == (
        "--min-size 'large'; bytes, or a number with kB, MB, GB or TB; write `--min-size 20MB`"
    )
    with pytest.raises(UsageError) as caught:
        to_seconds("soon", option="--min-duration")
    assert str(caught.value) == (
        "--min-duration 'soon'; seconds, M:SS or H:MM:SS; write `--min-duration 90` or `--min-duration 1:30`"
    )
    with pytest.raises(UsageError, match="^--after '30.6.2019'; a date: 2019, 2019-06, 2019-06-30 or "):
        to_timestamp("30.6.2019", option="--after")
