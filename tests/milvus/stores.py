"""Stores with many little videos, their exact ranking, and servers that do not behave, for the tests of Milvus."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from tests.store.stores import SHA256, make_config, make_record
from vtrcli.searching.filters import Filters, VideoFacts
from vtrcli.searching.frames import FrameSpace
from vtrcli.store.catalog_file import open_catalog
from vtrcli.store.config import create_config
from vtrcli.store.reader import FeatureStore
from vtrcli.store.records import VideoRecord
from vtrcli.store.writer import StoreWriter

DIM = 16
NUM_FRAMES = 5
HOSTILE_PATHS = (
    '/v/quote\'s "double".mp4',
    "/v/back\\slash.mp4",
    "/v/back\\u0041slash.mp4",
    "/v/100%.mp4",
    "/v/under_score.mp4",
    "/v/underXscore.mp4",
    "/v/grün 猫 🎬.mp4",
    "/v/not-utf8-\udcff\udc80.mp4",
    "/v/line\nbreak\ttab\x00.mp4",
    "/v/[ab].mp4",
    "/v/{x}$`'] or true.mp4",
    '/v/"] or id != "".mp4',
    "/v/" + "lang/" * 900 + "e.mp4",
)


def make_records(num_videos: int = 40) -> list[VideoRecord]:
    """Videos that differ in path, length (every seventh unknown), date and size."""
    kinds = ("kitchen/pasta", "garden/my_cat", "kitchen/Tee")
    return [
        make_record(
            f"video-{number}",
            path=f"/home/me/{kinds[number % 3]}{number}.{('mp4', 'mov')[number % 2]}",
            duration_seconds=None if number % 7 == 0 else float(number),
            mtime_ns=1_700_000_000_123_456_789 + number * 1_000_000_000,
            num_bytes=1000 * number,
        )
        for number in range(num_videos)
    ]


def fill(
    path: Path, records: Sequence[VideoRecord], *, seed: int = 0, num_frames: int = NUM_FRAMES
) -> FeatureStore:
    """A store (made, or added to) with random features of these videos."""
    create_config(path, make_config(dim=DIM))
    writer = StoreWriter(path, backbone_sha256=SHA256)
    random = np.random.default_rng(seed)
    for record in records:
        writer.add(record, random.standard_normal((num_frames, DIM)), np.arange(num_frames) / 3 + 0.25)
    writer.flush()
    return FeatureStore(path)


def of_another_backbone(store: FeatureStore) -> FeatureStore:
    backbone = replace(store.config.backbone, sha256="cd" * 32, name="other")
    store.config = replace(store.config, backbone=backbone)
    return store


def query_vector(seed: int = 99) -> np.ndarray:
    vector = np.random.default_rng(seed).standard_normal(DIM).astype(np.float32)
    return vector / np.linalg.norm(vector)


def exact_ranking(
    store: FeatureStore, query: np.ndarray, filters: Filters | None = None
) -> list[tuple[str, float]]:
    """(video id, score) of every video that passes, best first."""
    catalog = open_catalog(store.path)
    records = [store.videos[video_id].record for video_id in catalog.ids.all()]
    scores = FrameSpace(catalog, pooling="max").exact_scores(query, range(len(records)))
    seconds = [record.duration_seconds for record in records]
    mask = (filters or Filters()).mask(
        VideoFacts(
            paths=[record.path for record in records],
            duration_seconds=np.array([np.nan if value is None else value for value in seconds]),
            changed_at=np.array([record.mtime_ns / 1e9 for record in records]),
            num_bytes=np.array([record.num_bytes for record in records]),
        )
    )
    order = np.argsort(-scores, kind="stable")
    return [(records[index].video_id, float(scores[index])) for index in order.tolist() if mask[index]]


@contextlib.contextmanager
def closing_server() -> Iterator[str]:
    """An address that accepts every connection and closes it at once."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    listener.accept()[0].close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


@contextlib.contextmanager
def guarded_server() -> Iterator[str]:
    """A gRPC server that knows no token."""
    from concurrent import futures

    import grpc

    class Guard(grpc.ServerInterceptor):
        def intercept_service(self, continuation, details):
            return grpc.unary_unary_rpc_method_handler(
                lambda request, context: context.abort(grpc.StatusCode.UNAUTHENTICATED, "auth check failure")
            )

    server = grpc.server(futures.ThreadPoolExecutor(1), interceptors=[Guard()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"http://127.0.0.1:{port}"
    server.stop(None).wait()
