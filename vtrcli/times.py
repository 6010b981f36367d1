"""Times as people write them."""

from __future__ import annotations

import math
import re


def clock(seconds: float) -> str:
    """1:12 or 1:02:07."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def time_span(start_seconds: float, end_seconds: float) -> str:
    """1:12-1:31; with tenths where whole seconds would hide a short moment: 0:00.4-0:01.2."""
    if end_seconds - start_seconds >= 2:  # whole seconds that hold all of it
        return f"{clock(start_seconds)}-{clock(math.ceil(end_seconds))}"
    tenths = (round(seconds * 10) for seconds in (start_seconds, end_seconds))
    return "-".join(f"{clock(number // 10)}.{number % 10}" for number in tenths)


def parse_seconds(text: str) -> float | None:
    """Seconds of `72`, `72.5`, `1:12` or `1:02:07.5`; None for anything else."""
    match = re.fullmatch(r"(?:(?:(\d{1,4}):)?(\d{1,4}):)?(\d{1,7}(?:\.\d{1,9})?)", text, re.ASCII)
    if match is None:
        return None
    hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return hours * 3600 + minutes * 60 + seconds
