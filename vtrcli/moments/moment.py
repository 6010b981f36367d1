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

    def seconds_to_json(self) -> dict[str, float]:
        """Its times alone."""
        return {
            "start_seconds": round(self.start_seconds, 3),
            "end_seconds": round(self.end_seconds, 3),
            "peak_seconds": round(self.peak_seconds, 3),
        }

    def to_json(self) -> dict[str, float]:
        """Its times and its score."""
        return {**self.seconds_to_json(), "score": round(self.score, 4)}
