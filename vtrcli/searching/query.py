"""What is searched for: texts, images and places in stored videos, each with its weight; and how it is answered."""

from __future__ import annotations

import difflib
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol, get_args

import numpy as np

from vtrcli.errors import InputError, UsageError
from vtrcli.searching.filters import Filters
from vtrcli.store.catalog import Catalog
from vtrcli.times import clock, parse_seconds

MAX_QUERY_CHARACTERS = 10_000
MAX_WEIGHT = 100.0
# What is taken away counts half: with a whole weight a --not that resembles the query leaves nothing of it
# (docs/experiments.md).
MINUS_WEIGHT = 0.5

Kind = Literal["text", "image", "like"]
SearchMethod = Literal["dsl", "inverted-softmax", "nnn", "csls"]
VideoScore = Literal["max", "mean", "softmax"]


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

    Raises:
        InputError: an empty or oversized text.
        UsageError: no term, only terms that take away, or wrong weights.
    """

    text: str | None = None
    plus: tuple[str, ...] = ()
    minus: tuple[str, ...] = ()
    images: tuple[Path, ...] = ()
    like: tuple[str, ...] = ()
    weights: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        for text in (*([] if self.text is None else [self.text]), *self.plus, *self.minus):
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

    def describe(self) -> str:
        """The query as people would say it; a text alone stands as it is."""
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


@dataclass(frozen=True)
class QueryVectors:
    """A query as float32 [dim] among frames, and as it is ranked by: the same, or float32 [width] in a run's space."""

    clip: np.ndarray
    ranking: np.ndarray
    notes: tuple[str, ...] = ()


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


def split_place(value: str) -> tuple[str, float | None]:
    """`clip.mp4@1:12` -> ("clip.mp4", 72.0); without a time behind an @ the whole is the video's name."""
    name, at, time = value.rpartition("@")
    seconds = parse_seconds(time) if at and name else None
    return (value, None) if seconds is None else (name, seconds)


MAX_NAMES_TO_COMPARE = 20_000


class Places(Protocol):
    """Finds what VIDEO[@SECONDS] names."""

    def frames_at(self, value: str) -> np.ndarray:
        """float [num_frames, dim]: the frame nearest to the time, or all frames of the video. Raises InputError."""


class CatalogPlaces:
    """Places in the videos of stores; those of the first come first."""

    def __init__(self, catalogs: Sequence[Catalog]) -> None:
        self._catalogs = catalogs

    def frames_at(self, value: str) -> np.ndarray:
        """float16 [num_frames, dim]; see `Places`."""
        catalog, video, seconds = self.find(value)
        timestamps = catalog.timestamps(video)
        length = max(catalog.duration(video) or 0.0, float(timestamps[-1]))
        if seconds is not None and seconds > length + 0.5:
            raise InputError(
                f"--like {value}: the video is {clock(length)} long",
                allowed="a time within the video",
                to_do="correct the time behind the @",
            )
        return nearest_frame(catalog.features(video), timestamps, seconds)

    def find(self, value: str) -> tuple[Catalog, int, float | None]:
        """The video that VIDEO[@SECONDS] names, and the time. Raises InputError unless it is one video."""
        name, seconds = split_place(value)
        for wanted, at in ((value, None), (name, seconds)):
            for catalog in self._catalogs:
                matches = _videos_named(catalog, wanted)
                if len(matches) == 1:
                    return catalog, matches[0], at
                if matches:
                    paths = ", ".join(catalog.paths[match] for match in matches[:2])
                    raise _not_one(
                        f"{len(matches)} videos are called {wanted!r}, such as {paths}",
                        "name more of the path",
                    )
        ids = [video_id for catalog in self._catalogs for video_id in catalog.ids[:MAX_NAMES_TO_COMPARE]]
        near = difflib.get_close_matches(name, ids, n=1, cutoff=0.5)
        raise _not_one(
            f"no video {value!r} in store {' or '.join(str(catalog.store) for catalog in self._catalogs)}",
            f"did you mean {near[0]!r}?" if near else "extract it first (`vtr extract`)",
        )


def _not_one(came_in: str, to_do: str) -> InputError:
    return InputError(
        came_in, allowed="--like takes the id, the path or the end of the path of one video", to_do=to_do
    )


def nearest_frame(features: np.ndarray, timestamps: np.ndarray, seconds: float | None) -> np.ndarray:
    """[1, dim]: the frame nearest to a time; all frames for None."""
    if seconds is None:
        return features
    nearest = int(np.argmin(np.abs(timestamps - seconds)))
    return features[nearest : nearest + 1]


def _videos_named(catalog: Catalog, name: str) -> list[int]:
    """By id, else by path, else by the end of a path."""
    if name in catalog.number_of:
        return [catalog.number_of[name]]
    paths = catalog.paths.all()
    absolute = os.path.abspath(name)
    exact = [number for number, path in enumerate(paths) if path == absolute]
    return exact or [number for number, path in enumerate(paths) if path.endswith(f"/{name}")]


TOP_K = 10
PER_VIDEO = 3
POOLING: VideoScore = "max"
# A run ranks whole videos: the moments of so many of its best are then ranked by their frames.
MIN_RUN_SHORTLIST = 50
NUM_RERANKED = 50


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
