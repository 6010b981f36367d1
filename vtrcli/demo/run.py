"""The demo: make the corpus, extract it, search it, and say how well that went. The use case behind `vtr demo`."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vtrcli.demo.corpus import DEFAULT_NUM_VIDEOS, DemoClip, write_corpus
from vtrcli.extraction.run import ExtractResult, Progress, extract
from vtrcli.model.backbone import Backbone, load_backbone
from vtrcli.model.weight_sources import DEMO_NAME
from vtrcli.retrieval.frame_scores import VideoScore, score_videos
from vtrcli.store.reader import FeatureStore
from vtrcli.video.sampling import Sampling

NUM_FRAMES = 12
RECALL_AT = (1, 5, 10)


@dataclass(frozen=True)
class ZeroShot:
    """How well one way of pooling frames finds the test clips by their captions; percentages."""

    pooling: VideoScore
    recall: dict[int, float]
    median_rank: float
    order_accuracy: float


@dataclass(frozen=True)
class DemoReport:
    """What the demo made and found. Chance is 100 k / num_test for R@k, 50 % for the order of frames."""

    folder: Path
    num_videos: int
    num_test: int
    corpus_seconds: float
    extraction: ExtractResult
    zero_shot: list[ZeroShot]
    queries: list[str]


def run_demo(
    folder: Path,
    *,
    num_videos: int = DEFAULT_NUM_VIDEOS,
    num_workers: int = 2,
    on_step: Callable[[str], None] = lambda text: None,
    on_progress: Callable[[int, int], None] = lambda num_done, total: None,
) -> DemoReport:
    """Make (or go on with) the corpus and the store in `folder`, then measure zero-shot retrieval on its test split.

    Raises:
        InputError, StoreError: the folder holds something else, or cannot be written.
    """
    started = time.monotonic()
    on_step(f"drawing {num_videos} clips")
    clips = write_corpus(folder, num_videos=num_videos, num_workers=num_workers, progress=on_progress)
    corpus_seconds = time.monotonic() - started
    on_step("extracting their features")

    def advance(progress: Progress) -> None:
        on_progress(progress.num_done, progress.num_videos)

    extraction = extract(
        [folder / "videos"],
        store=folder / "store",
        backbone=DEMO_NAME,
        device="cpu",
        sampling=Sampling(num_frames=NUM_FRAMES),
        keep_frames=True,
        num_workers=num_workers,
        on_progress=advance,
    )
    on_step("searching")
    test = [clip for clip in clips if clip.split == "test"]
    backbone = load_backbone(DEMO_NAME, device="cpu", towers="text")
    zero_shot = measure_zero_shot(folder / "store", backbone, test)
    return DemoReport(
        folder, len(clips), len(test), corpus_seconds, extraction, zero_shot, pick_queries(test)
    )


def measure_zero_shot(store: Path, backbone: Backbone, clips: Sequence[DemoClip]) -> list[ZeroShot]:
    """Rank the given clips by their first captions, among themselves, with both ways of pooling."""
    opened = FeatureStore(store)
    texts = backbone.encode_texts([clip.caption for clip in clips]).features
    measured = []
    for pooling in ("mean", "max"):
        videos, scores = score_videos(opened, texts, pooling=pooling)  # type: ignore[arg-type]
        column = {at.record.video_id: number for number, at in enumerate(videos)}
        similarity = scores[:, [column[clip.video_id] for clip in clips]]
        truth = np.diag(similarity)[:, None]
        # Ties count half, so that frames in another order, which score the same, are no success.
        ranks = 1 + (similarity > truth).sum(axis=1) + ((similarity == truth).sum(axis=1) - 1) / 2
        recall = {k: 100 * float(np.mean(ranks <= k)) for k in RECALL_AT}
        order = measure_order(similarity, clips)
        measured.append(ZeroShot(pooling, recall, float(np.median(ranks)), order))  # type: ignore[arg-type]
    return measured


def measure_order(similarity: np.ndarray, clips: Sequence[DemoClip]) -> float:
    """Per cent of the clips in order pairs whose caption prefers the clip to its reversed twin; a tie is half."""
    row = {clip.video_id: number for number, clip in enumerate(clips)}
    wins = [
        0.5
        + 0.5
        * float(
            np.sign(
                similarity[row[clip.video_id], row[clip.video_id]]
                - similarity[row[clip.video_id], row[clip.order_pair]]
            )
        )
        for clip in clips
        if clip.order_pair in row and clip.order_pair is not None
    ]
    return 100 * float(np.mean(wins)) if wins else 50.0


def pick_queries(clips: Sequence[DemoClip], *, num_queries: int = 3) -> list[str]:
    """Captions of different categories, for a person to try."""
    by_category = {clip.category: clip.caption for clip in clips}
    return list(by_category.values())[:num_queries]
