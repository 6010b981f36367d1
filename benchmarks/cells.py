"""What an inverted file would bring beside exact search: an experiment, not built into vtr.

    python benchmarks/cells.py [--work DIR]      # on the store that search_vectors.py makes

Rows lie in the order of their k-means cells, projected to fewer dimensions (PCA). A query scans the cells nearest to
it, until they hold a share of all rows, and the best of those are scored with the whole vectors.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numkong
import numpy as np
import torch
from search_vectors import TOP_K, make_queries

from vtrcli.searching.scores import products
from vtrcli.searching.searcher import Searcher

NUM_CELLS, ROWS_PER_CELL, NUM_STEPS = 1024, 64, 8
BLOCK_ROWS = 32_768


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "vtr-search-bench")
    parser.add_argument("--queries", type=int, default=100)
    options = parser.parse_args()
    searcher = Searcher(options.work / "store-1000000x1", device="cpu")
    rows = np.concatenate(searcher.catalog.blocks)
    queries = make_queries(searcher, options.queries)
    truth = [set(np.argsort(-products([rows], query))[:TOP_K].tolist()) for query in queries]
    exact = statistics.median(seconds(lambda query: products([rows], query), queries))
    print(f"products with all rows: {exact * 1e3:.1f} ms")
    started = time.perf_counter()
    centres, sample = make_centres(rows)
    order, edges = sort_into_cells(rows, centres)
    print(f"{NUM_CELLS} cells made in {time.perf_counter() - started:.0f} s")
    for dim in (96, 128):
        projection = make_projection(sample, dim)
        small = np.concatenate(
            [project(rows[order[at : at + BLOCK_ROWS]], projection) for at in range(0, len(rows), BLOCK_ROWS)]
        )
        for share, num_scored in ((0.06, 300), (0.1, 300), (0.12, 300), (0.12, 500), (0.15, 500)):
            cells = Cells(rows, small, order, edges, centres, projection, share, num_scored)
            hits = sum(
                len(right & set(cells.best(query))) for right, query in zip(truth, queries, strict=True)
            )
            median = statistics.median(seconds(cells.best, queries))
            print(
                f"{dim} dimensions, {share:.0%} of the rows, {num_scored} scored: recall@10 "
                f"{hits / TOP_K / len(queries):.3f}, {median * 1e3:.2f} ms, {exact / median:.1f} x faster"
            )


def make_centres(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """k-means on a sample: centres float32 [NUM_CELLS, dim], and the sample."""
    generator = np.random.default_rng(0)
    chosen = np.sort(generator.choice(len(rows), NUM_CELLS * ROWS_PER_CELL, replace=False))
    sample = torch.from_numpy(rows[chosen].astype(np.float32))
    centres = sample[torch.from_numpy(generator.permutation(len(sample))[:NUM_CELLS])].clone()
    for _ in range(NUM_STEPS):
        cell = nearest_cell(sample, centres)
        sums = torch.zeros_like(centres).index_add_(0, cell, sample)
        centres = sums / torch.bincount(cell, minlength=NUM_CELLS).clamp(min=1)[:, None]
    return centres.numpy(), sample.numpy()


def nearest_cell(rows: torch.Tensor, centres: torch.Tensor) -> torch.Tensor:
    return (rows @ centres.T - 0.5 * (centres * centres).sum(1)).argmax(1)


def sort_into_cells(rows: np.ndarray, centres: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """int64 [num_rows]: the rows cell by cell; int64 [NUM_CELLS + 1]: where each cell begins."""
    tensor = torch.from_numpy(centres)
    cells = np.concatenate(
        [
            nearest_cell(torch.from_numpy(rows[at : at + BLOCK_ROWS].astype(np.float32)), tensor).numpy()
            for at in range(0, len(rows), BLOCK_ROWS)
        ]
    )
    order = np.argsort(cells, kind="stable")
    return order, np.searchsorted(cells[order], np.arange(NUM_CELLS + 1))


def make_projection(sample: np.ndarray, dim: int) -> np.ndarray:
    """float32 [whole dim, dim]: the directions in which the rows are longest."""
    _, vectors = np.linalg.eigh((sample.T @ sample).astype(np.float64))
    return vectors[:, ::-1][:, :dim].astype(np.float32)


def project(rows: np.ndarray, projection: np.ndarray) -> np.ndarray:
    projected: np.ndarray = (rows.astype(np.float32) @ projection).astype(np.float16)
    return projected


class Cells:
    """One way to search."""

    def __init__(
        self,
        rows: np.ndarray,
        small: np.ndarray,
        order: np.ndarray,
        edges: np.ndarray,
        centres: np.ndarray,
        projection: np.ndarray,
        share: float,
        num_scored: int,
    ) -> None:
        self._rows, self._small, self._order, self._edges = rows, small, order, edges
        self._centres, self._projection = centres, projection
        self._share, self._num_scored = share, num_scored

    def best(self, query: np.ndarray) -> list[int]:
        """Numbers of the rows found best."""
        near = np.argsort(-(self._centres @ query))
        sizes = np.diff(self._edges)
        count = int(np.searchsorted(np.cumsum(sizes[near]), self._share * len(self._rows))) + 1
        cells = np.sort(near[:count])
        half = (query @ self._projection).astype(np.float16)[None]
        scores = np.concatenate(
            [
                np.asarray(
                    numkong.cdist(half, self._small[self._edges[c] : self._edges[c + 1]], metric="dot")
                )[0]
                for c in cells
            ]
        )
        top = np.argpartition(-scores, self._num_scored)[: self._num_scored]
        first = np.concatenate([[0], np.cumsum(sizes[cells])])
        cell = np.searchsorted(first, top, side="right") - 1
        rows = self._order[self._edges[cells[cell]] + top - first[cell]]
        exact = self._rows[rows].astype(np.float32) @ query
        found: list[int] = rows[np.argsort(-exact)[:TOP_K]].tolist()
        return found


def seconds(work: object, queries: np.ndarray) -> list[float]:
    """Of each query."""
    taken = []
    for query in queries:
        started = time.perf_counter()
        work(query)  # type: ignore[operator]
        taken.append(time.perf_counter() - started)
    return taken


if __name__ == "__main__":
    main()
