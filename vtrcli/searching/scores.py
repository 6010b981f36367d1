"""Scores of all videos for one query, and the exact best of them, though most are known only to float16's digits.

The products are numkong's: float16 rows, float32 sums, no torch. Two threads read a machine's memory at its full speed
where one reaches two thirds of it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from vtrcli.searching.query import QueryVectors
from vtrcli.store.maps import Rows
from vtrcli.store.shard import Shard
from vtrcli.store.texts import TextRows

STRIP_ROWS = 16_384
MAX_THREADS = 8
Block = np.ndarray | Rows
BLOCK = 512
# Scores [n] of videos [n] -> what they are ranked by; must not fall where the score rises.
Correct = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class VideoScores:
    """Scores of all current videos for one query.

    Attributes:
        values: float32 [num_videos].
        error: float32 [num_videos] or one number: no value lies further from the exact score.
        exact: numbers of some videos -> their exact scores, float32.
    """

    values: np.ndarray
    error: np.ndarray | float
    exact: Callable[[Sequence[int]], np.ndarray]


class Space(Protocol):
    """What Searcher needs of a way to score videos. `key` names it and all it depends on, for derived files."""

    @property
    def key(self) -> str:
        """Part of a folder's name."""

    @property
    def logit_scale(self) -> float:
        """What scores are multiplied by before a softmax."""

    def vector(self, query: QueryVectors) -> np.ndarray:
        """A query as a vector of this space."""

    def score(self, query: np.ndarray) -> VideoScores:
        """Scores for a query vector of this space."""

    def bank_vectors(self, rows: TextRows) -> np.ndarray:
        """float32 [num_texts, width]: captions as query vectors of this space."""

    def score_part(self, shard: Shard, videos: slice, queries: np.ndarray) -> np.ndarray:
        """float32 [num_videos, num_queries]: scores of some videos of a shard, by their positions in it."""

    def exact_scores(self, query: np.ndarray, videos: Sequence[int]) -> np.ndarray:
        """float32 [num_videos] of some videos."""


def products(blocks: Sequence[Block], query: np.ndarray) -> np.ndarray:
    """float32 [total_rows]: inner products of the rows of all blocks, one block after the other, with the query.

    Args:
        blocks: float16 [rows, dim] each, C-contiguous; of a file, mapped or not, each strip is taken when its
            turn comes.
        query: float [dim]; rounded to float16, see `rounding_error`.
    """
    import numkong

    half = query.astype(np.float16)[None]
    found = np.empty(sum(map(len, blocks)), np.float32)

    def work(strips: list[tuple[int, Block, slice]]) -> None:
        for first, block, rows in strips:
            strip = block[rows]
            found[first : first + len(strip)] = np.asarray(numkong.cdist(half, strip, metric="dot"))[0]

    tasks = _tasks(blocks)
    if len(tasks) <= 1:
        for task in tasks:
            work(task)
        return found
    with ThreadPoolExecutor(min(os.cpu_count() or 1, MAX_THREADS)) as pool:
        for _ in pool.map(work, tasks):
            pass
    return found


def _tasks(blocks: Sequence[Block]) -> list[list[tuple[int, Block, slice]]]:
    """(first row among all, block, its rows) of strips; large blocks are cut, small ones go together, so that handing
    a task to a thread costs little beside it."""
    tasks: list[list[tuple[int, Block, slice]]] = [[]]
    num_rows = first = 0
    for block in blocks:
        for start in range(0, len(block), STRIP_ROWS):
            if num_rows >= STRIP_ROWS:
                tasks.append([])
                num_rows = 0
            stop = min(start + STRIP_ROWS, len(block))
            tasks[-1].append((first + start, block, slice(start, stop)))
            num_rows += stop - start
        first += len(block)
    return [task for task in tasks if task]


def rounding_error(query: np.ndarray) -> float:
    """How far a product with a row of length 1 may lie from that with the query itself: float16 has 11 binary digits.

    Cauchy-Schwarz on what rounding took away, and a little for the sums.
    """
    exact = query.astype(np.float64)
    return float(np.linalg.norm(exact - query.astype(np.float16).astype(np.float64))) + 2e-6


def exact_products(rows: np.ndarray, query: np.ndarray) -> np.ndarray:
    """float32 [num_rows] for a few rows: the query keeps all its digits."""
    products: np.ndarray = rows.astype(np.float32) @ query.astype(np.float32)
    return products


def best_videos(
    scores: VideoScores, *, top_k: int, allowed: np.ndarray, correct: Correct | None = None
) -> tuple[list[int], np.ndarray]:
    """The best `top_k` videos that pass, best first, and their exact scores; equal ones in the order of the videos.

    Only videos that can be among the best, whatever float16 hid, are scored once more: those whose highest possible
    value reaches the `top_k`-th of the lowest possible ones.

    Args:
        allowed: bool [num_videos], the videos that pass.
        correct: what to rank by; None for the scores themselves.
    """
    top_k = min(top_k, int(np.count_nonzero(allowed)))
    if top_k <= 0:
        return [], np.zeros(0, np.float32)
    if correct is None and isinstance(scores.error, float):
        values = scores.values if allowed.all() else np.where(allowed, scores.values, -np.inf)
        close = np.flatnonzero(values >= kth_largest(values, top_k) - 2 * scores.error)
    else:
        candidates = np.flatnonzero(allowed)
        values = scores.values[candidates]
        error = scores.error if isinstance(scores.error, float) else scores.error[candidates]
        bounds = (values - error, values + error)
        lowest, highest = (correct(bound, candidates) if correct else bound for bound in bounds)
        close = candidates[highest >= kth_largest(lowest, top_k)]
    exact = scores.exact(close.tolist())
    order = np.argsort(-(correct(exact, close) if correct else exact), kind="stable")[:top_k]
    return close[order].tolist(), exact[order]


def kth_largest(values: np.ndarray, k: int) -> float:
    """The k-th largest of float [n]; NumPy's partition of so many takes ten times as long.

    The k-th largest of the maxima of blocks is a lower bound of it, and few values reach that.
    """
    if len(values) > 4 * BLOCK * k:
        whole = len(values) // BLOCK * BLOCK
        maxima = values[:whole].reshape(-1, BLOCK).max(axis=1)
        bound = np.partition(maxima, len(maxima) - k)[len(maxima) - k]
        values = values[values >= bound]
    return float(np.partition(values, len(values) - k)[len(values) - k])
