"""`extract`: from files and folders to a feature store. The use case behind `vtr extract`."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vtrcli.errors import InputError, VideoError
from vtrcli.extraction.collisions import settle_collisions
from vtrcli.extraction.discover import Discovery, discover
from vtrcli.extraction.pipeline import DecodeSettings, FailedVideo, FinishedVideo, run_pipeline
from vtrcli.extraction.worklist import Job, Worklist, make_worklist
from vtrcli.model.backbone import Backbone, BackboneInfo, backbone_info, load_backbone
from vtrcli.model.preprocess import PREPROCESSING
from vtrcli.store.config import BackboneTag, StoreConfig, create_config, require_same
from vtrcli.store.failures import Failure, append_failure, make_failure, read_failures
from vtrcli.store.frames import FrameJpegs, frames_of
from vtrcli.store.reader import FeatureStore
from vtrcli.store.records import VideoRecord
from vtrcli.store.writer import StoreWriter
from vtrcli.video.sampling import Sampling

CPU_BATCH_SIZE, GPU_BATCH_SIZE = 16, 256
MAX_WORKERS = 16


@dataclass(frozen=True)
class Progress:
    """A moment of the run, for whoever shows it."""

    num_videos: int
    num_done: int
    num_failed: int
    num_frames: int


@dataclass
class ExtractResult:
    """What a run did. `num_failed` counts the known failures that were passed over too."""

    store: Path
    num_found: int = 0
    num_extracted: int = 0
    num_copied: int = 0
    num_skipped: int = 0
    num_ignored: int = 0
    num_frames: int = 0
    seconds: float = 0.0
    failures: list[Failure] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def num_failed(self) -> int:
        """Videos that are not in the store now."""
        return len(self.failures)


@dataclass(frozen=True)
class Plan:
    """What a run is about to do, for the line that announces it."""

    store: Path
    num_found: int
    num_to_decode: int
    num_bytes: int
    sampling: Sampling
    backbone: Backbone


def extract(
    paths: Sequence[Path],
    *,
    store: Path,
    backbone: str,
    sampling: Sampling,
    device: str = "auto",
    keep_frames: bool = False,
    num_workers: int | None = None,
    batch_size: int | None = None,
    timeout_seconds: float | None = None,
    retry_failed: bool = False,
    must_exist: bool = True,
    may_be_empty: bool = False,
    on_download: Callable[[int, int], None] | None = None,
    on_plan: Callable[[Plan], None] = lambda plan: None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> ExtractResult:
    """Decode new and changed videos and store the features of their frames.

    Runs again as often as you like. What was finished when it is interrupted is kept (KeyboardInterrupt goes
    on to the caller after the last shard is written).

    Args:
        backbone: a name, file or folder as `load_backbone` takes it; torch is loaded only if a video is to be done.
        must_exist: False for a list of paths from elsewhere: a missing one is then a failure, not an error.
        may_be_empty: whether a folder without a video is fine: one that is watched may be filled later.

    Raises:
        InputError: a path does not exist, or no video was found.
        StoreError: the store is of another backbone or sampling, damaged, or cannot be written.
        WeightsError: the backbone cannot be loaded.
    """
    started = time.monotonic()
    found = discover(paths, must_exist=must_exist)
    if not may_be_empty:
        require_something(found, paths)
    info = backbone_info(backbone, progress=on_download)
    config = store_config(info, sampling)
    require_same(store, create_config(store, config), config)
    reader = FeatureStore(store)
    standing = read_failures(store, (location.record for location in reader.videos.values()))
    work = make_worklist(
        found.candidates, reader, standing, retry_failed=retry_failed, keep_frames=keep_frames
    )
    run = _Run(store, info, work, on_progress)
    run.note_found(found, standing, retry_failed=retry_failed)
    if work.jobs:
        loaded = load_backbone(backbone, device=device, towers="image")
        num_bytes = sum(job.state.num_bytes for job in work.jobs)
        on_plan(Plan(store, run.result.num_found, len(work.jobs), num_bytes, sampling, loaded))
        settings = DecodeSettings(
            sampling=sampling,
            input_size=info.input_size,
            num_workers=num_workers or min(os.cpu_count() or 1, MAX_WORKERS),
            timeout_seconds=timeout_seconds,
            keep_frames=keep_frames,
        )
        default_batch = GPU_BATCH_SIZE if loaded.device.startswith("cuda") else CPU_BATCH_SIZE
        run.decode(loaded, settings, batch_size or default_batch)
    run.copy_twins()
    if run.written:
        old_shards = {shard.path for shard in reader.shards}
        run.result.warnings += settle_collisions(store, run.written, old_shards, run.writer)
    run.result.seconds = time.monotonic() - started
    return run.result


def store_config(info: BackboneInfo, sampling: Sampling) -> StoreConfig:
    """The `store.json` that features of this backbone and sampling need."""
    return StoreConfig(
        backbone=BackboneTag(
            name=info.name,
            sha256=info.sha256,
            dim=info.dim,
            input_size=info.input_size,
            logit_scale=info.logit_scale,
        ),
        sampling=sampling.to_json(),
        preprocessing=PREPROCESSING,
    )


def require_something(found: Discovery, paths: Sequence[Path]) -> None:
    """Raises InputError when there is no video at all."""
    if not found.candidates and not found.problems:
        raise InputError(
            f"no video in {', '.join(map(str, paths)) or 'an empty list'} ({found.num_ignored} other files)",
            allowed="files that ffmpeg reads, by name or content; hidden files are passed over",
            to_do="check the folder, or name the files themselves",
        )


class _Run:
    """The state of one extraction: writes outcomes to the store and counts them."""

    def __init__(
        self, store: Path, info: BackboneInfo, work: Worklist, on_progress: Callable[[Progress], None]
    ) -> None:
        self.store = store
        self.work = work
        self.result = ExtractResult(store, num_skipped=work.num_unchanged, warnings=list(work.notes))
        self.result.failures += work.known_failures
        self.written: dict[str, str] = {}
        self.writer = StoreWriter(store, backbone_sha256=info.sha256)
        self._on_progress = on_progress
        self._num_done = self._num_failed = 0
        for failure in work.new_failures:
            self.fail(failure)

    def note_found(self, found: Discovery, standing: dict[str, Failure], *, retry_failed: bool) -> None:
        """Count what was found, and the files that could not even be looked at."""
        self.result.num_found = len(found.candidates) + len(found.problems)
        self.result.num_ignored = found.num_ignored
        for path, reason, detail in found.problems:
            known = standing.get(str(path))
            if known is not None and known.reason == reason and not retry_failed:
                self.result.failures.append(known)
            else:
                self.fail(make_failure(path, reason, detail, state=None))

    def decode(self, backbone: Backbone, settings: DecodeSettings, batch_size: int) -> None:
        """Run the pipeline; whatever ends it, what is finished is written."""
        outcomes = run_pipeline(
            self.work.jobs,
            encode=backbone.encode_images,
            batch_size=batch_size,
            settings=settings,
            on_frames=self._count_frames,
        )
        try:
            for outcome in outcomes:
                self._num_done += 1
                if isinstance(outcome, FailedVideo):
                    self._num_failed += 1
                    self._fail_job(outcome.job, outcome.error)
                else:
                    self._keep(outcome)
                self._report()
        finally:
            outcomes.close()
            self.writer.flush()

    def copy_twins(self) -> None:
        """Give files whose content is already in the store (moved, or there twice) the features of their twin."""
        reader = FeatureStore(self.store) if self.work.copies else None
        by_path = {at.record.path: at for at in reader.videos.values()} if reader else {}
        failed = {failure.path: failure for failure in self.result.failures}
        for job, twin in self.work.copies:
            location = by_path.get(twin)
            if location is not None and location.record.fingerprint != job.state.fingerprint:
                self.result.warnings.append(
                    f"{job.path}: {twin} changed meanwhile; run again to do this file"
                )
                continue
            if reader is None or location is None:
                reason, detail = "corrupt", f"its twin {twin} could not be read"
                if twin in failed:
                    reason, detail = failed[twin].reason, failed[twin].detail
                self._fail_job(job, VideoError(reason, detail, path=str(job.path)))
                continue
            kept = frames_of(self.store, reader.shards[location.shard], location)
            record = location.record
            self.writer.add(
                make_record(
                    job, record.duration_seconds, record.width, record.height, record.codec, record.warnings
                ),
                reader.features(record.video_id),
                reader.timestamps(record.video_id),
                jpegs=FrameJpegs(tuple(kept)) if kept else None,
            )
            self.written[job.video_id] = str(job.path)
            self.result.num_copied += 1
        self.writer.flush()

    def fail(self, failure: Failure) -> None:
        """Note a failure in the store and in the result."""
        append_failure(self.store, failure)
        self.result.failures.append(failure)

    def _fail_job(self, job: Job, error: VideoError) -> None:
        self.fail(make_failure(job.path, error.reason, error.detail, state=job.state))

    def _keep(self, video: FinishedVideo) -> None:
        info = video.info
        record = make_record(
            video.job, info.duration_seconds, info.width, info.height, info.codec, video.warnings
        )
        try:
            require_unchanged(video.job)
            self.writer.add(record, video.features, video.timestamps, jpegs=video.jpegs)
        except VideoError as error:
            self._fail_job(video.job, error)
            return
        self.written[video.job.video_id] = str(video.job.path)
        self.result.num_extracted += 1
        self.result.warnings += [f"{video.job.path}: {warning}" for warning in video.warnings]

    def _count_frames(self, num_frames: int) -> None:
        self.result.num_frames += num_frames
        self._report()

    def _report(self) -> None:
        num_failed = self._num_failed
        self._on_progress(Progress(len(self.work.jobs), self._num_done, num_failed, self.result.num_frames))


def require_unchanged(job: Job) -> None:
    """Raises VideoError (`changed`) when the file is no longer the one that the worklist saw."""
    try:
        status = os.stat(job.path)
        is_same = (status.st_size, status.st_mtime_ns) == (job.state.num_bytes, job.state.mtime_ns)
    except OSError:
        is_same = False
    if not is_same:
        raise VideoError("changed", "it changed or vanished while it was read", path=str(job.path))


def make_record(
    job: Job,
    duration_seconds: float | None,
    width: int,
    height: int,
    codec: str,
    warnings: tuple[str, ...],
) -> VideoRecord:
    """The store's record of a file that is done now."""
    return VideoRecord(
        video_id=job.video_id,
        path=str(job.path),
        num_bytes=job.state.num_bytes,
        mtime_ns=job.state.mtime_ns,
        fingerprint=job.state.fingerprint,
        duration_seconds=duration_seconds,
        width=width,
        height=height,
        codec=codec,
        extracted_at=time.time(),
        warnings=warnings,
    )
