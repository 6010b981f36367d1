"""The demo: make the corpus, extract it, train on it, and say how well videos are found. Behind `vtr demo`."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vtrcli.demo.corpus import DEFAULT_NUM_VIDEOS, DemoClip, write_corpus
from vtrcli.evaluation.evaluate import EvaluationInputs
from vtrcli.evaluation.inputs import from_store
from vtrcli.extraction.extract import ExtractResult, Progress, extract
from vtrcli.model.backbone import DEMO_NAME
from vtrcli.model.runs import CONFIG, LAST, read_config
from vtrcli.model.train_settings import TrainSettings, recipe_settings
from vtrcli.ranking.evaluate import evaluate
from vtrcli.ranking.metrics import DirectionMetrics
from vtrcli.training.record import Display, TrainResult
from vtrcli.training.train import train
from vtrcli.video.sampling import Uniform

NUM_FRAMES = 12
DATASET = "csv"
RECIPE = "demo"
RUNS = "runs"


@dataclass(frozen=True)
class Finding:
    """How well one model finds the test clips by their captions. `order_accuracy` in per cent; chance is 50."""

    model: str
    t2v: DirectionMetrics
    order_accuracy: float


@dataclass(frozen=True)
class DemoReport:
    """What the demo made and found."""

    folder: Path
    num_videos: int
    num_test: int
    corpus_seconds: float
    extraction: ExtractResult
    training: TrainResult
    findings: list[Finding]
    queries: list[str]


@dataclass(frozen=True)
class DemoDisplay:
    """How a caller watches the demo."""

    step: Callable[[str], None] = lambda text: None
    progress: Callable[[int, int, str], None] = lambda num_done, total, unit: None


def run_demo(
    folder: Path,
    *,
    num_videos: int = DEFAULT_NUM_VIDEOS,
    epochs: int | None = None,
    num_workers: int = 2,
    display: DemoDisplay | None = None,
) -> DemoReport:
    """Make (or go on with) corpus, store and run in `folder`, then measure on the test split, zero-shot and trained.

    Raises:
        InputError, StoreError, WeightsError: the folder holds something else, or cannot be written.
    """
    display = display or DemoDisplay()
    started = time.monotonic()
    display.step(f"drawing {num_videos} clips")
    clips = write_corpus(
        folder,
        num_videos=num_videos,
        num_workers=num_workers,
        progress=lambda num_done, total: display.progress(num_done, total, "clips"),
    )
    corpus_seconds = time.monotonic() - started
    display.step("extracting their features")
    extraction = extract_clips(folder, num_workers=num_workers, display=display)
    display.step("training CAMoE on them")
    training = train_on_clips(folder, epochs=epochs, display=display)
    display.step("searching")
    test = [clip for clip in clips if clip.split == "test"]
    findings = [
        find("CLIP, mean of frames", split_inputs(folder, run=None), test),
        find("CAMoE, trained", split_inputs(folder, run=training.run), test),
    ]
    return DemoReport(
        folder, len(clips), len(test), corpus_seconds, extraction, training, findings, pick_queries(test)
    )


def extract_clips(folder: Path, *, num_workers: int, display: DemoDisplay) -> ExtractResult:
    """The store of the corpus, with kept frames."""

    def advance(progress: Progress) -> None:
        display.progress(progress.num_done, progress.num_videos, "videos")

    return extract(
        [folder / "videos"],
        store=folder / "store",
        backbone=DEMO_NAME,
        device="cpu",
        sampling=Uniform(num_frames=NUM_FRAMES),
        keep_frames=True,
        num_workers=num_workers,
        on_progress=advance,
    )


def train_on_clips(folder: Path, *, epochs: int | None, display: DemoDisplay) -> TrainResult:
    """The run of the demo's recipe; a run that is there already is gone on with, which costs nothing if it is done."""
    settings = recipe_settings(RECIPE, {} if epochs is None else {"epochs": epochs})
    out, resume = choose_run(folder, settings)
    return train(
        store=folder / "store",
        dataset=DATASET,
        annotations=folder,
        out=out,
        settings=settings,
        recipe=RECIPE,
        device="cpu",
        resume=resume,
        display=Display(
            cache_progress=lambda num_done, total: display.progress(num_done, total, "captions"),
            step=lambda step, num_steps, loss: display.progress(step, num_steps, "steps"),
        ),
    )


def choose_run(folder: Path, settings: TrainSettings) -> tuple[Path, bool]:
    """runs/demo, or demo-2, demo-3 …: the first that can be gone on with (True) or begun (False).

    A run of other settings is left alone, and so is one that was stopped before it saved anything.

    Raises:
        WeightsError: a run is damaged.
    """
    for number in itertools.count(1):
        run = folder / RUNS / (RECIPE if number == 1 else f"{RECIPE}-{number}")
        if not (run / CONFIG).exists():
            break
        if (run / LAST).exists() and read_config(run).settings == settings:
            return run, True
    return run, False


def split_inputs(folder: Path, *, run: Path | None) -> EvaluationInputs:
    """The test split through a run, or zero-shot."""
    return from_store(
        folder / "store", run=run, dataset=DATASET, annotations=folder, split="test", device="cpu"
    )


def find(model: str, inputs: EvaluationInputs, clips: Sequence[DemoClip]) -> Finding:
    """Metrics of one model on the test split."""
    result = evaluate(inputs.source, inputs.truth, num_bootstrap=0)
    num_texts, num_videos = inputs.source.shape
    similarity = inputs.source.block(slice(0, num_texts), slice(0, num_videos))
    pair_of = {clip.video_id: clip.order_pair for clip in clips}
    column = {video_id: number for number, video_id in enumerate(inputs.video_ids)}
    pairs = [pair_of.get(video_id) for video_id in inputs.video_ids]
    pair_column = np.array([-1 if pair is None else column.get(pair, -1) for pair in pairs])
    return Finding(model, result.t2v, order_accuracy(similarity, inputs.truth.video_index, pair_column))


def order_accuracy(similarity: np.ndarray, video_of_text: np.ndarray, pair_of_video: np.ndarray) -> float:
    """Per cent of the captions that prefer their clip to the clip with the same frames reversed; a tie is half.

    Args:
        similarity: float [num_texts, num_videos].
        video_of_text: int [num_texts].
        pair_of_video: int [num_videos], -1 where a video has no such twin.
    """
    rows = np.flatnonzero(pair_of_video[video_of_text] >= 0)
    own = similarity[rows, video_of_text[rows]]
    other = similarity[rows, pair_of_video[video_of_text[rows]]]
    return 50.0 + 50.0 * float(np.mean(np.sign(own - other))) if len(rows) else 50.0


def pick_queries(clips: Sequence[DemoClip], *, num_queries: int = 3) -> list[str]:
    """Captions of different categories, for a person to try; search does not see order, so none of an order pair."""
    single = [clip for clip in clips if clip.order_pair is None] or clips
    by_category = {clip.category: clip.caption for clip in single}
    return list(by_category.values())[:num_queries]
