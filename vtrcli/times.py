"""Times as people write them."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fractions import Fraction


def clock(seconds: float | Fraction) -> str:
    """1:12 or 1:02:07."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def time_span(start_seconds: float, end_seconds: float) -> str:
    """1:12-1:31; with tenths where whole seconds would hide a short moment: 0:00.4-0:01.2."""
    return time_spans([(start_seconds, end_seconds)])[0]


def time_spans(spans: Sequence[tuple[float, float]]) -> list[str]:
    """Those of one sequence, in seconds. One short span gives all of them tenths, or they seem to overlap."""
    if all(end - start >= 2 for start, end in spans):  # whole seconds that hold all of it
        return [f"{clock(start)}-{clock(math.ceil(end))}" for start, end in spans]
    return [
        "-".join(f"{clock(tenths // 10)}.{tenths % 10}" for tenths in (round(start * 10), round(end * 10)))
        for start, end in spans
    ]


def parse_seconds(text: str) -> float | None:
    """Seconds of `72`, `72.5`, `1:12` or `1:02:07.5`; None for anything else."""
    match = re.fullmatch(r"(?:(?:(\d{1,4}):)?(\d{1,4}):)?(\d{1,7}(?:\.\d{1,9})?)", text, re.ASCII)
    if match is None:
        return None
    hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return hours * 3600 + minutes * 60 + seconds


def timecode(frame: int, rate: Fraction, *, drop_frame: bool) -> str:
    """01:00:00:00 of a frame's number, at 24 hours again from 0; with a semicolon before the frames where it drops
    numbers (SMPTE ST 12-1).

    Args:
        rate: frames per second. Seconds have the next whole number of frames: 30 at 30000/1001.
        drop_frame: leave numbers out so that it keeps up with a clock: 2 at 29.97 (4 at 59.94) at the beginning of
            every minute but each tenth. Only rates with `can_drop_frames`.
    """
    base = round(rate)
    if drop_frame:
        dropped = base // 15
        tens, rest = divmod(frame % (144 * (base * 600 - 9 * dropped)), base * 600 - 9 * dropped)
        frame = tens * base * 600 + rest
        if rest >= base * 60:  # the first of ten minutes is whole
            frame += dropped * (1 + (rest - base * 60) // (base * 60 - dropped))
    seconds, frames = divmod(frame, base)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours % 24:02d}:{minutes:02d}:{seconds:02d}{';' if drop_frame else ':'}{frames:02d}"


def parse_timecode(text: str, rate: Fraction) -> tuple[int, bool] | None:
    """The number of a frame, and whether its timecode drops numbers; None for what is no timecode at this rate."""
    match = re.fullmatch(r"(\d\d):([0-5]\d):([0-5]\d)([:;.])(\d\d\d?)", text, re.ASCII)
    if match is None:
        return None
    hours, minutes, seconds, frames = (int(match[group]) for group in (1, 2, 3, 5))
    base, drop_frame = round(rate), match[4] != ":"
    number = ((hours * 60 + minutes) * 60 + seconds) * base + frames
    if hours >= 24 or frames >= base or (drop_frame and not can_drop_frames(rate)):
        return None
    if not drop_frame:
        return number, False
    if seconds == 0 and minutes % 10 and frames < base // 15:  # a number that is left out
        return None
    all_minutes = hours * 60 + minutes
    return number - base // 15 * (all_minutes - all_minutes // 10), True


def can_drop_frames(rate: Fraction) -> bool:
    """Whether timecode at so many frames per second can be drop-frame: 29.97, 59.94 and further multiples."""
    from fractions import Fraction

    return round(rate) % 30 == 0 and rate == Fraction(round(rate) * 1000, 1001)
