"""What a search takes: one model for the address, the body and the description, and what it becomes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from vtrcli.searching.filters import Filters
from vtrcli.searching.query import (
    MAX_QUERY_CHARACTERS,
    MAX_SENTENCES,
    PER_VIDEO,
    TOP_K,
    Query,
    SearchMethod,
    SearchSettings,
    VideoScore,
)
from vtrcli.serve.endpoint import Parameters, StoreName, VideoId
from vtrcli.serve.pages import MAX_TOKEN_CHARACTERS
from vtrcli.written import to_bytes, to_seconds, to_timestamp

MAX_TOP_K = 200
MAX_TERMS = 20  # of one kind in a query
Pictures = Callable[[str], Path]  # the id of an upload -> its file; raises NotFoundError


def _numbers(given: Any) -> Any:
    """`2,1` is a list, too."""
    if isinstance(given, str):
        given = [given]
    if isinstance(given, list):
        return [part for value in given for part in (value.split(",") if isinstance(value, str) else [value])]
    return given


Text = Annotated[str, Field(max_length=MAX_QUERY_CHARACTERS)]
Texts = Annotated[list[Text], Field(max_length=MAX_TERMS)]
Written = Annotated[str, Field(max_length=40)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
TOKEN: Any = Field(
    None, max_length=MAX_TOKEN_CHARACTERS, description="The next_page_token of the page before."
)


class Asking(Parameters):
    """Which videos may be found, and how they are answered; what is asked is apart."""

    moments: bool = Field(False, description="Rank moments instead of videos.")
    top_k: int = Field(TOP_K, ge=1, le=MAX_TOP_K, description="How many results.")
    per_video: int = Field(PER_VIDEO, ge=1, le=MAX_TOP_K, description="Moments of one video at most.")
    page_token: str | None = TOKEN
    method: SearchMethod | None = Field(None, description="A correction by the store's query bank.")
    min_relevance: Finite | None = Field(
        None, description="Only results so far above what the bank's captions score; 3 is strict."
    )
    score: VideoScore | None = Field(
        None, description="Plain CLIP, where a video's score is its best frame or a mean over its frames."
    )
    path: Texts = Field([], description="Only such files or folders: *.mp4, kitchen; may be repeated.")
    min_duration: Written | None = Field(None, description="Only videos at least so long (90, 1:30).")
    max_duration: Written | None = Field(None, description="Only videos at most so long.")
    after: Written | None = Field(None, description="Only files changed since (2019-06-30, 2019).")
    before: Written | None = Field(None, description="Only files changed before.")
    min_size: Written | None = Field(None, description="Only files of at least this size (20MB).")
    max_size: Written | None = Field(None, description="Only files of at most this size.")
    missing: bool = Field(False, description="Also show videos whose file is gone.")
    store: StoreName = None
    strips: bool = Field(
        False, description="With each result the score over the video's whole length: 120 numbers, 0 to 100."
    )

    def settings(self) -> SearchSettings:
        """Raises UsageError for filters that cannot be read, or that exclude each other."""
        return SearchSettings(
            top_k=self.top_k,
            moments=self.moments,
            per_video=self.per_video,
            filters=Filters(
                paths=tuple(self.path),
                min_duration_seconds=to_seconds(self.min_duration, option="min_duration"),
                max_duration_seconds=to_seconds(self.max_duration, option="max_duration"),
                min_changed_at=to_timestamp(self.after, option="after"),
                max_changed_at=to_timestamp(self.before, option="before"),
                min_bytes=to_bytes(self.min_size, option="min_size"),
                max_bytes=to_bytes(self.max_size, option="max_size"),
            ),
            method=self.method,
            min_relevance=self.min_relevance,
            missing=self.missing,
        )


class Search(Asking):
    """A query, as `vtr search` takes it."""

    q: Text | None = Field(None, description="What the video shows, as a sentence.")
    plus: Texts = Field([], description="Must also show this; may be repeated.")
    minus: Texts = Field([], alias="not", description="Must not show this; may be repeated.")
    then: Annotated[list[Text], Field(max_length=MAX_SENTENCES - 1)] = Field(
        [], description="And after that this, in the same video; may be repeated."
    )
    within: Annotated[Finite, Field(gt=0)] | None = Field(
        None, description="The most seconds from one of these moments to the next."
    )
    like: Texts = Field([], description="Must look like this video, ID, or its frame at a time, ID@SECONDS.")
    image: Texts = Field([], description="Must look like this picture: what POST /api/images answered.")
    weights: Annotated[list[Finite], BeforeValidator(_numbers), Field(max_length=5 * MAX_TERMS)] = Field(
        [], description="How much each part counts: q, plus, not, image, like; 2,1 or repeated."
    )

    @property
    def is_empty(self) -> bool:
        """Whether nothing is asked."""
        return self.q is None and not (self.plus or self.minus or self.like or self.image or self.then)

    def query(self, pictures: Pictures) -> Query:
        """Raises InputError or UsageError for what is no query, NotFoundError for a picture that is not there."""
        return Query(
            text=self.q,
            plus=tuple(self.plus),
            minus=tuple(self.minus),
            images=tuple(map(pictures, self.image)),
            like=tuple(self.like),
            weights=tuple(self.weights) or None,
            then=tuple(self.then),
            within_seconds=self.within,
        )


class Similar(Asking):
    """A video, or its frame at a time."""

    id: VideoId
    t: Annotated[Finite, Field(ge=0)] | None = Field(
        None, description="Seconds from the start: its frame then; the whole video without."
    )

    def query(self) -> Query:
        """What looks like it."""
        return Query(like=(self.id if self.t is None else f"{self.id}@{self.t:.3f}",))
