"""Search results made by hand."""

from __future__ import annotations

from pathlib import Path

from vtrcli.moments.moment import Moment
from vtrcli.searching.results import Hit


def make_hit(
    path: Path | str,
    *spans: tuple[float, float],
    rank: int = 1,
    relevance: float | None = None,
    is_missing: bool = False,
    video_id: str = "a",
) -> Hit:
    """A hit with a moment per span (0 to 1 s without one), which peaks in its middle."""
    return Hit(
        rank=rank,
        video_id=video_id,
        path=str(path),
        score=0.25,
        moments=tuple(Moment(start, (start + end) / 2, end, 0.25) for start, end in spans or [(0.0, 1.0)]),
        is_missing=is_missing,
        relevance=relevance,
    )
