"""Decode workers -> bounded queue -> batches across videos -> encoder -> finished videos.

Workers are threads; each drives one ffmpeg child at a time, so decoding runs beside the encoder in the calling
thread. The queue is bounded in frames: memory does not depend on the length of a video.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Generator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vtrcli.errors import VideoError, VtrError
from vtrcli.extraction.worklist import Job
from vtrcli.model.backbone import FrameBatcher
from vtrcli.preprocessing import Size
from vtrcli.store.frames import FrameJpegs, encode_jpegs
from vtrcli.store.records import file_content
from vtrcli.video.child import Sessions
from vtrcli.video.files import VideoInfo
from vtrcli.video.graph import Aspect
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
    keep_frames: bool
    aspect: Aspect = "display"


@dataclass
class FinishedVideo:
    """A video whose frames are all encoded. `features` float32 [num_frames, dim], `timestamps` seconds."""

    job: Job
    info: VideoInfo
    features: np.ndarray
    timestamps: np.ndarray
    warnings: tuple[str, ...]
    jpegs: FrameJpegs | None
    content: str | None


@dataclass
class FailedVideo:
    """A video that was given up."""

    job: Job
    error: VideoError


@dataclass
class _Frames:
    number: int
    pixels: np.ndarray
    timestamps: np.ndarray
    jpegs: tuple[bytes, ...]


@dataclass
class _End:
    number: int
    info: VideoInfo | None = None
    warnings: tuple[str, ...] = ()
    content: str | None = None
    error: VideoError | None = None
    fatal: BaseException | None = None  # ends the run: raised in the caller's thread


@dataclass
class _Open:
    """A video on its way: what has come back from the encoder so far."""

    features: list[np.ndarray] = field(default_factory=list)
    timestamps: list[np.ndarray] = field(default_factory=list)
    jpegs: list[bytes] = field(default_factory=list)
    num_pushed: int = 0
    num_encoded: int = 0
    end: _End | None = None


def run_pipeline(
    jobs: list[Job],
    *,
    encode: Callable[[np.ndarray], np.ndarray],
    batch_size: int,
    settings: DecodeSettings,
    on_frames: Callable[[int], None] = lambda num_frames: None,
) -> Generator[FinishedVideo | FailedVideo, None, None]:
    """Yield each job's outcome as it is reached, in no fixed order.

    Closing the generator (or Ctrl-C in it) stops the workers and kills their children.

    Args:
        encode: uint8 [batch_size, height, width, 3] -> float32 [batch_size, dim].
        on_frames: called with the number of frames after each encoded batch.
    """
    batcher = FrameBatcher(encode, batch_size=batch_size, input_size=settings.input_size)
    num_queued = max(2, 2 * batch_size // BATCH_FRAMES) + settings.num_workers
    workers = _Workers(jobs, settings, num_queued=num_queued)
    opened: dict[int, _Open] = {}
    num_left = len(jobs)
    try:
        while num_left:
            item = workers.next_item()
            touched = set()
            if item is None:
                done = batcher.flush()
            else:
                touched.add(item.number)
                done = _take(item, opened.setdefault(item.number, _Open()), batcher)
            for number, features in done:
                on_frames(len(features))
                touched.add(number)
                opened[number].features.append(features)
                opened[number].num_encoded += len(features)
            for number in sorted(touched):
                outcome = _outcome(jobs[number], opened[number])
                if outcome is not None:
                    del opened[number]
                    num_left -= 1
                    yield outcome
    finally:
        workers.stop()


def _take(item: _Frames | _End, video: _Open, batcher: FrameBatcher) -> list[tuple[int, np.ndarray]]:
    """Note one queue item; returns what the encoder gave back for it and for the videos before it."""
    if isinstance(item, _End):
        if item.fatal is not None:
            raise item.fatal
        video.end = item
        return []
    video.timestamps.append(item.timestamps)
    video.jpegs += item.jpegs
    video.num_pushed += len(item.pixels)
    return batcher.push(item.number, item.pixels)


def _outcome(job: Job, video: _Open) -> FinishedVideo | FailedVideo | None:
    """The outcome of a video once its end has come and all its frames are encoded."""
    end = video.end
    if end is None or video.num_encoded < video.num_pushed:
        return None
    if end.error is not None or end.info is None:
        return FailedVideo(job, end.error or VideoError("no-frames", "the decoder gave no frame"))
    return FinishedVideo(
        job=job,
        info=end.info,
        features=np.concatenate(video.features),
        timestamps=np.concatenate(video.timestamps),
        warnings=end.warnings,
        jpegs=FrameJpegs(tuple(video.jpegs)) if video.jpegs else None,
        content=end.content,
    )


def bug_in_decoding(path: Path, bug: Exception) -> VideoError:
    """The failure of a video whose decoding met a fault of ours: it costs that video. The traceback is logged."""
    _LOG.error("a bug in decoding %s; the run goes on", path, exc_info=bug)
    words = " ".join(f"{type(bug).__name__}: {bug}".split())
    return VideoError("bug", words[:_DETAIL_CHARACTERS], path=str(path))


class _Workers:
    """Threads that decode jobs in order into one bounded queue."""

    def __init__(self, jobs: list[Job], settings: DecodeSettings, *, num_queued: int) -> None:
        self._settings = settings
        self._jobs = iter(enumerate(jobs))
        self._lock = threading.Lock()
        self._queue: queue.Queue[_Frames | _End | None] = queue.Queue(num_queued)
        self._stopping = threading.Event()
        self._sessions = Sessions()
        self._threads = [
            threading.Thread(target=self._work, name=f"decode-{number}", daemon=True)
            for number in range(min(settings.num_workers, len(jobs)))
        ]
        self._num_running = len(self._threads)
        for thread in self._threads:
            thread.start()

    def next_item(self) -> _Frames | _End | None:
        """The next item; None when none came for a while or none will come: time to encode what is there."""
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
            try:
                end = self._decode(number, job)
            except VideoError as error:
                end = _End(number, error=error)
            except MemoryError:
                end = _End(number, error=VideoError("memory", "no memory is left", path=str(job.path)))
            except VtrError as error:  # no ffmpeg, say: no other video would fare better
                end = _End(number, fatal=error)
            except Exception as error:
                if self._stopping.is_set():
                    break  # its session was closed
                end = _End(number, error=bug_in_decoding(job.path, error))
            except BaseException as error:
                end = _End(number, fatal=error)
            self._put(end)
        self._put(None)

    def _decode(self, number: int, job: Job) -> _End:
        settings = self._settings
        with open_video(
            job.path,
            settings.sampling,
            size=settings.input_size,
            timeout_seconds=settings.timeout_seconds,
            batch_frames=BATCH_FRAMES,
            aspect=settings.aspect,
            sessions=self._sessions,
        ) as reader:
            for batch in reader:
                jpegs = encode_jpegs(batch.pixels) if settings.keep_frames else ()
                self._put(_Frames(number, batch.pixels, batch.timestamps, jpegs))
                if self._stopping.is_set():
                    break
        return _End(number, info=reader.info, warnings=reader.warnings, content=self._content(job))

    def _content(self, job: Job) -> str | None:
        """SHA-256 of the file, which the decoder has just read, while the encoder is at its frames."""
        try:
            return job.content or file_content(job.path, should_stop=self._stopping.is_set)
        except OSError:  # it is gone, which is found out when its record is written
            return None

    def _put(self, item: _Frames | _End | None) -> None:
        while not self._stopping.is_set():
            with suppress(queue.Full):
                self._queue.put(item, timeout=0.1)
                return
