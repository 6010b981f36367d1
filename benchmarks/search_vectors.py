"""One query over a large store, in one process: videos and moments; time against reading the memory once.

    python benchmarks/search_vectors.py --videos 1000000 --frames 1          # 1 million vectors
    python benchmarks/search_vectors.py --frames 12 --moments --tiled        # 12 million, and moments

Made-up features (benchmarks/synthetic.py): rows lie around their videos, queries point from elsewhere, as texts do. The
store and its catalogue are made once below --work. Everything is what `vtr search` runs, without the text tower. With
--tiled 16,384 videos come again and again: only time counts. "read once" is the largest of the same mapped bytes.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from extract import make_weights
from synthetic import Maker, write_store

from vtrcli.model.families import backbone_info
from vtrcli.searching.presence import Presence
from vtrcli.searching.query import QueryVectors, SearchSettings
from vtrcli.searching.scores import products
from vtrcli.searching.searcher import Searcher

TOP_K = 10
T = TypeVar("T")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--videos", type=int, default=1_000_000)
    parser.add_argument("--frames", type=int, default=1)
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--moments", action="store_true")
    parser.add_argument("--tiled", action="store_true")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "vtr-search-bench")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    info = backbone_info(str(make_weights(options.work / "vit-b-32.safetensors")))
    store = options.work / f"store-{options.videos}x{options.frames}{'-tiled' if options.tiled else ''}"
    distinct = 16_384 if options.tiled else None
    write_store(store, info, num_videos=options.videos, num_frames=options.frames, num_distinct=distinct)
    searcher = timed("opening the store", lambda: Searcher(store, device="cpu", on_progress=on_progress))
    queries = make_queries(searcher, options.queries)
    print(f"{options.videos:,} videos, {len(searcher.catalog['inverse_norms']):,} frames; {memory()}")
    base = measure_read(searcher, options.rounds)
    scan = measure(lambda: products(searcher.catalog.blocks, queries[0]), options.rounds)
    report("products with every frame", scan, base)
    found = [best(searcher, query) for query in queries[: options.rounds]]
    report("the 10 best videos", found, base)
    if options.moments:
        found = [moments(searcher, query) for query in queries[: options.rounds]]
        report("the 10 best moments", found, base)
    print(memory())


def make_queries(searcher: Searcher, num_queries: int) -> np.ndarray:
    targets = np.random.default_rng(3).choice(searcher.catalog.num_videos, num_queries, replace=False)
    rows = np.stack([searcher.catalog.features(int(video))[0] for video in targets])
    return Maker(seed=9).queries(rows)


def best(searcher: Searcher, query: np.ndarray) -> float:
    """Seconds for the 10 best videos."""
    allowed = np.ones(searcher.catalog.num_videos, bool)
    started = time.perf_counter()
    presence = Presence(searcher.catalog, show_missing=True)
    searcher.finder.best(QueryVectors(query, query), allowed, SearchSettings(), presence, top_k=TOP_K)
    return time.perf_counter() - started


def moments(searcher: Searcher, query: np.ndarray) -> float:
    """Seconds for the best moments of the best videos."""
    started = time.perf_counter()
    allowed = np.ones(searcher.catalog.num_videos, bool)
    presence = Presence(searcher.catalog, show_missing=True)
    videos, _ = searcher.finder.best(
        QueryVectors(query, query), allowed, SearchSettings(), presence, top_k=TOP_K
    )
    for video in videos:
        searcher.moments(video, query)
    return time.perf_counter() - started


def measure_read(searcher: Searcher, num_rounds: int) -> float:
    """Median seconds to read every feature once: the largest of their bytes, eight at a time."""
    tensors = [readable(np.asarray(block)) for block in searcher.catalog.blocks]
    seconds = measure(lambda: [tensor.max() for tensor in tensors], num_rounds)
    print(f"{'read once':44} median {statistics.median(seconds) * 1e3:8.1f} ms")
    return statistics.median(seconds)


def readable(block: np.ndarray) -> torch.Tensor:
    """The block's memory as a tensor; torch warns of memory that must not be written, which nobody does here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.from_numpy(block.reshape(-1).view(np.int64))


def measure(work: Callable[[], object], num_rounds: int) -> list[float]:
    work()
    seconds = []
    for _ in range(num_rounds):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return seconds


def timed(name: str, work: Callable[[], T]) -> T:
    started = time.perf_counter()
    result = work()
    print(f"{name}: {time.perf_counter() - started:.1f} s", flush=True)
    return result


def report(name: str, seconds: list[float], base: float) -> None:
    median = statistics.median(seconds)
    print(
        f"{name:44} median {median * 1e3:8.1f} ms   min {min(seconds) * 1e3:8.1f} ms   {median / base:6.2f} x reading"
    )


def on_progress(num_done: int, total: int) -> None:
    if num_done % (1 << 17) == 0:
        print(f"  {num_done:,} of {total:,}", file=sys.stderr, flush=True)


def memory() -> str:
    """Resident memory of this process: its own, and what is only mapped (which the system takes back at need)."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return "memory: not known on this system"
    values = {line.split(":")[0]: int(line.split()[1]) for line in lines if line.startswith("Rss")}
    return f"memory: {values['RssAnon'] / 1e6:.2f} GB of its own, {values['RssFile'] / 1e6:.2f} GB mapped"


if __name__ == "__main__":
    main()
