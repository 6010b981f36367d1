"""What it costs `vtr search` to show files that are there: 100,000 videos, half of them or all of them gone.

    python benchmarks/search_presence.py --work /tmp/presence [--videos 100000]

Prints the median time of a search with --missing, which looks for the files of its results alone, and of one without.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from vtrcli.searching.query import Query, QueryVectors, SearchSettings
from vtrcli.searching.searcher import Searcher
from vtrcli.store.config import BackboneInfo, StoreConfig, create_config
from vtrcli.store.records import VideoRecord
from vtrcli.store.writer import StoreWriter

DIM, NUM_FOLDERS, NUM_ROUNDS = 64, 100, 9


def main() -> None:
    """Make the stores and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--videos", type=int, default=100_000)
    options = parser.parse_args()
    videos = options.work / "videos"
    for folder in range(NUM_FOLDERS):
        (videos / str(folder)).mkdir(parents=True, exist_ok=True)
    for number in range(0, options.videos, 2):
        (videos / str(number % NUM_FOLDERS) / f"{number}.mp4").write_bytes(b"x")
    cases: dict[str, Callable[[int], str]] = {
        "half of them gone": lambda number: str(videos / str(number % NUM_FOLDERS) / f"{number}.mp4"),
        "all gone": lambda number: str(videos / str(number % NUM_FOLDERS) / f"{number}.gone"),
        "all gone with their folders": lambda number: str(videos / "gone" / str(number % 1000) / f"{number}"),
    }
    for name, path_of in cases.items():
        searcher = made(options.work / name.replace(" ", "-"), options.videos, path_of)
        whole, present = (measured(searcher, missing=missing) for missing in (True, False))
        print(f"{name:30} {whole * 1e3:8.1f} ms with --missing {present * 1e3:8.1f} ms without")


def made(path: Path, num_videos: int, path_of: Callable[[int], str]) -> Searcher:
    """A store of videos with one frame each."""
    tag = BackboneInfo(name="tiny", sha256="ab" * 32, dim=DIM, input_size=32, logit_scale=100.0)
    config = StoreConfig(backbone=tag, sampling={"num_frames": 1}, preprocessing={"resize": "bicubic"})
    if not (path / "store.json").exists():
        create_config(path, config)
        writer = StoreWriter(path, backbone_sha256=tag.sha256)
        features = np.random.default_rng(0).standard_normal((num_videos, 1, DIM)).astype(np.float16)
        for number in range(num_videos):
            writer.add(record(number, path_of(number)), features[number], np.array([0.5]))
        writer.flush()
    return Searcher(path, device="cpu")


def record(number: int, path: str) -> VideoRecord:
    """A video of its own."""
    return VideoRecord(
        video_id=f"v{number}", path=path, num_bytes=1, mtime_ns=1, fingerprint=f"{number:032x}",
        duration_seconds=2.0, width=320, height=240, codec="h264", extracted_at=1.0,
    )  # fmt: skip


def measured(searcher: Searcher, *, missing: bool) -> float:
    """Median seconds of a search, a new query each time."""
    rng, seconds = np.random.default_rng(1), []
    for _ in range(NUM_ROUNDS):
        vector = rng.standard_normal(DIM).astype(np.float32)
        vector /= np.linalg.norm(vector)
        started = time.perf_counter()
        searcher.search(
            Query(text="x"), SearchSettings(missing=missing), vectors=QueryVectors(vector, vector)
        )
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds[1:])


if __name__ == "__main__":
    main()
