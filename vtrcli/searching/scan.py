"""Inner products of one query with every row of mapped float16 blocks, as fast as memory can be read.

The products are numkong's: float16 rows, float32 sums, no torch. Two threads read a machine's memory at its full speed
where one reaches two thirds of it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from vtrcli.store.maps import Rows

STRIP_ROWS = 16_384
MAX_THREADS = 8
Block = np.ndarray | Rows


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
