"""`extract`: from files and folders to a feature store. The use case behind `vtr extract`."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from vtrcli.errors import InputError, VideoError
from vtrcli.extraction.discover import Discovery, Part, discover
from vtrcli.extraction.pipeline import DecodeSettings, Job
from vtrcli.extraction.recognize import Rows, settle_ids
from vtrcli.extraction.settings import refuse_other_model, store_config
from vtrcli.extraction.similar import require_bound
from vtrcli.extraction.unchanged import unchanged_files
from vtrcli.extraction.worker import Assignment, Keeper, Outcome, Worker, usual_precision
from vtrcli.extraction.worklist import Worklist, make_worklist, settled_worklist
from vtrcli.model.backbone import DEMO_NAME, Precision
from vtrcli.model.families import describe_backbone
from vtrcli.preprocessing import KEEP_SIZE
from vtrcli.store.compact import merge_small
from vtrcli.store.config import StoreConfig, create_config, writing
from vtrcli.store.failures import Failure, append_failure, make_failure, read_failures
from vtrcli.store.progress import ProgressFile
from vtrcli.store.prune import prune
from vtrcli.store.reader import FeatureStore
from vtrcli.store.roots import add_roots, move_roots
from vtrcli.store.writer import remove_videos
from vtrcli.video.files import is_drawn
from vtrcli.video.graph import Aspect
from vtrcli.video.sampling import Sampling

if TYPE_CHECKING:
    from vtrcli.extraction.cluster import Cluster

MAX_WORKERS = 16


@dataclass(frozen=True)
class Progress:
    """A moment of the run, for whoever shows it."""

    num_videos: int
    num_done: int
    num_failed: int
    num_frames: int


@dataclass(repr=False)
class ExtractResult:
    """What a run did.

    Attributes:
        num_repeated: of these, frames that got the feature of one before them in their video, as equal or similar.
        num_skipped: counts the `num_moved`, recognised at another place or under another name, too.
        failures: all that stand, with the `known_failures` that were not tried again.
        precision: in which the last features were computed; None when there was nothing to compute.
        absent: roots that are not there, with the number of their videos, which were not pruned.
    """

    store: Path
    aspect: Aspect = "display"
    num_found: int = 0
    num_extracted: int = 0
    num_copied: int = 0
    num_skipped: int = 0
    num_moved: int = 0
    num_ignored: int = 0
    num_frames: int = 0
    num_repeated: int = 0
    precision: str | None = None
    num_pruned: int = 0
    absent: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    failures: list[Failure] = field(default_factory=list)
    known_failures: list[Failure] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def new_failures(self) -> list[Failure]:
        """Those that this run found."""
        known = {failure.path for failure in self.known_failures}
        return [failure for failure in self.failures if failure.path not in known]

    @property
    def num_failed(self) -> int:
        """Videos that are not in the store now."""
        return len(self.failures)

    def __repr__(self) -> str:
        done = f"{self.num_extracted + self.num_copied:,} done, {self.num_skipped:,} already there"
        return f"<ExtractResult {str(self.store)!r}: {done}, {self.num_failed:,} failed, {self.num_frames:,} frames>"

    def to_json(self) -> dict[str, Any]:
        """The keys of `vtr extract --json`."""
        return {
            "store": str(self.store),
            "aspect": self.aspect,
            "num_found": self.num_found,
            "num_extracted": self.num_extracted + self.num_copied,
            "num_copied": self.num_copied,
            "num_skipped": self.num_skipped,
            "num_moved": self.num_moved,
            "num_pruned": self.num_pruned,
            "num_ignored": self.num_ignored,
            "num_failed": self.num_failed,
            "num_known_failures": len(self.known_failures),
            "num_frames": self.num_frames,
            "num_repeated": self.num_repeated,
            "precision": self.precision,
            "seconds": round(self.seconds, 3),
            "failures": self.table(),
            "warnings": self.warnings,
        }

    def table(self) -> list[dict[str, Any]]:
        """One row per video that could not be read: its path and why."""
        return [failure.to_json() for failure in self.failures]


@dataclass(frozen=True)
class Announcement:
    """What a run is about to do, for the line that tells it: `backbone` is a name, `place` where it computes."""

    store: Path
    work: Worklist
    sampling: Sampling
    aspect: Aspect
    backbone: str
    place: str


def extract(
    paths: Sequence[Path],
    *,
    store: Path,
    backbone: str,
    sampling: Sampling,
    aspect: Aspect = "display",
    similar_frames: float = 0.0,
    device: str = "auto",
    decode_on: Literal["cpu", "gpu"] = "cpu",
    precision: Precision = "auto",
    keep_frames: bool = False,
    keep_size: int = KEEP_SIZE,
    renew_frames: bool = False,
    num_workers: int | None = None,
    batch_size: int | None = None,
    timeout_seconds: float | None = None,
    retry_failed: bool = False,
    must_exist: bool = True,
    may_be_empty: bool = False,
    prune_missing: bool = False,
    exclude: Sequence[str] = (),
    not_yet: Collection[Path] = (),
    part: Part | None = None,
    ray: str | None = None,
    on_download: Callable[[int, int], None] | None = None,
    on_plan: Callable[[Announcement], None] = lambda plan: None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> ExtractResult:
    """Decode new and changed videos and store the features of their frames.

    Runs again as often as you like. What was finished when it is interrupted is kept (KeyboardInterrupt goes
    on to the caller after the last shard is written).

    Args:
        backbone: a name, file or folder as `load_backbone` takes it; torch is loaded only if a video is to be done.
        aspect: pixels made square, as players show them ("display"), or taken as they are stored ("pixels"), as the
            field's pipelines do.
        similar_frames: a frame that differs by at most this from the one of its video that was encoded last gets its
            feature: mean difference, of 255, in the square of 16 pixels where it is largest. 0: equal frames alone,
            which changes nothing but time.
        decode_on: gpu: an NVIDIA card, that of `device` or the first, decodes the videos that it may
            (`vtrcli.video.hardware`), with the same pixels.
        precision: of the image tower. auto: that of most videos of the store, where this device is made for it, else
            the device's own, and float32 where features overflow in it. Another one than the store's is told, not
            refused: what differs is rounding (docs/backbones.md).
        keep_frames: keep the frames as whole pictures, made smaller to a short side of `keep_size`.
        renew_frames: keep them, and do stored videos again whose frames an older program cut, or kept smaller.
        must_exist: False for a list of paths from elsewhere: a missing one is then a failure, not an error.
        prune_missing: take videos of `paths` whose files are gone out of the store in the end.
        may_be_empty: whether a folder without a video is fine: one that is watched may be filled later.
        exclude, not_yet, part: patterns to pass over, files that are still being written, and which of several runs
            this is that share the work; see `discover`.
        ray: a cluster's address whose processes do the work (`vtrcli.extraction.cluster`); None: this one does.

    Raises:
        UsageError: a bound of similar frames that is none.
        InputError: a path does not exist, or no video was found.
        StoreError: the store is of another backbone or sampling, damaged, or cannot be written.
        WeightsError: the backbone cannot be loaded.
    """
    started = time.monotonic()
    require_bound(similar_frames)
    known = None if keep_frames or renew_frames else unchanged_files(store)  # kept frames need a closer look
    found = discover(
        paths, must_exist=must_exist, exclude=exclude, not_yet=not_yet, part=part, are_known=known
    )
    if not may_be_empty:
        require_something(found, paths)
    refuse_other_model(store, backbone)
    described = describe_backbone(backbone, progress=on_download)
    config = store_config(described, sampling, aspect, similar_frames=similar_frames)
    with writing(store, config), ExitStack() as cleanup:
        kept_size = keep_size if keep_frames or renew_frames else None
        failed = read_failures(store, (), keep_gone=True)
        before, work = None, settled_worklist(found, known, failed, retry_failed=retry_failed)
        if work is None:
            before = FeatureStore(store)
            if failed:
                failed = read_failures(store, (at.record for at in before.videos.values()), keep_gone=True)
            work = make_worklist(
                found,
                before,
                failed,
                retry_failed=retry_failed,
                keep_size=kept_size,
                renew_frames=renew_frames,
                known=known,
            )
        run = _Run(store, config, found, work, on_progress)
        if work.num_to_do:
            cleanup.callback(run.others.end)
        if before is not None and work.jobs:
            decoding = DecodeSettings(
                sampling=sampling,
                input_size=described.preprocessing,
                num_workers=num_workers or min(os.cpu_count() or 1, MAX_WORKERS),
                timeout_seconds=timeout_seconds,
                keep_size=kept_size,
                aspect=aspect,
                similar_frames=similar_frames,
                gpu=gpu_number(device) if decode_on == "gpu" else None,
            )
            todo = Assignment(
                store=store.absolute(),
                config=config,
                backbone=backbone,
                device=device,
                precision=precision,
                decoding=decoding,
                batch_size=batch_size,
                usual_precision=usual_precision(before),
            )
            with closing(run.workers(todo, ray, num_decoders=num_workers)) as workers:
                on_plan(Announcement(store, work, sampling, aspect, described.info.name, workers.place))
                run.decode(workers, before)
        if before is not None:
            run.copy_known(before)
            run.settle(before)
        if prune_missing:
            pruned = prune(store, missing=True, under=[path.absolute() for path in paths], spare_absent=True)
            run.result.num_pruned, run.result.absent = len(pruned.videos), pruned.absent
        if run.written:
            merge_small(store)
    if described.info.name == DEMO_NAME:
        run.result.warnings += demo_warnings(run.written.values())
    run.result.seconds = time.monotonic() - started
    return run.result


def gpu_number(device: str) -> int:
    """Of the card that a device of torch names; the first where it names none."""
    number = device.partition(":")[2]
    return int(number) if device.startswith("cuda") and number.isdecimal() else 0


def precision_warnings(started: Sequence[str], used: Sequence[str], before: FeatureStore) -> list[str]:
    """Remarks where a run's features do not all have the precision that it began with, or that the store's have."""
    found = []
    later = [precision for precision in used if precision not in started]
    if later:
        found.append(
            f"features overflow in {', '.join(started)}: from the first that did the run computed in {later[-1]}"
        )
    others = {at.record.precision for at in before.videos.values()} - {None, *used}
    if others:
        found.append(
            f"these videos were computed in {', '.join(used)}, others of the store in "
            f"{', '.join(sorted(map(str, others)))}: their features differ by rounding (cosine 0.9999)"
        )
    return found


def demo_warnings(paths: Iterable[str]) -> list[str]:
    """A remark where the demo's backbone was given videos that it cannot know."""
    num_foreign = 0
    for path in paths:
        with suppress(OSError):
            num_foreign += not is_drawn(path)
    if not num_foreign:
        return []
    were = "was" if num_foreign == 1 else "were"
    return [
        f"{num_foreign:,} of these videos {were} not drawn by `vtr demo`, and its backbone knows nothing else: what a "
        "search finds in them means nothing; use --backbone ViT-B/32 with another --store"
    ]


def require_something(found: Discovery, paths: Sequence[Path]) -> None:
    """Raises InputError when there is no video at all."""
    if not (found.num_videos or found.num_others):
        others = f"{found.num_ignored:,} other file{'s' * (found.num_ignored != 1)}"
        excluded = f", {found.num_excluded:,} met by --exclude" * bool(found.num_excluded)
        raise InputError(
            f"no video in {', '.join(map(str, paths)) or 'an empty list'} ({others}{excluded})",
            allowed="files that ffmpeg reads, by name or content; hidden files are passed over",
            to_do="check the folder, or name the files themselves",
        )


class _Run:
    """One extraction as it goes: writes outcomes to the store, and counts them. `written`: video id -> path."""

    def __init__(
        self,
        store: Path,
        config: StoreConfig,
        found: Discovery,
        work: Worklist,
        on_progress: Callable[[Progress], None],
    ) -> None:
        self.result = ExtractResult(
            store,
            aspect=config.aspect,
            num_found=found.num_videos,
            num_ignored=found.num_ignored,
            num_skipped=work.num_unchanged,
            num_moved=work.num_moved,
            failures=list(work.known_failures),
            known_failures=work.known_failures,
            warnings=list(work.notes),
        )
        self.written: dict[str, str] = {}
        self._store, self._config, self._work = store, config, work
        self._root_names: dict[str, str] | None = None
        self._keeper = Keeper(store, config, self._place_roots)
        self._on_progress = on_progress
        self.others = ProgressFile(store)
        self._num_done = len(work.new_failures)
        self._left_to_cpu = Counter[str]()
        for failure in work.moved_failures:
            append_failure(store, failure)
        for failure in work.new_failures:
            self._fail(failure)

    def workers(
        self, assignment: Assignment, ray: str | None, *, num_decoders: int | None
    ) -> Worker | Cluster:
        """Who does the jobs: this process, or those of a cluster."""
        if ray is None:
            return Worker(assignment, self._keeper)
        from vtrcli.extraction.cluster import Cluster

        return Cluster(ray, assignment, self._place_roots(), self._work.jobs, num_decoders=num_decoders)

    def decode(self, workers: Worker | Cluster, before: FeatureStore) -> None:
        """Do the jobs, and note how they ended; whatever ends the run, what is finished is written."""
        started, precisions = workers.precisions, dict[str, None]()
        with closing(workers.extract(self._work.jobs, self._count_frames)) as outcomes:
            for outcome in outcomes:
                self._note(outcome)
                self._report()
                if outcome.precision is not None:
                    precisions[outcome.precision] = None
        used = tuple(precisions) or started
        self.result.precision = used[-1]
        self.tell_who_decoded()
        self.result.warnings += [*workers.notes, *precision_warnings(started, used, before)]

    def copy_known(self, before: FeatureStore) -> None:
        """Give files of known content the rows of it: moved or touched ones, and those that are there twice.

        Args:
            before: the store when this run began.
        """
        jobs = [*self._work.refreshed, *self._work.copies]
        if jobs or self._work.moved_roots:
            self._place_roots()
        if not jobs:
            return
        rows = Rows(self._store, before)
        newest = rows.newest({job.rows_of for job in jobs if job.rows_of})
        failed = {failure.path: failure for failure in self.result.failures}
        twins = {job.content: failed[str(job.path)] for job in self._work.jobs if str(job.path) in failed}
        for number, job in enumerate(jobs):
            is_refreshed = number < len(self._work.refreshed)
            self._num_done += not is_refreshed
            self._report()
            at = newest.get(job.rows_of or "")
            if at is not None:
                about = at.record
                content = job.content or about.content
                record = self._keeper.record(job, about, content, about.warnings, about.precision)
                rows.copy(at, record, self._keeper.writer)
                self.written[job.video_id] = str(job.path)
                self.result.num_copied += not is_refreshed
            elif not is_refreshed and job.rows_of in twins:
                twin = twins[job.rows_of]
                self._fail_job(job, VideoError(twin.reason, twin.detail, path=str(job.path)))
            else:
                self.result.warnings.append(
                    f"{job.path}: what it was a copy of changed meanwhile; run again to do this file"
                )
        self._keeper.writer.flush()

    def settle(self, before: FeatureStore) -> None:
        """Take out what others replaced, and give every file that was written an id of its own.

        Args:
            before: the store when this run began.
        """
        if self._work.removed:
            remove_videos(self._store, self._work.removed)
        if self.written:
            self.result.warnings += settle_ids(self._store, self.written, before, self._keeper.writer)

    def _note(self, outcome: Outcome) -> None:
        """Count a job that ended."""
        self._num_done += 1
        job = outcome.job
        if outcome.error is not None:
            self._fail_job(job, outcome.error)
            return
        self.written[job.video_id] = str(job.path)
        self.result.num_extracted += 1
        self.result.num_repeated += outcome.num_repeated
        self.result.warnings += [f"{job.path}: {warning}" for warning in outcome.warnings]
        if outcome.left_to_cpu is not None:
            self._left_to_cpu[outcome.left_to_cpu] += 1

    def tell_who_decoded(self) -> None:
        """A remark per reason for which videos were not decoded on the card that was asked for."""
        self.result.warnings += [
            f"{count:,} video{'s' * (count > 1)} decoded on the CPU, not the GPU: {why}"
            for why, count in self._left_to_cpu.most_common()
        ]

    def _fail_job(self, job: Job, error: VideoError) -> None:
        self._fail(make_failure(job.path, error.reason, error.detail, state=job.state))

    def _fail(self, failure: Failure) -> None:
        """Note a failure in the store and in the result."""
        create_config(self._store, self._config)  # see StoreWriter: it may have been taken away
        append_failure(self._store, failure)
        self.result.failures.append(failure)

    def _place_roots(self) -> dict[str, str]:
        """Make the run's folders roots of the store, before the first row that names one; returns their names there."""
        if self._root_names is None:
            self._root_names = names = add_roots(self._store, self._work.new_roots)
            moved = [replace(root, name=names.get(root.name, root.name)) for root in self._work.moved_roots]
            move_roots(self._store, moved)
        return self._root_names

    def _count_frames(self, num_frames: int) -> None:
        self.result.num_frames += num_frames
        self._report()

    def _report(self) -> None:
        num_failed = len(self.result.failures) - len(self.result.known_failures)
        self._on_progress(Progress(self._work.num_to_do, self._num_done, num_failed, self.result.num_frames))
        self.others.tell(self._num_done, self._work.num_to_do, num_failed)
