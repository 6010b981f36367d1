"""Evaluation speed and memory: ranks in both directions, against the product alone and against sorting.

    python benchmarks/evaluate.py [--size 10000] [--dim 512] [--rounds 3] [--no-sorting] [--json]

Random unit vectors, one correct pair per row. All ways take turns in one process; the best of the rounds counts, and
the processor time of that round stands beside it, which says more on a busy machine. The yardsticks are the product
of all pairs in blocks, nothing else done (the better of two block sizes), and what research code does: the whole
matrix, sorted twice per direction; it is left out above 20,000. Peak memory is that of the process after the
blocked evaluations, inputs and libraries included.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import torch

from vtrcli.ranking.evaluate import evaluate
from vtrcli.ranking.methods import MethodName
from vtrcli.ranking.scores import VectorScores
from vtrcli.ranking.truth import Truth

MAX_SORTED = 20_000
PRODUCT_EDGES = (1024, 2048)


@dataclass(frozen=True)
class Timing:
    """Best wall-clock time of the rounds, and the processor time of that round."""

    name: str
    seconds: float
    cpu_seconds: float


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=10_000, help="texts and videos")
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-sorting", action="store_true", help="leave the sorting yardstick out")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()

    texts, videos = vectors(options.size, options.dim)
    timings = measure(blocked_ways(texts, videos), options.rounds)
    base = min(t.seconds for t in timings if t.name.startswith("product"))
    base_cpu = min(t.cpu_seconds for t in timings if t.name.startswith("product"))
    peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
        1 if sys.platform == "darwin" else 1024
    )
    if options.size <= MAX_SORTED and not options.no_sorting:
        timings += measure({"whole matrix, sorted twice per direction": lambda: by_sorting(texts, videos)}, 1)
    rows = [asdict(t) | {"ratio": t.seconds / base, "cpu_ratio": t.cpu_seconds / base_cpu} for t in timings]
    report = {
        "size": options.size,
        "dim": options.dim,
        "threads": torch.get_num_threads(),
        "peak_bytes": peak_bytes,
        "ways": rows,
    }
    if not options.json:
        print(
            f"\n{options.size} x {options.size} x {options.dim}, {torch.get_num_threads()} threads;", end=" "
        )
        print(f"peak memory {peak_bytes / 2**30:.2f} GB")
        for t, row in zip(timings, rows, strict=True):
            print(
                f"{t.name:42} {t.seconds:9.2f} s {row['ratio']:6.2f} x   cpu {t.cpu_seconds:8.2f} s", end=" "
            )
            print(f"{row['cpu_ratio']:6.2f} x")
    if options.json:
        print(json.dumps(report))


def vectors(size: int, dim: int) -> tuple[np.ndarray, np.ndarray]:
    """Texts and videos float32 [size, dim] of length 1; a text lies near its video, so that ranks vary."""
    generator = np.random.default_rng(0)
    texts = generator.standard_normal((size, dim), dtype=np.float32)
    videos = generator.standard_normal((size, dim), dtype=np.float32)
    videos *= 4
    videos += texts
    for rows in (texts, videos):
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return texts, videos


def blocked_ways(texts: np.ndarray, videos: np.ndarray) -> dict[str, Callable[[], object]]:
    left, right = torch.from_numpy(texts), torch.from_numpy(videos)

    def product(edge: int) -> None:
        for row in range(0, len(left), edge):
            for column in range(0, len(right), edge):
                torch.mm(left[row : row + edge], right[column : column + edge].T)

    source, truth = VectorScores(texts, videos), Truth.diagonal((len(texts), len(videos)))

    def ranks(method: MethodName) -> None:
        evaluate(source, truth, method=method, num_bootstrap=0)

    ways: dict[str, Callable[[], object]] = {
        f"product alone, blocks of {edge}": lambda edge=edge: product(edge)  # type: ignore[misc]
        for edge in PRODUCT_EDGES
    }
    ways["ranks, both directions"] = lambda: ranks("none")
    ways["ranks after dsl, both directions"] = lambda: ranks("dsl")
    return ways


def by_sorting(texts: np.ndarray, videos: np.ndarray) -> tuple[float, float]:
    """Mean ranks of both directions as research code computes them: dense, by two sorts each."""
    scores = texts @ videos.T
    correct = np.arange(len(scores))
    means = []
    for matrix in (scores, scores.T):
        places = np.argsort(np.argsort(-matrix, axis=1), axis=1)
        means.append(float(places[correct, correct].mean()) + 1)
    return means[0], means[1]


def measure(ways: dict[str, Callable[[], object]], rounds: int) -> list[Timing]:
    best: dict[str, Timing] = {}
    for _ in range(rounds):
        for name, way in ways.items():
            start, cpu_start = time.perf_counter(), time.process_time()
            way()
            timing = Timing(name, time.perf_counter() - start, time.process_time() - cpu_start)
            if name not in best or timing.seconds < best[name].seconds:
                best[name] = timing
    return list(best.values())


if __name__ == "__main__":
    main()
