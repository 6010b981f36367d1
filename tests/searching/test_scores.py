"""The order is that of the exact scores, whatever rounding hid."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vtrcli.searching import scores
from vtrcli.searching.scores import Together, VideoScores, best_videos, kth_largest


@given(sizes=st.lists(st.integers(0, 40), max_size=5), seed=st.integers(0, 1000))
def test_products_are_those_of_all_rows_within_the_stated_error(sizes: list[int], seed: int) -> None:
    generator = np.random.default_rng(seed)
    blocks = [generator.standard_normal((size, 32)) for size in sizes]
    blocks = [(block / np.linalg.norm(block, axis=1, keepdims=True)).astype(np.float16) for block in blocks]
    query = generator.standard_normal(32).astype(np.float32)
    query /= np.linalg.norm(query)
    rows = np.concatenate([np.zeros((0, 32), np.float16), *blocks])
    found = scores.products(blocks, query)
    assert found.shape == (len(rows),) and found.dtype == np.float32
    error = np.abs(found - rows.astype(np.float64) @ query)
    assert (error <= scores.rounding_error(query) * 1.001).all()
    np.testing.assert_allclose(scores.exact_products(rows, query), rows.astype(np.float64) @ query, atol=1e-6)


def test_long_blocks_are_cut_into_strips(monkeypatch) -> None:
    monkeypatch.setattr(scores, "STRIP_ROWS", 7)
    rows = np.random.default_rng(0).standard_normal((50, 8)).astype(np.float16)
    query = np.ones(8, np.float32)
    np.testing.assert_allclose(scores.products([rows, rows], query), np.tile(rows.sum(1), 2), atol=0.05)


@given(
    sizes=st.lists(st.integers(0, 40), max_size=5), num_queries=st.integers(1, 9), seed=st.integers(0, 1000)
)
def test_products_of_many_queries_lie_as_near_as_those_of_each(
    sizes: list[int], num_queries: int, seed: int
) -> None:
    generator = np.random.default_rng(seed)
    blocks = [generator.standard_normal((size, 32)) for size in sizes]
    blocks = [(block / np.linalg.norm(block, axis=1, keepdims=True)).astype(np.float16) for block in blocks]
    queries = generator.standard_normal((num_queries, 32)).astype(np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    rows = np.concatenate([np.zeros((0, 32), np.float16), *blocks])
    found = scores.products(blocks, queries)
    assert found.shape == (num_queries, len(rows)) and found.dtype == np.float32
    for query, row in zip(queries, found, strict=True):
        error = np.abs(row - rows.astype(np.float64) @ query)
        assert (error <= scores.rounding_error(query) * 1.001).all()


class Busy:
    """Work that waits until it is let go, and tells what it was given at a time and whether two threads did it."""

    def __init__(self) -> None:
        self.turns: list[list[int]] = []
        self.begun, self.go = threading.Event(), threading.Event()
        self._alone = threading.Lock()

    def __call__(self, items: list[int]) -> list[int]:
        assert self._alone.acquire(blocking=False), "two threads at once"
        self.turns.append(items)
        self.begun.set()
        assert self.go.wait(10)
        self._alone.release()
        if any(item < 0 for item in items):
            raise ValueError(f"{min(items)} is below 0")
        return [item * item for item in items]


def asked_meanwhile(together: Together[int, int], busy: Busy, items: list[int]) -> list[object]:
    """What threads get that ask for `items`, one after the other, while the first (0) is being done."""

    def asking(item: int) -> object:
        try:
            return together(item)
        except ValueError as error:
            return str(error)

    with ThreadPoolExecutor(len(items) + 1) as pool:
        first = pool.submit(together, 0)
        assert busy.begun.wait(10)
        found = []
        for number, item in enumerate(items, start=1):
            found.append(pool.submit(asking, item))
            while len(together._waiting) < number:
                threading.Event().wait(0.001)
        busy.go.set()
        assert first.result(10) == 0
        return [future.result(10) for future in found]


def test_who_comes_while_work_is_done_is_done_at_once_afterwards_in_order() -> None:
    busy = Busy()
    together = Together(busy, most=3)
    assert asked_meanwhile(together, busy, [1, 2, 3, 4, 5]) == [1, 4, 9, 16, 25]
    assert busy.turns == [[0], [1, 2, 3], [4, 5]]
    assert together(6) == 36 and busy.turns[-1] == [6]  # alone, and at once


def test_an_error_of_one_costs_that_one_alone() -> None:
    busy = Busy()
    found = asked_meanwhile(Together(busy), busy, [1, -2, 3])
    assert found == [1, "-2 is below 0", 9]


def test_an_interrupted_thread_lets_the_others_go_on() -> None:
    def work(items: list[int]) -> list[int]:
        if items == [0]:
            raise KeyboardInterrupt
        return items

    together = Together(work)
    with pytest.raises(KeyboardInterrupt):
        together(0)
    assert together(1) == 1


def rounded(exact: np.ndarray, error: float, seed: int, *, per_video: bool) -> VideoScores:
    shift = np.random.default_rng(seed).uniform(-error, error, len(exact))
    values = (exact + shift * 0.999).astype(np.float32)
    bound = np.full(len(exact), error) if per_video else error
    return VideoScores(values, bound, lambda videos: exact[list(videos)])


@given(
    grid=st.lists(st.integers(0, 30), min_size=1, max_size=40),
    top_k=st.integers(0, 45),
    error=st.sampled_from([1e-6, 0.01, 0.2]),
    seed=st.integers(0, 99),
    per_video=st.booleans(),
)
def test_the_best_are_those_of_a_stable_sort_of_exact_scores(
    grid: list[int], top_k: int, error: float, seed: int, per_video: bool
) -> None:
    exact = np.array(grid, np.float32) / 30
    allowed = np.random.default_rng(seed).random(len(exact)) < 0.8
    videos, scores = best_videos(
        rounded(exact, error, seed, per_video=per_video), top_k=top_k, allowed=allowed
    )
    expected = sorted(np.flatnonzero(allowed).tolist(), key=lambda video: (-exact[video], video))[:top_k]
    assert videos == expected and scores.tolist() == exact[expected].tolist()


@given(seed=st.integers(0, 200))
def test_a_correction_decides_the_order_and_the_plain_scores_are_told(seed: int) -> None:
    generator = np.random.default_rng(seed)
    exact, bias = generator.random(50).astype(np.float32), generator.random(50)
    videos, scores = best_videos(
        rounded(exact, 0.05, seed, per_video=False),
        top_k=5,
        allowed=np.ones(50, bool),
        correct=lambda values, of: 3 * values - bias[of],
    )
    assert videos == np.argsort(-(3 * exact - bias), kind="stable")[:5].tolist()
    assert scores.tolist() == exact[videos].tolist()


def test_only_videos_that_may_be_among_the_best_are_scored_again() -> None:
    exact, asked = np.linspace(0, 1, 1000, dtype=np.float32), []

    def exactly(videos: list[int]) -> np.ndarray:
        asked.extend(videos)
        return exact[videos]

    best_videos(VideoScores(exact, 1e-5, exactly), top_k=10, allowed=np.ones(1000, bool))
    assert len(asked) == 10


@given(
    size=st.integers(1, 30_000), k=st.integers(1, 12), seed=st.integers(0, 99), levels=st.integers(1, 5000)
)
def test_the_kth_largest_is_that_of_a_sort(size: int, k: int, seed: int, levels: int) -> None:
    values = np.random.default_rng(seed).integers(0, levels, size).astype(np.float32)
    k = min(k, size)
    assert kth_largest(values, k) == np.sort(values)[-k]
