"""What people write for lengths, sizes and dates, on the command line and on the page."""

from __future__ import annotations

import re
from datetime import datetime

from vtrcli.errors import UsageError
from vtrcli.times import parse_seconds

_BYTES = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3, "t": 1000**4}


def to_seconds(text: str | None, *, option: str) -> float | None:
    """`90`, `1:30` or `1:02:03` -> seconds. Raises UsageError for anything else."""
    if text is None:
        return None
    seconds = parse_seconds(text)
    if seconds is None:
        raise UsageError(
            f"{option} {text!r}",
            allowed="seconds, M:SS or H:MM:SS",
            to_do=f"write `{option} 90` or `{option} 1:30`",
        )
    return seconds


def to_bytes(text: str | None, *, option: str) -> int | None:
    """`500`, `20MB` or `1.5G` -> bytes; powers of 1000, as in the tables. Raises UsageError for anything else."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d{1,15}(?:\.\d{1,9})?)\s*([kmgt]?)b?", text.strip().lower(), re.ASCII)
    if match is None:
        raise UsageError(
            f"{option} {text!r}",
            allowed="bytes, or a number with kB, MB, GB or TB",
            to_do=f"write `{option} 20MB`",
        )
    return int(float(match[1]) * _BYTES[match[2]])


def to_timestamp(text: str | None, *, option: str) -> float | None:
    """`2019`, `2019-06`, `2019-06-30` or `2019-06-30T12:00` (local time) -> seconds since 1970 of its beginning.

    Raises:
        UsageError: no such date.
    """
    if text is None:
        return None
    for form in ("%Y", "%Y-%m", "%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"):
        try:
            return datetime.strptime(text.strip(), form).timestamp()
        except (ValueError, OverflowError, OSError):
            continue
    raise UsageError(
        f"{option} {text!r}",
        allowed="a date: 2019, 2019-06, 2019-06-30 or 2019-06-30T12:00",
        to_do=f"write `{option} 2019-06-30`",
    )
