"""What a search answers: plain values, the same for the table, `--json`, the gallery and Python callers."""

from __future__ import annotations

from dataclasses import dataclass

from vtrcli.retrieval.moments import Moment


@dataclass(frozen=True, kw_only=True)
class Hit:
    """One result: a video with its moments, best first, or (`--moments`) one moment of a video.

    `score` is what the results are ranked by, or `corrected_score` where a correction was asked for. `relevance` says
    how many standard deviations the score lies above what the captions of a query bank score; None without a bank, or
    for a picture. `is_missing`: the file is no longer where it was extracted from; `is_replaced`: another is there now,
    so that the times are not its own. `twins` are paths of files of the same content, `store` is where the video is
    from.
    """

    rank: int
    video_id: str
    path: str
    score: float
    moments: tuple[Moment, ...]
    is_missing: bool
    relevance: float | None = None
    corrected_score: float | None = None
    is_replaced: bool = False
    twins: tuple[str, ...] = ()
    store: str = ""

    @property
    def can_be_opened(self) -> bool:
        """Whether the file is there and shows what was found."""
        return not (self.is_missing or self.is_replaced)

    @property
    def ranked_by(self) -> float:
        """The score, corrected where a correction was asked for."""
        return self.score if self.corrected_score is None else self.corrected_score

    @property
    def moment(self) -> Moment:
        """The best moment."""
        return self.moments[0]


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    """Answers to one query. `num_videos` passed the filters (Milvus: are there); `notes` are for the user."""

    query: str
    num_videos: int
    hits: tuple[Hit, ...]
    notes: tuple[str, ...] = ()
