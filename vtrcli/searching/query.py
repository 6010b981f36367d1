"""What is searched for: texts, images and places in stored videos, each with its weight; and how it is answered."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from vtrcli.errors import InputError, UsageError
from vtrcli.searching.filters import Filters

if TYPE_CHECKING:
    import numpy as np

MAX_QUERY_CHARACTERS = 10_000
MAX_WEIGHT = 100.0
MAX_SENTENCES = 10  # of a chain
# What is taken away counts half: with a whole weight a --not that resembles the query leaves nothing of it
# (docs/experiments.md).
MINUS_WEIGHT = 0.5

Kind = Literal["text", "image", "like"]
SearchMethod = Literal["dsl", "inverted-softmax", "nnn", "csls"]
VideoScore = Literal["max", "mean", "softmax"]
TOP_K = 10
PER_VIDEO = 3
POOLING: VideoScore = "max"
# A run ranks whole videos: the moments of so many of its best are then ranked by their frames.
MIN_RUN_SHORTLIST = 50
NUM_RERANKED = 50


@dataclass(frozen=True)
class Term:
    """One part of a query. `value` is a text, a file's path or VIDEO[@SECONDS]; a negative weight pushes away."""

    kind: Kind
    value: str
    weight: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Query:
    """A query: a text, more texts that add to it or take from it, images, and places in videos of the store.

    The terms' unit vectors are added, each times its weight. Without `weights` all weigh 1, those of `minus`
    -MINUS_WEIGHT.

    Args:
        weights: one positive number per term, in the order text, plus, minus, images, like.
        then: sentences for what comes after it, in this order, in the same video; all else describes what comes first.
        within_seconds: the most time from one of these moments to the next; None for any.

    Raises:
        InputError: an empty or oversized text.
        UsageError: no term, only terms that take away, wrong weights, too many sentences, or a time that is none.
    """

    text: str | None = None
    plus: tuple[str, ...] = ()
    minus: tuple[str, ...] = ()
    images: tuple[Path, ...] = ()
    like: tuple[str, ...] = ()
    weights: tuple[float, ...] | None = None
    then: tuple[str, ...] = ()
    within_seconds: float | None = None

    def __post_init__(self) -> None:
        _require_chain(self.then, self.within_seconds)
        for text in (*([] if self.text is None else [self.text]), *self.plus, *self.minus, *self.then):
            _require_text(text)
        terms = self._unweighted()
        if not any(term.weight > 0 for term in terms):
            raise UsageError(
                "nothing to search for" if not terms else "only terms to avoid (--not)",
                allowed="a sentence, --plus, --image or --like",
                to_do='describe the scene, such as `vtr search "a man cooking"`',
            )
        if self.weights is not None:
            _require_weights(self.weights, len(terms))

    @property
    def terms(self) -> list[Term]:
        """The parts with their weights."""
        terms = self._unweighted()
        weights = self.weights or [1.0 if term.weight > 0 else MINUS_WEIGHT for term in terms]
        return [
            Term(term.kind, term.value, term.weight * weight)
            for term, weight in zip(terms, weights, strict=True)
        ]

    @property
    def is_text(self) -> bool:
        """Whether it is made of texts alone."""
        return not self.images and not self.like

    @property
    def is_one_text(self) -> bool:
        """Whether it is one text and nothing else, so that its scores are the model's own for it."""
        return len(self.terms) == 1 and self.is_text

    @property
    def sentences(self) -> tuple[str, ...]:
        """What each moment of a chain answers, as people would say it; without `then` the query alone."""
        return (self._first(), *(text.strip() for text in self.then))

    def describe(self) -> str:
        """The query as people would say it; a text alone stands as it is."""
        limit = "" if self.within_seconds is None else f" (within {self.within_seconds:g} s)"
        return ", then ".join(self.sentences) + limit

    def _first(self) -> str:
        words = []
        for term in self.terms:
            usual = 1.0 if term.weight > 0 else MINUS_WEIGHT
            size = "" if abs(term.weight) == usual else f"{abs(term.weight):g} × "
            name = term.value.strip() if term.kind == "text" else f"{term.kind} {term.value}"
            words.append(f"{'-' if term.weight < 0 else '+'} {size}{name}")
        return " ".join(words).removeprefix("+ ")

    def _unweighted(self) -> list[Term]:
        texts = ([] if self.text is None else [self.text]) + list(self.plus)
        return [
            *(Term("text", text.strip()) for text in texts),
            *(Term("text", text.strip(), -1.0) for text in self.minus),
            *(Term("image", str(path)) for path in self.images),
            *(Term("like", value) for value in self.like),
        ]


def followed_by(query: str | Query, then: Sequence[str], within_seconds: float | None) -> str | Query:
    """A query, and what comes after it; raises as `Query`."""
    if not then and within_seconds is None:
        return query
    asked = Query(text=query) if isinstance(query, str) else query
    sentences: Any = then if isinstance(then, str) else tuple(then)  # one text alone is refused there
    return replace(asked, then=sentences, within_seconds=within_seconds)


@dataclass(frozen=True)
class QueryVectors:
    """A query as float32 [dim] among frames, and as it is ranked by: the same, or float32 [width] in a run's space.
    `unread_scripts` are those of its words that the backbone was not trained on, `then` the sentences that follow."""

    clip: np.ndarray
    ranking: np.ndarray
    notes: tuple[str, ...] = ()
    unread_scripts: tuple[str, ...] = ()
    then: tuple[QueryVectors, ...] = ()


def _require_text(text: str) -> None:
    length = len(text.strip())
    if not 1 <= length <= MAX_QUERY_CHARACTERS:
        raise InputError(
            f"a query of {length:,} characters",
            allowed=f"1 to {MAX_QUERY_CHARACTERS:,} characters (CLIP reads the first 77 tokens)",
            to_do='describe the scene in a sentence, such as "a man cooking"',
        )


def _require_weights(weights: tuple[float, ...], num_terms: int) -> None:
    if len(weights) != num_terms or not all(
        math.isfinite(weight) and 0 < weight <= MAX_WEIGHT for weight in weights
    ):
        shown = ",".join(f"{weight:g}" for weight in weights)
        raise UsageError(
            f"--weights {shown} for {num_terms} term{'s' * (num_terms != 1)}",
            allowed=f"a number above 0, up to {MAX_WEIGHT:g}, per term: query, --plus, --not, --image, --like",
            to_do="give as many as there are terms; what follows --not is taken away by itself",
        )


def _require_chain(then: tuple[str, ...], within_seconds: float | None) -> None:
    if isinstance(then, str):
        raise UsageError(f"then={then!r}", allowed="a list of sentences", to_do=f"write then=[{then!r}]")
    if len(then) >= MAX_SENTENCES:
        raise UsageError(
            f"{len(then)} times --then",
            allowed=f"chains of up to {MAX_SENTENCES} sentences",
            to_do="ask for fewer",
        )
    if within_seconds is None:
        return
    if not then:
        raise UsageError(
            f"--within {within_seconds:g} without --then",
            allowed="the most time from one moment to the next",
            to_do='say what comes next, such as --then "he sits down"',
        )
    if not (math.isfinite(within_seconds) and within_seconds > 0):
        raise UsageError(
            f"--within {within_seconds:g}",
            allowed="more than 0 s: the next moment lies after the one before it",
            to_do="give the most time from one moment to the next, such as `--within 30`",
        )


@dataclass(frozen=True, kw_only=True)
class SearchSettings:
    """How to answer.

    Attributes:
        moments: rank moments instead of videos.
        per_video: moments of one video at most.
        method: a correction by the store's query bank, for this query alone.
        min_relevance: leave out what lies less far above what the bank's captions score.
        missing: also show videos whose file is gone.
        num_reranked: with a run whose score is not one inner product, how many first hits of plain CLIP it ranks anew.
    """

    top_k: int = TOP_K
    moments: bool = False
    per_video: int = PER_VIDEO
    filters: Filters = field(default_factory=Filters)
    method: SearchMethod | None = None
    min_relevance: float | None = None
    missing: bool = False
    num_reranked: int = NUM_RERANKED


def chosen_method(name: str | None, *, dsl: bool) -> SearchMethod | None:
    """The correction that was asked for. Raises UsageError for two, or one that one live query cannot have."""
    if dsl and name not in (None, "dsl"):
        raise UsageError(
            f"--dsl with --method {name}", allowed="one correction", to_do="leave one of them out"
        )
    wanted = "dsl" if dsl else name
    return None if wanted is None or wanted == "none" else require_method(wanted)


def require_method(name: str) -> SearchMethod:
    """Raises UsageError for a correction that one live query cannot have."""
    for method in get_args(SearchMethod):
        if method == name:
            return method  # type: ignore[no-any-return]
    raise UsageError(
        f"--method {name} in a search",
        allowed=f"one query alone can be corrected by {', '.join(get_args(SearchMethod))}",
        to_do="choose one of them; the others need all queries at once (`vtr eval`)",
    )
