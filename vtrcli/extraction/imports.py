"""Features that others extracted, into a store: `vtr store import`. What they do not tell stays empty."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from vtrcli.datasets.files import first_few, json_lines, read_table, read_text, wrong
from vtrcli.errors import InputError, StoreError, UsageError, VideoError
from vtrcli.model.families import said_to_be
from vtrcli.store.archives import Archive, Entry, Loaded, open_archive
from vtrcli.store.arrays import BadArrayError
from vtrcli.store.compact import merge_small
from vtrcli.store.config import (
    CONFIG_NAME,
    MALFORMED,
    BackboneInfo,
    StoreConfig,
    read_config,
    require_same,
    writing,
)
from vtrcli.store.failures import Failure, append_failure, forget_failures, make_failure
from vtrcli.store.reader import FeatureStore
from vtrcli.store.records import VideoRecord, file_state
from vtrcli.store.writer import StoreWriter
from vtrcli.video.sampling import Rate

NUM_PROBED = 16  # videos that are looked at before anything is written: their width is the archive's
UNIT_TOLERANCE = 1e-2  # of the length of a row in float16 or float32
MAX_SHOWN_NAMES = 3
MAX_SECONDS = 1e9  # that a video may last


@dataclass(kw_only=True, repr=False)
class ImportResult:
    """What came in.

    Attributes:
        num_skipped: videos that the store has already, with these very rows.
        dtype: the number format of the archive; the store's is float16.
        is_unit: whether its rows have length 1.
        notes: what a person should know, each with how many videos it is about.
    """

    store: Path
    backbone: BackboneInfo
    dtype: str
    is_unit: bool
    num_found: int = 0
    num_imported: int = 0
    num_skipped: int = 0
    num_frames: int = 0
    failures: list[Failure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def __repr__(self) -> str:
        done = (
            f"{self.num_imported:,} videos, {self.num_skipped:,} already there, {len(self.failures):,} failed"
        )
        return f"<ImportResult {str(self.store)!r}: {done}; {self.backbone.name}, {self.backbone.dim} dimensions>"

    def table(self) -> list[dict[str, Any]]:
        """One row per video that could not be used: its path and why."""
        return [failure.to_json() for failure in self.failures]

    def to_json(self) -> dict[str, Any]:
        """The keys of `vtr store import --json`."""
        counts = ("num_found", "num_imported", "num_skipped", "num_frames")
        return {
            "store": str(self.store),
            "backbone": self.backbone.name,
            "is_claimed": self.backbone.is_claimed,
            "dim": self.backbone.dim,
            "dtype": self.dtype,
            "unit_length": self.is_unit,
            **{name: getattr(self, name) for name in counts},
            "num_failed": len(self.failures),
            "seconds": round(self.seconds, 3),
            "failures": self.table(),
            "notes": self.notes,
        }


def import_features(
    archive: str | PathLike[str],
    store: str | PathLike[str],
    *,
    backbone: str | None = None,
    fps: float | None = None,
    table: str | PathLike[str] | None = None,
    key: str | None = None,
    durations: str | PathLike[str] | None = None,
    on_progress: Callable[[int, int | None], None] = lambda num_done, total: None,
) -> ImportResult:
    """Put the features of an archive into a store. Run again, it does what is new or changed.

    Rows are kept as they are, whatever their length, in float16. A video that cannot be used is a failure; the others
    go on. Times are those of the archive; where it has none, row i is the frame at i / `fps` seconds.

    Args:
        archive: a folder with a .npz, .npy, .pt or .safetensors per video; a matrix with a `table`; Parquet; or what
            `vtr store export` wrote.
        backbone: what made them, see `families.said_to_be`; None: what an export says.
        key: name of the array, where files hold several.
        durations: seconds of each video, CSV (video_id, duration) or JSONL (vid, duration), to tell archives that end
            early.

    Raises:
        UsageError: no backbone, no `fps` where the archive has no times, or one out of bounds.
        InputError: no features there, or not one video can be used.
        StoreError: the store is another one's, or cannot be written.
        WeightsError: weights of this backbone are there and cannot be read.
    """
    started = time.monotonic()
    path, store = Path(archive), Path(store)
    opened = open_archive(path, table=None if table is None else Path(table), key=key)
    known = {} if durations is None else read_durations(Path(durations))
    probed = _Probed(opened)
    sampling = {} if fps is None else Rate(fps=fps, min_frames=1).to_json()
    if not probed.has_times and fps is None:
        raise UsageError(
            f"{path} does not say when its frames were shown",
            allowed="the rate at which they were taken, such as --fps 0.5 for one every 2 s",
            to_do="add --fps",
        )
    config = _config(opened, backbone, probed, sampling)
    result = ImportResult(store=store, backbone=config.backbone, dtype=probed.dtype, is_unit=probed.is_unit)
    _require_place(store, config)
    with writing(store, config):
        run = _Run(store, config, opened, fps=fps, durations=known, result=result)
        run.all(on_progress)
        merge_small(store)
    if result.failures and not result.num_imported and not result.num_skipped:
        first = result.failures[0]
        raise InputError(
            f"not one of {result.num_found:,} videos of {path} can be used; {first.path}: {first.detail}",
            allowed=f"rows of {config.backbone.dim} finite numbers, one per frame",
            to_do="check the archive and --backbone",
        )
    result.seconds = time.monotonic() - started
    return result


class _Probed:
    """What the first videos of an archive are like: the most common width, number format, times, lengths of rows.

    Raises InputError when none of them can be read.
    """

    def __init__(self, archive: Archive) -> None:
        widths: Counter[int] = Counter()
        dtypes: Counter[str] = Counter()
        timed, units, problem = [], [], ""
        for entry in islice(archive.entries(), NUM_PROBED):
            try:
                loaded = _checked(entry.load())
            except (BadArrayError, VideoError) as cause:
                problem = problem or f"{entry.path}: {getattr(cause, 'detail', cause)}"
                continue
            widths[loaded.features.shape[1]] += 1
            dtypes[loaded.features.dtype.name] += 1
            timed.append(loaded.seconds is not None)
            lengths = np.linalg.norm(loaded.features[:NUM_PROBED].astype(np.float32), axis=1)
            units.append(bool((np.abs(lengths[lengths > 0] - 1) < UNIT_TOLERANCE).all()))
        if not widths:
            raise InputError(
                f"no features can be read from {archive.path}" + f"; {problem}" * bool(problem),
                allowed="arrays of numbers, [num_frames, dim] per video",
                to_do="check the files; --key names the array where they hold several",
            )
        self.dim, self.dtype = widths.most_common(1)[0][0], dtypes.most_common(1)[0][0]
        self.has_times, self.is_unit = all(timed), all(units)


def _config(archive: Archive, backbone: str | None, probed: _Probed, sampling: dict[str, Any]) -> StoreConfig:
    """The store.json of the archive. Raises UsageError, InputError."""
    source = {"kind": "imported", "dtype": probed.dtype, "unit_length": probed.is_unit}
    manifest = archive.manifest
    if manifest is None:
        if backbone is None:
            raise UsageError(
                f"{archive.path} does not say what made its features",
                allowed="a backbone of `vtr models list`, or any other name for one that vtr does not know",
                to_do="add --backbone, such as --backbone ViT-B/32",
            )
        info = said_to_be(backbone, dim=probed.dim)
        return StoreConfig(backbone=info, sampling=sampling, preprocessing={}, source=source)
    try:
        info = BackboneInfo.from_json(manifest["backbone"])
        sampling, preprocessing = dict(manifest["sampling"]), dict(manifest["preprocessing"])
    except MALFORMED as cause:
        raise InputError(
            f"{archive.path}: what it says of its backbone cannot be read ({cause})",
            allowed="what `vtr store export` wrote",
            to_do="get the archive again",
        ) from cause
    if backbone not in (None, info.name):
        raise UsageError(
            f"--backbone {backbone} for features of {info.name}",
            allowed="an exported archive says what made it",
            to_do="leave --backbone out",
        )
    if info.dim != probed.dim:
        raise InputError(
            f"{archive.path} says {info.dim} dimensions, its features have {probed.dim}",
            allowed="features as they were exported",
            to_do="get the archive again",
        )
    return StoreConfig(backbone=info, sampling=sampling, preprocessing=preprocessing, source=source)


def _require_place(store: Path, config: StoreConfig) -> None:
    """Raises StoreError where a store is that these features do not belong into."""
    if not (store / CONFIG_NAME).exists():
        return
    existing = read_config(store)
    if existing.source is None and not config.preprocessing:
        raise StoreError(
            f"store {store} holds features that vtr extracted; how these were made is not known",
            allowed="imported features have a store of their own",
            to_do=f"use `--store {store}-imported`; `vtr search` takes several stores of one backbone",
        )
    require_same(store, existing, config)


class _Run:
    """One import as it goes."""

    def __init__(
        self,
        store: Path,
        config: StoreConfig,
        archive: Archive,
        *,
        fps: float | None,
        durations: Mapping[str, float],
        result: ImportResult,
    ) -> None:
        self._store, self._archive, self._fps = store, archive, fps
        self._durations, self._result = durations, result
        self._dim = config.backbone.dim
        self._before = FeatureStore(store)
        self._writer = StoreWriter(store, backbone_sha256=config.backbone.sha256, config=config)
        self._odd: dict[str, list[str]] = {}  # remark -> ids

    def all(self, on_progress: Callable[[int, int | None], None]) -> None:
        """Every video; whatever ends it, what is finished is written."""
        result, done = self._result, []
        try:
            for entry in self._archive.entries():
                result.num_found += 1
                try:
                    self._one(entry)
                    done.append(str(entry.path))
                except BadArrayError as cause:
                    self._fail(entry, "corrupt", str(cause))
                except VideoError as error:
                    self._fail(entry, error.reason, error.detail)
                on_progress(result.num_found, self._archive.num_videos)
        finally:
            self._writer.flush()
        failed = {failure.path for failure in result.failures}
        forget_failures(self._store, (path for path in dict.fromkeys(done) if path not in failed))
        for remark, ids in self._odd.items():
            result.notes.append(
                f"{remark}: {first_few(ids, most=MAX_SHOWN_NAMES)}" + f" ({len(ids):,} in all)"
            )
        if result.dtype != "float16" and result.num_imported:
            result.notes.append(f"{result.dtype} was rounded to float16, in which a store keeps features")

    def _one(self, entry: Entry) -> None:
        loaded = _checked(entry.load(), dim=self._dim)
        facts = self._archive.facts.get(entry.video_id, {})
        duration = self._durations.get(entry.video_id)
        if duration is None:
            duration = _said_duration(facts)
        seconds = _times(loaded, self._fps)
        with np.errstate(over="ignore"):
            halves = loaded.features.astype(np.float16)
        if not np.isfinite(halves).all():
            raise VideoError("not-finite", "a number is beyond float16, which ends at 65,504")
        warnings = self._warnings(entry.video_id, loaded, seconds, duration)
        record = _record(entry.video_id, duration, facts, warnings)
        before = self._before.videos.get(entry.video_id)
        if before is not None and self._is_same(record, before.record, halves, seconds):
            self._result.num_skipped += 1
            return
        self._writer.add(record, halves, seconds)
        self._result.num_imported += 1
        self._result.num_frames += len(halves)

    def _is_same(
        self, record: VideoRecord, before: VideoRecord, features: np.ndarray, seconds: np.ndarray
    ) -> bool:
        """Whether the store's row says the same; a file that it was extracted from is more than the archive knows."""
        name = record.video_id
        if not before.has_file and before.duration_seconds != record.duration_seconds:
            return False
        there = self._before.features(name)
        return there.tobytes() == features.tobytes() and np.array_equal(
            self._before.timestamps(name), seconds
        )

    def _warnings(
        self, video_id: str, loaded: Loaded, seconds: np.ndarray, duration: float | None
    ) -> tuple[str, ...]:
        found = []
        num_zero = int((~loaded.features.any(axis=1)).sum())
        if num_zero == len(loaded.features):
            raise VideoError("no-frames", "all its rows are zeros")
        if num_zero:
            found.append(("rows of zeros, as padding leaves them", f"{num_zero:,} rows are zeros"))
        if duration is not None:
            step = 1 / self._fps if self._fps and loaded.seconds is None else _typical_step(seconds)
            covered = float(seconds[-1]) + step
            if covered < duration - step:
                what = f"{len(seconds):,} rows end at {covered:.1f} s of {duration:.1f} s"
                found.append(("fewer rows than the length says", what))
            elif float(seconds[-1]) > duration + step:
                what = f"{len(seconds):,} rows reach {float(seconds[-1]):.1f} s, beyond {duration:.1f} s"
                found.append(("more rows than the length says; is --fps right?", what))
        for remark, _ in found:
            self._odd.setdefault(remark, []).append(video_id)
        return tuple(detail for _, detail in found)

    def _fail(self, entry: Entry, reason: str, detail: str) -> None:
        try:
            state = file_state(entry.path)
        except OSError:
            state = None
        path = entry.path.absolute()
        if self._archive.layout != "files":  # one file for all of them
            detail = f"{entry.video_id}: {detail}"
        failure = make_failure(path, reason, detail, state=state)
        append_failure(self._store, failure)
        self._result.failures.append(failure)


def _checked(loaded: Loaded, *, dim: int | None = None) -> Loaded:
    """Features as float [num_frames, dim]. Raises VideoError."""
    features = loaded.features
    if features.ndim == 1:  # one vector for the whole video
        features = features[None]
    if features.dtype.kind != "f":
        raise VideoError("wrong-shape", f"it holds {features.dtype}, not floating-point numbers")
    if features.ndim != 2 or 0 in features.shape:
        raise VideoError("wrong-shape", f"its shape is {list(features.shape)}, not [num_frames, dim]")
    if dim is not None and features.shape[1] != dim:
        raise VideoError("wrong-shape", f"its rows have {features.shape[1]} numbers, the store's {dim}")
    if not np.isfinite(features).all():
        raise VideoError("not-finite", "NaN or infinity in its features")
    seconds = loaded.seconds
    if seconds is not None and (
        seconds.ndim != 1 or len(seconds) != len(features) or seconds.dtype.kind not in "fiu"
    ):
        raise VideoError("wrong-shape", f"{len(features):,} rows and times of shape {list(seconds.shape)}")
    return Loaded(features, seconds)


def _times(loaded: Loaded, fps: float | None) -> np.ndarray:
    """float32 [num_frames] seconds."""
    if loaded.seconds is not None:
        return loaded.seconds.astype(np.float32)
    if fps is None:
        raise VideoError("wrong-shape", "it has no times, as the others do; --fps would tell")
    return (np.arange(len(loaded.features)) / fps).astype(np.float32)


def _typical_step(seconds: np.ndarray) -> float:
    return float(np.median(np.diff(seconds))) if len(seconds) > 1 else float("inf")


def _said_duration(facts: Mapping[str, Any]) -> float | None:
    value = facts.get("duration_seconds")
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= MAX_SECONDS:
        return None
    return float(value)


def _record(
    video_id: str, duration: float | None, facts: Mapping[str, Any], warnings: tuple[str, ...]
) -> VideoRecord:
    """A record without a file: empty is what is not known."""
    width, height = (facts.get(name) for name in ("width", "height"))
    codec, precision = (facts.get(name) for name in ("codec", "precision"))
    return VideoRecord(
        video_id=video_id,
        path="",
        num_bytes=0,
        mtime_ns=0,
        fingerprint="",
        duration_seconds=duration,
        width=width if isinstance(width, int) else 0,
        height=height if isinstance(height, int) else 0,
        codec=codec if isinstance(codec, str) else "",
        extracted_at=time.time(),
        warnings=warnings,
        precision=precision if isinstance(precision, str) else None,
    )


def read_durations(path: Path) -> dict[str, float]:
    """Video id -> seconds, from CSV (video_id, duration) or JSONL (vid or video_id, duration) as QVHighlights has it;
    an id may come again with the same length.

    Raises:
        InputError: it cannot be read, or a length is none.
    """
    rows: list[tuple[str, Any, Any]] = []
    if path.suffix.lower() in (".jsonl", ".json"):
        for entry in json_lines(read_text(path), path):
            name = "vid" if "vid" in entry.members() else "video_id"
            rows.append((entry.what, entry[name].value, entry["duration"].value))
    else:
        table = read_table(path, required=("video_id", "duration"))
        rows = [(f"line {line}", cells["video_id"], cells["duration"]) for line, cells in table.rows]
    found: dict[str, float] = {}
    for what, video_id, value in rows:
        try:
            seconds = float(value)
        except (TypeError, ValueError):
            seconds = float("nan")
        if not isinstance(video_id, str) or isinstance(value, bool) or not 0 <= seconds <= MAX_SECONDS:
            raise wrong(path, f"{what}: {video_id!r} lasts {value!r}", allowed="seconds, 0 or more")
        if found.setdefault(video_id, seconds) != seconds:
            raise wrong(
                path,
                f"{video_id!r} lasts {found[video_id]} s and {seconds} s",
                allowed="one length per video",
            )
    return found
