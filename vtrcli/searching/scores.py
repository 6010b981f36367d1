"""Scores of all videos for queries, and the exact best of them, though most are known only to float16's digits.

The products are numkong's: float16 rows, float32 sums, no torch. Two threads read a machine's memory at its full speed
where one reaches two thirds of it. Queries of several threads that come at once share one pass (`Together`).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import numpy as np

from vtrcli.searching.query import QueryVectors
from vtrcli.store.maps import Rows

if TYPE_CHECKING:
    from vtrcli.store.shard import Shard
    from vtrcli.store.texts import TextRows

STRIP_ROWS = 16_384
MAX_THREADS = 8
Block = np.ndarray | Rows
BLOCK = 512
MAX_TOGETHER = 64  # queries of one pass
# So many and more are packed: each row is read once for all of them. Fewer are faster one by one.
MIN_PACKED = 3
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


@dataclass(frozen=True)
class Strip:
    """Neighbouring rows of one block; `first` is the number of the first among the rows of all blocks."""

    block: Block
    rows: slice
    first: int

    @property
    def num_rows(self) -> int:
        """How many rows."""
        return int(self.rows.stop - self.rows.start)


_Strip = TypeVar("_Strip", bound=Strip)
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def products(blocks: Sequence[Block], queries: np.ndarray) -> np.ndarray:
    """float32 [total_rows] or [num_queries, total_rows]: inner products of the rows of all blocks, one block after the
    other, with the query or the queries; the rows are read once.

    Args:
        blocks: float16 [rows, dim] each, C-contiguous; of a file, mapped or not, each strip is taken when its
            turn comes.
        queries: float [dim] or [num_queries, dim]; rounded to float16, see `rounding_error`.
    """
    asked = np.atleast_2d(queries)
    found = np.empty((len(asked), sum(map(len, blocks))), np.float32)

    def keep(strip: Strip, part: np.ndarray) -> None:
        found[:, strip.first : strip.first + part.shape[1]] = part

    scan(_strips(blocks), asked, keep)
    return found if queries.ndim == 2 else found[0]


def scan(strips: Sequence[_Strip], queries: np.ndarray, take: Callable[[_Strip, np.ndarray], None]) -> None:
    """Hand each strip to `take` with its products with the queries, float32 [num_queries, strip_rows].

    A few threads do so side by side, a strip at a time each, so that memory does not grow with the number of rows.

    Args:
        queries: float [num_queries, dim]; rounded to float16.
    """
    import numkong

    half = np.ascontiguousarray(queries, np.float16)
    packed = numkong.dots_pack(half) if len(half) >= MIN_PACKED else None

    def work(task: list[_Strip]) -> None:
        for strip in task:
            rows = strip.block[strip.rows]
            if packed is None:
                part = np.asarray(numkong.cdist(half, rows, metric="dot"))
            else:
                part = np.ascontiguousarray(np.asarray(numkong.dots_packed(rows, packed)).T)
            take(strip, part)

    tasks = _tasks(strips)
    if len(tasks) <= 1:
        for task in tasks:
            work(task)
        return
    with ThreadPoolExecutor(min(os.cpu_count() or 1, MAX_THREADS)) as pool:
        for _ in pool.map(work, tasks):
            pass


def _strips(blocks: Sequence[Block]) -> list[Strip]:
    """All rows in strips."""
    strips, first = [], 0
    for block in blocks:
        for start in range(0, len(block), STRIP_ROWS):
            strips.append(Strip(block, slice(start, min(start + STRIP_ROWS, len(block))), first + start))
        first += len(block)
    return strips


def _tasks(strips: Iterable[_Strip]) -> list[list[_Strip]]:
    """Small strips go together, so that handing a task to a thread costs little beside it."""
    tasks: list[list[_Strip]] = [[]]
    num_rows = 0
    for strip in strips:
        if num_rows >= STRIP_ROWS:
            tasks.append([])
            num_rows = 0
        tasks[-1].append(strip)
        num_rows += strip.num_rows
    return [task for task in tasks if task]


class Together(Generic[_Item, _Result]):
    """Work that several threads want done at the same time: one of them does it for all that wait meanwhile.

    Who comes first begins at once and alone: nobody waits for company. Who comes while that runs is done after it,
    all of them at once, in the order in which they came. So the work is never done on two threads at a time.

    Args:
        work: items -> their results, in their order. Where it raises for several, each is done alone, so that an error
            is the error of one item.
        most: items of one turn.
    """

    def __init__(self, work: Callable[[list[_Item]], Sequence[_Result]], *, most: int = MAX_TOGETHER) -> None:
        self._work, self._most = work, most
        self._lock = threading.Lock()
        self._waiting: list[_Wish[_Item, _Result]] = []
        self._is_running = False

    def __call__(self, item: _Item) -> _Result:
        """The result of one item. Raises what `work` raises for it."""
        wish: _Wish[_Item, _Result] = _Wish(item)
        with self._lock:
            self._waiting.append(wish)
            if not self._is_running:
                self._is_running = True
                wish.woken.set()
        wish.woken.wait()
        if not wish.is_done:  # it is this thread's turn, for itself and for those behind it
            with self._lock:
                turn, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
            try:
                self._do(turn)
            finally:
                self._hand_over(turn)
        return wish.outcome()

    def _do(self, turn: list[_Wish[_Item, _Result]]) -> None:
        try:
            results = self._work([wish.item for wish in turn])
            for wish, result in zip(turn, results, strict=True):
                wish.results.append(result)
        except Exception as error:
            if len(turn) == 1:
                turn[0].error = error
                return
            for wish in turn:
                wish.results.clear()
                self._do([wish])

    def _hand_over(self, turn: list[_Wish[_Item, _Result]]) -> None:
        for wish in turn:
            wish.is_done = True
            wish.woken.set()
        with self._lock:
            self._is_running = bool(self._waiting)
            if self._waiting:
                self._waiting[0].woken.set()


class _Wish(Generic[_Item, _Result]):
    """What a thread waits for; woken when it is done, or when it is the thread's turn to do it."""

    def __init__(self, item: _Item) -> None:
        self.item = item
        self.results: list[_Result] = []  # one, when it is there
        self.error: Exception | None = None
        self.is_done = False
        self.woken = threading.Event()

    def outcome(self) -> _Result:
        if self.error is not None:
            raise self.error
        if not self.results:  # the thread that did it was interrupted
            raise RuntimeError("the work was broken off")
        return self.results[0]


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
