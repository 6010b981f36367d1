"""Times as people write them."""

from __future__ import annotations


def clock(seconds: float) -> str:
    """1:12 or 1:02:07."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def time_span(start_seconds: float, end_seconds: float) -> str:
    """1:12-1:31; with tenths where whole seconds would hide a short moment: 0:00.4-0:01.2."""
    if end_seconds - start_seconds >= 2:
        return f"{clock(start_seconds)}-{clock(end_seconds)}"
    return "-".join(f"{clock(seconds)}.{int(seconds * 10) % 10}" for seconds in (start_seconds, end_seconds))
