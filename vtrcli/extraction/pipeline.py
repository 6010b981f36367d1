"""Decode workers -> bounded queue -> batches across videos -> encoder -> finished videos.

Workers are threads; each drives one ffmpeg child at a time, so decoding runs beside the encoder in the calling
thread. The queue is bounded in frames: memory does not depend on the length of a video.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vtrcli.errors import VideoError, VtrError
from vtrcli.extraction.similar import NewFrames
from vtrcli.model.frame_batches import FrameBatcher, Lane
from vtrcli.preprocessing import Size
from vtrcli.store.frames import FrameJpegs, encode_whole
from vtrcli.store.records import FileState, file_content
from vtrcli.video.child import Sessions
from vtrcli.video.files import VideoInfo
from vtrcli.video.graph import Aspect, Keeping
from vtrcli.video.reader import open_video
from vtrcli.video.sampling import Sampling

BATCH_FRAMES = 16  # frames per queue item
IDLE_SECONDS = 1.0  # a part-filled batch waits this long for more frames
_DETAIL_CHARACTERS = 200
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class DecodeSettings:
    """How the workers decode."""

    sampling: Sampling
    input_size: Size
    num_workers: int
    timeout_seconds: float | None
    keep_size: int | None  # short side of the whole pictures that are kept; None for none
    aspect: Aspect = "display"
    similar_frames: float = 0.0  # frames that differ by no more share a feature, see `similar.NewFrames`
    gpu: int | None = None  # the card that decodes what it may


@dataclass(frozen=True)
class Job:
    """One file to decode, or to be given features that are known.

    Attributes:
        content: its SHA-256 where it was read.
        rows_of: names the content whose rows it gets instead of being decoded, see `content_key`.
        root, relative_path: the root that holds it, and the path below that.
    """

    path: Path
    video_id: str
    state: FileState
    content: str | None = None
    rows_of: str | None = None
    root: str | None = None
    relative_path: str | None = None


@dataclass
class FinishedVideo:
    """A video that was decoded to its end. What its frames gave is there once all of them are encoded: `features`
    float32 [num_frames, dim], `timestamps` float64 [num_frames] in seconds, and `jpegs` where frames are kept.
    `num_encoded`: frames that the encoder saw; the others share the feature of one before them."""

    job: Job
    info: VideoInfo
    warnings: tuple[str, ...]
    content: str | None
    left_to_cpu: str | None = None  # why a card that was asked for did not decode it
    features: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    timestamps: np.ndarray = field(default_factory=lambda: np.zeros(0))
    jpegs: FrameJpegs | None = None
    num_encoded: int = 0


@dataclass
class FailedVideo:
    """A video that was given up."""

    job: Job
    error: VideoError


@dataclass
class _Frames:
    """`pixels`: of frames to encode; `numbers` int64 [num_frames]: which of the video's encoded ones each frame is."""

    pixels: np.ndarray
    numbers: np.ndarray
    timestamps: np.ndarray
    jpegs: tuple[bytes, ...]


# What a worker sends of a video: frames, how it ended, or what ends the run (raised in the caller's thread).
_Item = _Frames | FinishedVideo | FailedVideo | BaseException


@dataclass
class _Open:
    """A video on its way: what has come back from the encoder so far."""

    features: list[np.ndarray] = field(default_factory=list)
    numbers: list[np.ndarray] = field(default_factory=list)
    timestamps: list[np.ndarray] = field(default_factory=list)
    jpegs: list[bytes] = field(default_factory=list)
    num_left: int = 0  # frames that the encoder has not given back yet
    end: FinishedVideo | FailedVideo | None = None

    def outcome(self) -> FinishedVideo | FailedVideo | None:
        """How it ended, once its end has come and all its frames are encoded."""
        if self.num_left or self.end is None:
            return None
        if isinstance(self.end, FinishedVideo):
            encoded = np.concatenate(self.features)
            self.end.num_encoded = len(encoded)
            self.end.features = encoded[np.concatenate(self.numbers)]
            self.end.timestamps = np.concatenate(self.timestamps)
            self.end.jpegs = FrameJpegs(tuple(self.jpegs)) if self.jpegs else None
        return self.end


def run_pipeline(
    jobs: list[Job],
    *,
    lanes: Sequence[Lane],
    settings: DecodeSettings,
    on_frames: Callable[[int], None] = lambda num_frames: None,
) -> Generator[FinishedVideo | FailedVideo, None, None]:
    """Yield each job's outcome as it is reached, in no fixed order.

    Closing the generator (or Ctrl-C in it) stops the workers and kills their children.

    Args:
        lanes: where batches are filled and encoded, see `vtrcli.model.frame_batches`.
        on_frames: called with a number of frames that are done: encoded, or of a feature that is there or on its way.
    """
    batcher = FrameBatcher(lanes)
    num_queued = max(2, 2 * batcher.batch_size // BATCH_FRAMES) + settings.num_workers
    workers = _Workers(jobs, settings, num_queued=num_queued)
    opened: dict[int, _Open] = {}
    num_left = len(jobs)
    try:
        while num_left:
            touched = set()
            arrived = workers.next_item()
            if arrived is None:
                done = batcher.flush()
            else:
                number, item = arrived
                touched.add(number)
                if isinstance(item, _Frames) and len(item.numbers) > len(item.pixels):
                    on_frames(len(item.numbers) - len(item.pixels))
                done = _take(number, item, opened.setdefault(number, _Open()), batcher)
            for number, features in done:
                on_frames(len(features))
                touched.add(number)
                opened[number].features.append(features)
                opened[number].num_left -= len(features)
            for number in sorted(touched):
                outcome = opened[number].outcome()
                if outcome is not None:
                    del opened[number]
                    num_left -= 1
                    yield outcome
    finally:
        workers.stop()
        batcher.close()


def _take(number: int, item: _Item, video: _Open, batcher: FrameBatcher) -> list[tuple[int, np.ndarray]]:
    """Note what came of a video; returns what the encoder gave back for it and for the videos before it."""
    if isinstance(item, BaseException):
        raise item
    if not isinstance(item, _Frames):
        video.end = item
        return []
    video.numbers.append(item.numbers)
    video.timestamps.append(item.timestamps)
    video.jpegs += item.jpegs
    video.num_left += len(item.pixels)
    return batcher.push(number, item.pixels)


def bug_in_decoding(path: Path, bug: Exception) -> VideoError:
    """The failure of a video whose decoding met a fault of ours: it costs that video. The traceback is logged."""
    _LOG.error("a bug in decoding %s; the run goes on", path, exc_info=bug)
    words = " ".join(f"{type(bug).__name__}: {bug}".split())
    return VideoError("bug", words[:_DETAIL_CHARACTERS], path=str(path))


class _Workers:
    """Threads that decode jobs in order into one bounded queue."""

    def __init__(self, jobs: list[Job], settings: DecodeSettings, *, num_queued: int) -> None:
        self._settings = settings
        keep_size = settings.keep_size
        self._keeping = None if keep_size is None else Keeping(size=keep_size, encode=encode_whole)
        self._jobs = iter(enumerate(jobs))
        self._lock = threading.Lock()
        self._queue: queue.Queue[tuple[int, _Item] | None] = queue.Queue(num_queued)
        self._stopping = threading.Event()
        self._sessions = Sessions()
        self._threads = [
            threading.Thread(target=self._work, name=f"decode-{number}", daemon=True)
            for number in range(min(settings.num_workers, len(jobs)))
        ]
        self._num_running = len(self._threads)
        for thread in self._threads:
            thread.start()

    def next_item(self) -> tuple[int, _Item] | None:
        """What came next, with the number of its job; None when nothing came for a while or will come: then what is
        there is to be encoded."""
        while self._num_running or not self._queue.empty():
            try:
                item = self._queue.get(timeout=IDLE_SECONDS)
            except queue.Empty:
                return None
            if item is not None:
                return item
            self._num_running -= 1
        return None

    def stop(self) -> None:
        """End the children and the threads, whatever they are doing."""
        self._stopping.set()
        self._sessions.close()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while not self._stopping.is_set():
            with self._lock:
                number, job = next(self._jobs, (-1, None))
            if job is None:
                break
            end: _Item
            try:
                end = self._decode(number, job)
            except VideoError as error:
                end = FailedVideo(job, error)
            except MemoryError:
                end = FailedVideo(job, VideoError("memory", "no memory is left", path=str(job.path)))
            except VtrError as error:  # no ffmpeg, say: no other video would fare better
                end = error
            except Exception as error:  # a fault of ours, which costs this video alone
                if self._stopping.is_set():
                    break  # its session was closed
                end = FailedVideo(job, bug_in_decoding(job.path, error))
            except BaseException as error:  # for the thread that waits, which raises it
                end = error
            self._put((number, end))
        self._put(None)

    def _decode(self, number: int, job: Job) -> FinishedVideo:
        settings = self._settings
        new_frames = NewFrames(settings.similar_frames)
        with open_video(
            job.path,
            settings.sampling,
            size=settings.input_size,
            timeout_seconds=settings.timeout_seconds,
            batch_frames=BATCH_FRAMES,
            aspect=settings.aspect,
            keeping=self._keeping,
            gpu=settings.gpu,
            sessions=self._sessions,
        ) as reader:
            for batch in reader:
                pixels, numbers = new_frames.pick(batch.pixels)
                self._put((number, _Frames(pixels, numbers, batch.timestamps, batch.kept)))
                if self._stopping.is_set():
                    break
        return FinishedVideo(job, reader.info, reader.warnings, self._content(job), reader.left_to_cpu)

    def _content(self, job: Job) -> str | None:
        """SHA-256 of the file, which the decoder has just read, while the encoder is at its frames."""
        try:
            return job.content or file_content(job.path, should_stop=self._stopping.is_set)
        except OSError:  # it is gone, which is found out when its record is written
            return None

    def _put(self, item: tuple[int, _Item] | None) -> None:
        while not self._stopping.is_set():
            with suppress(queue.Full):
                self._queue.put(item, timeout=0.1)
                return
