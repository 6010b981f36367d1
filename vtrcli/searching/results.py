"""What a search answers: plain values, the same for the table, `--json`, the gallery and Python callers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vtrcli.errors import VideoError
from vtrcli.moments.moment import Moment


@dataclass(frozen=True)
class Step:
    """One moment of a chain: the sentence that it answers, and its score (a cosine) as standard deviations above the
    mean of that sentence's scores on all frames."""

    sentence: str
    moment: Moment
    standard_score: float

    def to_json(self) -> dict[str, Any]:
        """The keys of one moment of a chain."""
        return {
            "query": self.sentence,
            **self.moment.to_json(),
            "standard_score": round(self.standard_score, 2),
        }


@dataclass(frozen=True, kw_only=True)
class Hit:
    """One result: a video with its moments, best first, or (`--moments`) one moment of a video.

    `score` is what the results are ranked by, or `corrected_score` where a correction was asked for. `relevance` says
    how many standard deviations the score lies above what the captions of a query bank score; None without a bank, or
    for a picture. `probability` is the model's own, of one trained with a sigmoid, that a text alone and the best frame
    belong together; None for any other. `path` is empty where features were imported and no file is known.
    `is_missing`: the file is no longer where it was extracted from; `is_replaced`: another is there now, so that the
    times are not its own. `twins` are paths of files of the same content, `store` is where the video is from. `chain`
    has the moments of several sentences (`--then`) in their order; the score is the mean of their standard scores then,
    and the moment reaches from the first to the last.
    """

    rank: int
    video_id: str
    path: str
    score: float
    moments: tuple[Moment, ...]
    is_missing: bool
    relevance: float | None = None
    probability: float | None = None
    corrected_score: float | None = None
    is_replaced: bool = False
    twins: tuple[str, ...] = ()
    store: str = ""
    chain: tuple[Step, ...] = ()

    @property
    def can_be_opened(self) -> bool:
        """Whether the file is there and shows what was found."""
        return bool(self.path) and not (self.is_missing or self.is_replaced)

    def require_file(self) -> None:
        """Raises VideoError where no file is known, or another one is there now."""
        if not self.path:
            raise VideoError("not-found", "its features were imported, no file is known", path=self.place)
        if self.is_replaced:
            raise VideoError("changed", "it was replaced since it was extracted", path=self.path)

    @property
    def place(self) -> str:
        """What people know it by: its path, or its id where no file is known."""
        return self.path or self.video_id

    @property
    def trouble(self) -> str | None:
        """Why it cannot be opened, in a word or two; None where it can, and where no file was ever known."""
        return "missing" if self.is_missing else "replaced" if self.is_replaced else None

    @property
    def ranked_by(self) -> float:
        """The score, corrected where a correction was asked for."""
        return self.score if self.corrected_score is None else self.corrected_score

    @property
    def moment(self) -> Moment:
        """The best moment."""
        return self.moments[0]

    def to_json(self) -> dict[str, Any]:
        """The keys of one result; start, end and peak are those of the best moment, in seconds from the start."""
        return {
            "rank": self.rank,
            "video_id": self.video_id,
            "path": self.path or None,
            "score": round(self.score, 4),
            "corrected_score": None if self.corrected_score is None else round(self.corrected_score, 4),
            "relevance": None if self.relevance is None else round(self.relevance, 2),
            "probability": None if self.probability is None else float(f"{self.probability:.3g}"),
            **self.moment.seconds_to_json(),
            "missing": self.is_missing,
            "replaced": self.is_replaced,
            "twins": list(self.twins),
            "store": self.store or None,
            "moments": [moment.to_json() for moment in self.moments],
            "chain": [step.to_json() for step in self.chain] or None,
        }


@dataclass(frozen=True, kw_only=True, repr=False)
class SearchResult:
    """Answers to one query. `num_videos` passed the filters (Milvus: are there); `notes` are for the user; `stores` (or
    the address) were searched, and `run` ranked (None: plain CLIP); `unread_scripts` of the query are not of the
    model's languages."""

    query: str
    num_videos: int
    hits: tuple[Hit, ...]
    notes: tuple[str, ...] = ()
    stores: tuple[str, ...] = ()
    run: str | None = None
    unread_scripts: tuple[str, ...] = ()

    def __repr__(self) -> str:
        best = f", best {self.hits[0].video_id} ({self.hits[0].score:.2f})" if self.hits else ""
        return f"<SearchResult {self.query!r}: {len(self.hits)} of {self.num_videos:,} videos{best}>"

    def to_json(self) -> dict[str, Any]:
        """The keys of `vtr search --json` and of a line of `--queries`. `store` is null for several."""
        return {
            "query": self.query,
            "store": self.stores[0] if len(self.stores) == 1 else None,
            "stores": list(self.stores),
            "run": self.run,
            "num_videos": self.num_videos,
            "unread_scripts": list(self.unread_scripts),
            "notes": list(self.notes),
            "results": self.table(),
        }

    def table(self) -> list[dict[str, Any]]:
        """One row per hit; `pandas.DataFrame` takes it."""
        return [hit.to_json() for hit in self.hits]
