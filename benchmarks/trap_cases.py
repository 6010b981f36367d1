"""The ten traps of `traps.py`: small matrices, and what is right of them.

R@1 is counted by the definition, in plain loops: a query is a hit by the chance that a right item stands first when
equal scores stand in random order. Scores that are NaN have no answer, and only an error is right.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

Pairs = Sequence[tuple[int, int]]


@dataclass(frozen=True, kw_only=True)
class Case:
    """One question: R@1 of `direction`.

    Attributes:
        scores: [num_texts, num_videos], float16, float32 or float64.
        pairs: (text, video) that belong together.
        listed: bool, as the scores: what the run lists; None: all.
        dsl: with the Dual Softmax Loss on these logits at a temperature of 1.
        right: answers in per cent that the definition allows; empty: only an error is right.
    """

    scores: np.ndarray
    pairs: Pairs
    text_ids: Sequence[str]
    video_ids: Sequence[str]
    direction: Literal["t2v", "v2t"] = "t2v"
    listed: np.ndarray | None = None
    dsl: bool = False
    right: tuple[float, ...] = ()


@dataclass(frozen=True)
class Question:
    """A case as queries and items: `scores` and `is_right` [num_queries, num_items]; `listed` as in `Case`."""

    scores: np.ndarray
    is_right: np.ndarray
    query_ids: Sequence[str]
    item_ids: Sequence[str]
    listed: np.ndarray

    def run(self) -> dict[str, dict[str, float]]:
        """Query -> item -> score, of what is listed; a query without a list is not there."""
        rows = {
            query: {
                self.item_ids[i]: float(self.scores[q, i]) for i in np.flatnonzero(self.listed[q]).tolist()
            }
            for q, query in enumerate(self.query_ids)
        }
        return {query: row for query, row in rows.items() if row}

    def qrels(self) -> dict[str, dict[str, int]]:
        """Query -> right item -> 1."""
        return {
            query: {self.item_ids[i]: 1 for i in np.flatnonzero(self.is_right[q]).tolist()}
            for q, query in enumerate(self.query_ids)
        }

    def matrix(self) -> np.ndarray:
        """The scores, with -inf where nothing is listed."""
        return np.where(self.listed, self.scores, self.scores.dtype.type(-np.inf))


def question(case: Case) -> Question:
    is_right = np.zeros(case.scores.shape, np.bool_)
    is_right[tuple(np.array(case.pairs).T)] = True
    listed = np.ones(case.scores.shape, np.bool_) if case.listed is None else case.listed
    if case.direction == "t2v":
        return Question(case.scores, is_right, case.text_ids, case.video_ids, listed)
    asked = np.any(is_right, axis=0)  # a video without a text is no query
    names = [name for name, is_query in zip(case.video_ids, asked.tolist(), strict=True) if is_query]
    return Question(case.scores.T[asked], is_right.T[asked], names, case.text_ids, listed.T[asked])


# ------------------------------------------------------------------------------------------------ what is right


def by_definition(scores: np.ndarray, is_right: np.ndarray, listed: np.ndarray | None = None) -> float:
    """R@1 in per cent. What is not listed stands below all that is, level with the rest of it."""
    chances = []
    for q in range(len(scores)):
        row = [
            float(score) if listed is None or listed[q, i] else -math.inf for i, score in enumerate(scores[q])
        ]
        first = [i for i, score in enumerate(row) if score == max(row)]
        chances.append(sum(bool(is_right[q, i]) for i in first) / len(first))
    return 100 * math.fsum(chances) / len(chances)


def dual_softmax(logits: np.ndarray) -> np.ndarray:
    """logit x its share among all queries' logits for that item; [num_queries, num_items]."""
    found = np.empty(logits.shape)
    for i in range(logits.shape[1]):
        total = math.fsum(math.exp(float(logit)) for logit in logits[:, i])
        for q in range(logits.shape[0]):
            found[q, i] = float(logits[q, i]) * math.exp(float(logits[q, i])) / total
    return found


def told(scores: np.ndarray, pairs: Pairs, *, prefixes: tuple[str, str] = ("t", "v"), **details: Any) -> Case:
    """A case with ids in order, and what is right of it."""
    ids = [
        [f"{prefix}{i:03d}" for i in range(size)] for prefix, size in zip(prefixes, scores.shape, strict=True)
    ]
    case = Case(scores=scores, pairs=pairs, **({"text_ids": ids[0], "video_ids": ids[1]} | details))
    if not np.isfinite(scores).all():
        return case
    asked = question(case)
    counted = dual_softmax(asked.scores) if case.dsl else asked.scores
    answers = {by_definition(counted, asked.is_right, asked.listed)}
    has_list = asked.listed.any(axis=1)
    if not has_list.all():  # a query that found nothing: a miss, or at chance; both are in use
        part = by_definition(counted[has_list], asked.is_right[has_list], asked.listed[has_list])
        answers.add(part * float(has_list.mean()))
    return replace(case, right=tuple(sorted(answers)))


# ---------------------------------------------------------------------------------------------------- the traps


def constant_scores() -> tuple[Case, ...]:
    """As many texts as videos, then half as many: who goes by order is right by luck in the first."""
    whole, half = np.full((20, 20), 0.3, np.float32), np.full((10, 20), 0.3, np.float32)
    return told(whole, diagonal(20)), told(half, diagonal(10))


def nan() -> tuple[Case, ...]:
    """On the diagonal, where every right answer is NaN, and off it."""
    on, off = perfect(20), perfect(20)
    np.fill_diagonal(on, np.nan)
    off[3, 7] = off[11, 2] = np.nan
    return told(on, diagonal(20)), told(off, diagonal(20))


def all_negative() -> tuple[Case, ...]:
    """A perfect ranking by negative cosines."""
    scores = -0.5 - np.abs(cosines(20))
    np.fill_diagonal(scores, -0.1)
    return (told(scores, diagonal(20)),)


def duplicate_videos() -> tuple[Case, ...]:
    """Three of ten videos lie in the gallery twice, and the copies, with ids of their own, are no right answers. The
    copies' ids are the last, then the first."""
    scores = perfect(10)
    last, first = (
        np.concatenate(parts, axis=1) for parts in ((scores, scores[:, :3]), (scores[:, :3], scores))
    )
    return told(last, diagonal(10)), told(first, [(i, i + 3) for i in range(10)])


def renamed_ids() -> tuple[Case, ...]:
    """Three of ten texts score a wrong video as the right one. The second case is the first with the ids in reverse
    order: a collection that lists itself by id is then turned around, too."""
    scores = perfect(10)
    for text in (1, 4, 6):
        scores[text, text + 2] = scores[text, text]
    return told(scores, diagonal(10)), told(scores[::-1, ::-1].copy(), diagonal(10))


def several_captions() -> tuple[Case, ...]:
    """Videos with one to five captions; a video's captions differ in quality. Text to video, then video to text."""
    video_of_text = np.repeat(np.arange(6), [1, 2, 5, 1, 3, 2])
    scores = cosines(6, rows=len(video_of_text))
    texts = np.arange(len(video_of_text))
    scores[texts[::2], video_of_text[::2]] = 0.9 - texts[::2] / 100
    pairs = [(int(text), int(video)) for text, video in enumerate(video_of_text)]
    return told(scores, pairs), told(scores, pairs, direction="v2t")


def wrong_dsl_axis() -> tuple[Case, ...]:
    """Text to video the prior runs over texts, video to text over videos: two corrected matrices, not one."""
    generator = np.random.default_rng(4)
    logits = (
        generator.uniform(1, 4, (20, 20)) + generator.uniform(0, 2, 20) + generator.uniform(0, 2, (20, 1))
    )
    np.fill_diagonal(logits, np.diag(logits) + 1.0)
    return told(logits, diagonal(20), dsl=True), told(logits, diagonal(20), dsl=True, direction="v2t")


def truncated_run() -> tuple[Case, ...]:
    """The three best of twenty videos; three texts do not list theirs, and one text found nothing at all."""
    scores = perfect(10, columns=20)
    for text in (0, 3, 8):
        scores[text, text] = -1
    listed = np.argsort(np.argsort(-scores, axis=1), axis=1) < 3
    listed[5] = False
    return (told(scores, diagonal(10), listed=listed),)


def float16_ties() -> tuple[Case, ...]:
    """Cosines about 0.8 that differ in the fourth place, kept in half precision."""
    generator = np.random.default_rng(1)
    scores = 0.8 + generator.uniform(0, 0.004, (30, 30))
    np.fill_diagonal(scores, 0.8037)
    return (told(scores.astype(np.float16), diagonal(30)),)


def several_videos() -> tuple[Case, ...]:
    """Texts that describe two or three videos: any of them is right, and each text counts once."""
    pairs = [(0, 0), (0, 1), (0, 2), (1, 3), (2, 4), (2, 5), (3, 6), (4, 7), (4, 8), (4, 9)]
    scores = cosines(10, rows=5)
    for place, (text, video) in enumerate(pairs):
        scores[text, video] = 0.9 - place / 100
    scores[3, 0] = 0.95  # one miss
    return (told(scores, pairs),)


def diagonal(size: int) -> Pairs:
    return [(i, i) for i in range(size)]


def cosines(columns: int, *, rows: int | None = None) -> np.ndarray:
    """Small cosines of both signs, none of them twice; float32."""
    return np.random.default_rng(0).uniform(-0.3, 0.3, (rows or columns, columns)).astype(np.float32)


def perfect(rows: int, *, columns: int | None = None) -> np.ndarray:
    """Cosines with the right answers first."""
    scores = cosines(columns or rows, rows=rows)
    np.fill_diagonal(scores, 0.9 - np.arange(rows, dtype=np.float32) / 100)
    return scores


TRAPS: dict[str, Callable[[], tuple[Case, ...]]] = {
    "constant scores": constant_scores,
    "NaN on, off diag": nan,
    "all negative": all_negative,
    "duplicate videos": duplicate_videos,
    "renamed ids": renamed_ids,
    "several captions": several_captions,
    "wrong DSL axis": wrong_dsl_axis,
    "truncated run": truncated_run,
    "float16 ties": float16_ties,
    "several videos": several_videos,
}
