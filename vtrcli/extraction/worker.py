"""What every process does that works at an extraction: from jobs to rows in the store, or why there are none."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from pathlib import Path

from vtrcli.errors import VideoError
from vtrcli.extraction.pipeline import DecodeSettings, FailedVideo, FinishedVideo, Job, run_pipeline
from vtrcli.model.backbone import Precision, choose_device, default_batch_size, fast_precisions
from vtrcli.model.families import load_backbone
from vtrcli.model.frame_batches import lanes_of
from vtrcli.store.config import StoreConfig
from vtrcli.store.reader import FeatureStore
from vtrcli.store.records import VideoRecord
from vtrcli.store.writer import StoreWriter
from vtrcli.video.files import VideoInfo
from vtrcli.video.hardware import require_gpu_decoding


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """What a process must know to take part. `batch_size`: None for that of the device. `usual_precision`: that of most
    videos of the store; None where there are none."""

    store: Path
    config: StoreConfig
    backbone: str
    device: str
    precision: Precision
    decoding: DecodeSettings
    batch_size: int | None
    usual_precision: str | None


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How one job ended, in a few bytes that go from process to process. `error`: why nothing was written;
    `left_to_cpu`: why a card that was asked for did not decode it."""

    job: Job
    num_frames: int = 0
    num_repeated: int = 0  # of these, those that share the feature of one before
    precision: str | None = None
    warnings: tuple[str, ...] = ()
    left_to_cpu: str | None = None
    error: VideoError | None = None


class Keeper:
    """Writes the videos of one process.

    Args:
        root_names: names in the store of the worklist's new roots; asked before the first row that names one.
    """

    def __init__(self, store: Path, config: StoreConfig, root_names: Callable[[], Mapping[str, str]]) -> None:
        self.writer = StoreWriter(store, backbone_sha256=config.backbone.sha256, config=config)
        self._root_names = root_names

    def keep(self, video: FinishedVideo | FailedVideo, precision: str) -> Outcome:
        """Hand a finished video to the writer, unless its file changed or its features cannot be used."""
        job = video.job
        if isinstance(video, FailedVideo):
            return Outcome(job=job, error=video.error)
        record = self.record(job, video.info, video.content, video.warnings, precision)
        try:
            require_unchanged(job)
            self.writer.add(record, video.features, video.timestamps, jpegs=video.jpegs)
        except VideoError as error:
            return Outcome(job=job, error=error)
        return Outcome(
            job=job,
            num_frames=len(video.features),
            num_repeated=len(video.features) - video.num_encoded,
            precision=precision,
            warnings=video.warnings,
            left_to_cpu=video.left_to_cpu,
        )

    def record(
        self,
        job: Job,
        about: VideoRecord | VideoInfo,
        content: str | None,
        warnings: tuple[str, ...],
        precision: str | None,
    ) -> VideoRecord:
        """The store's record of a file that is done now. `about`: the decoder's word on the picture, or an earlier
        record of the same content."""
        names = self._root_names()
        return VideoRecord(
            video_id=job.video_id,
            path=str(job.path),
            num_bytes=job.state.num_bytes,
            mtime_ns=job.state.mtime_ns,
            fingerprint=job.state.fingerprint,
            duration_seconds=about.duration_seconds,
            width=about.width,
            height=about.height,
            codec=about.codec,
            extracted_at=time.time(),
            warnings=warnings,
            content=content,
            inode=job.state.inode,
            ctime_ns=job.state.ctime_ns,
            root=names.get(job.root, job.root) if job.root else None,
            relative_path=job.relative_path,
            precision=precision,
        )


class Worker:
    """The backbone of one process, and what it does with jobs.

    Attributes:
        precisions: that it begins with; what overflows in it is computed in another.
        place: device and precision.
        notes: remarks for the end of the run.

    Raises:
        UsageError: a card is to decode, and cannot here.
        WeightsError: the backbone cannot be loaded.
    """

    def __init__(self, assignment: Assignment, keeper: Keeper) -> None:
        self._assignment, self._keeper = assignment, keeper
        if assignment.decoding.gpu is not None:
            require_gpu_decoding(assignment.decoding.gpu)
        precision, device = assignment.precision, assignment.device
        if precision == "auto":
            precision = kept_precision(assignment.usual_precision, device)
        self.backbone = load_backbone(assignment.backbone, device=device, precision=precision, towers="image")
        self.precisions = (self.backbone.precision,)
        self.place = f"{self.backbone.device}, {self.backbone.precision}"
        self.notes = list[str]()

    def close(self) -> None:
        """Nothing of its own is left open."""

    def extract(
        self, jobs: list[Job], on_frames: Callable[[int], None] = lambda num_frames: None
    ) -> Generator[Outcome, None, None]:
        """Decode, encode and keep; whatever ends it, what is finished is written. As `run_pipeline`."""
        backbone = self.backbone
        videos = run_pipeline(
            jobs,
            lanes=lanes_of(
                backbone, batch_size=self._assignment.batch_size or default_batch_size(backbone.device)
            ),
            settings=self._assignment.decoding,
            on_frames=on_frames,
        )
        try:
            for video in videos:
                yield self._keeper.keep(video, backbone.precision)
        finally:
            videos.close()
            self._keeper.writer.flush()


def usual_precision(store: FeatureStore) -> str | None:
    """That of most of its videos; None where there are none."""
    counts = Counter(at.record.precision for at in store.videos.values())
    return counts.most_common(1)[0][0] if counts else None


def kept_precision(usual: str | None, device: str) -> Precision:
    """That of most videos where the device is made for it, else `auto`."""
    return next((each for each in fast_precisions(choose_device(device)) if each == usual), "auto")


def require_unchanged(job: Job) -> None:
    """Raises VideoError (`changed`) when the file is no longer the one that the worklist saw."""
    try:
        status = os.stat(job.path)
        is_same = (status.st_size, status.st_mtime_ns) == (job.state.num_bytes, job.state.mtime_ns)
        is_same = is_same and job.state.inode in (None, status.st_ino)
    except OSError:
        is_same = False
    if not is_same:
        raise VideoError("changed", "it changed or vanished while it was read", path=str(job.path))
