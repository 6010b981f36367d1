"""`Moment`: a part of a video, as results have it. It stands alone so that a result can be read without NumPy."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Moment:
    """Times in seconds from the start of the video; `score` is the peak frame's, as it came in."""

    start_seconds: float
    peak_seconds: float
    end_seconds: float
    score: float
