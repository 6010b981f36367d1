"""How a query is to be answered, and the defaults."""

from __future__ import annotations

from dataclasses import dataclass, field

from vtrcli.searching.background import SearchMethod
from vtrcli.searching.filters import Filters
from vtrcli.searching.frame_scores import VideoScore

TOP_K = 10
PER_VIDEO = 3
POOLING: VideoScore = "max"
# A run ranks whole videos: the moments of so many of its best are then ranked by their frames.
MIN_RUN_SHORTLIST = 50


@dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """How to answer.

    Attributes:
        moments: rank moments instead of videos.
        per_video: moments of one video at most.
        method: a correction by the store's query bank, for this query alone.
        min_relevance: leave out what lies less far above the bank's background.
        missing: also show videos whose file is gone.
    """

    top_k: int = TOP_K
    moments: bool = False
    per_video: int = PER_VIDEO
    filters: Filters = field(default_factory=Filters)
    method: SearchMethod | None = None
    min_relevance: float | None = None
    missing: bool = False
