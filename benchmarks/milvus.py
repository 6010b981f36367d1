"""Milvus against the exact ranking: how fast a store is pushed into milvus-lite, how fast it is searched, and whether
the ten best are the same.

    python benchmarks/milvus.py [--videos 2000] [--frames 12] [--dim 512] [--milvus http://host:19530]

Prints one JSON object per line.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from vtrcli.milvus.push import push
from vtrcli.milvus.reader import MilvusIndex
from vtrcli.searching.filters import Filters, VideoFacts
from vtrcli.searching.frames import FrameSpace
from vtrcli.store.catalog_file import open_catalog
from vtrcli.store.config import BackboneInfo, StoreConfig, create_config
from vtrcli.store.reader import FeatureStore, unit_rows
from vtrcli.store.records import VideoRecord
from vtrcli.store.writer import StoreWriter

SHA256 = "ab" * 32
NUM_QUERIES = 20


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--videos", type=int, default=2000)
    parser.add_argument("--frames", type=int, default=12)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--milvus", help="a server; a milvus-lite file of its own when left out")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = make_store(Path(folder) / "store", options.videos, options.frames, options.dim)
        measure(store, options.milvus or str(Path(folder) / "vtr.db"))


def measure(store: FeatureStore, uri: str) -> None:
    seconds, _ = timed(lambda: push(store, uri=uri, prefix="vtr_benchmark"))
    num_rows = store.num_frames
    show("push", seconds=seconds, rows=num_rows, rows_per_second=num_rows / seconds)
    seconds, result = timed(lambda: push(store, uri=uri, prefix="vtr_benchmark"))
    show("push again", seconds=seconds, unchanged=result.num_unchanged)
    seconds, index = timed(lambda: MilvusIndex(uri, prefix="vtr_benchmark"))
    show("open", seconds=seconds)
    queries = unit_rows(np.random.default_rng(1).standard_normal((NUM_QUERIES, store.config.backbone.dim)))
    for name, filters in (
        ("search", Filters()),
        ("search, kitchen/* longer than 50 s", Filters(paths=("kitchen/*",), min_duration_seconds=50.0)),
        ("search, a glob that only the client knows", Filters(paths=("clip-*[13579].mp4",))),
    ):
        search(store, index, queries, name, filters)
    best = [video.video_id for video in index.search_frames(queries[0], top_k=10)]
    times = [timed(lambda: index.frames_of(best))[0] for _ in range(5)]
    show("frames of ten videos", median_ms=1000 * statistics.median(times))
    index.close()


def search(store: FeatureStore, index: MilvusIndex, queries: np.ndarray, name: str, filters: Filters) -> None:
    catalog = open_catalog(store.path)
    records = [store.videos[video_id].record for video_id in catalog.ids.all()]
    space = FrameSpace(catalog, pooling="max")
    scores = np.stack([space.exact_scores(query, range(len(records))) for query in queries])
    mask = filters.mask(
        VideoFacts(
            paths=[record.path for record in records],
            duration_seconds=np.array([record.duration_seconds for record in records], float),
            changed_at=np.array([record.mtime_ns / 1e9 for record in records]),
            num_bytes=np.array([record.num_bytes for record in records]),
        )
    )
    ids = np.array([record.video_id for record in records])
    times, shared, largest = [], [], 0.0
    for query, row in zip(queries, np.where(mask, scores, -np.inf), strict=True):
        seconds, found = timed(lambda query=query: index.search_frames(query, top_k=10, filters=filters))
        exact = np.argsort(-row, kind="stable")[:10]
        times.append(seconds)
        shared.append(
            len({video.video_id for video in found} & set(ids[exact].tolist())) / min(10, mask.sum())
        )
        gaps = np.abs(np.array([video.score for video in found]) - row[exact][: len(found)])
        largest = max(largest, float(gaps.max(initial=0.0)))
    show(name, median_ms=1000 * statistics.median(times), same_ten=np.mean(shared), score_error=largest)


def make_store(path: Path, num_videos: int, num_frames: int, dim: int) -> FeatureStore:
    backbone = BackboneInfo(name="synthetic", sha256=SHA256, dim=dim, input_size=224, logit_scale=100.0)
    create_config(path, StoreConfig(backbone=backbone, sampling={}, preprocessing={}))
    writer = StoreWriter(path, backbone_sha256=SHA256)
    random = np.random.default_rng(0)
    for number in range(num_videos):
        folder = ("kitchen", "garden")[number % 2]
        record = VideoRecord(
            video_id=f"clip-{number}",
            path=f"/home/me/{folder}/clip-{number}.mp4",
            num_bytes=1000 + number,
            mtime_ns=1_700_000_000_000_000_000 + number,
            fingerprint=f"{number:032x}",
            duration_seconds=float(number % 100),
            width=320,
            height=240,
            codec="h264",
            extracted_at=0.0,
        )
        # Frames of a video resemble each other.
        features = random.standard_normal((1, dim)) + 0.7 * random.standard_normal((num_frames, dim))
        writer.add(record, features, np.arange(num_frames) + 0.5)
    writer.flush()
    return FeatureStore(path)


def timed(action: Any) -> tuple[float, Any]:
    start = time.perf_counter()
    result = action()
    return time.perf_counter() - start, result


def show(what: str, **figures: float) -> None:
    print(
        json.dumps({"what": what, **{name: round(float(value), 7) for name, value in figures.items()}}),
        flush=True,
    )


if __name__ == "__main__":
    main()
