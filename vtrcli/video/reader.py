"""A video file -> batches of RGB frames with their real times. The only door to decoding for the rest of vtr.

Leaves the choice of method to `plan`, one run over the file to `decode`; what is here is the order of these
steps, and what happens when a header lied.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from vtrcli.errors import UsageError, VideoError
from vtrcli.video.child import Patience, Session
from vtrcli.video.decode import Decode, Frame, SeekMissed
from vtrcli.video.failures import NO_REASON, decode_failure, first_complaint
from vtrcli.video.files import check_file, check_unchanged
from vtrcli.video.measure import count_keyframes, measure_duration
from vtrcli.video.plan import Plan, make_plan
from vtrcli.video.probe import PROBE_SECONDS, VideoInfo, probe
from vtrcli.video.sampling import Sampling
from vtrcli.video.shortcut import Decoded, decode_at_once

# Without a limit of the user's: this, plus so much per second of video.
AUTO_TIMEOUT_SECONDS = 60.0
AUTO_TIMEOUT_PER_SECOND = 2.0
# Up to so much is held back until it is certain that the header told the right duration.
_HOLD_BYTES = 64 << 20
# A header that states more than two days is checked first; time stamps that span more than 31 days are broken.
_INCREDIBLE_SECONDS = 2 * 86_400.0
_IMPOSSIBLE_SECONDS = 31 * 86_400.0


@dataclass(frozen=True)
class FrameBatch:
    """Frames that follow each other: `pixels` uint8 [n, size, size, 3], RGB; `timestamps` float64 [n], seconds from
    the start of the video, strictly increasing over all batches."""

    pixels: NDArray[np.uint8]
    timestamps: NDArray[np.float64]


def open_video(
    path: str | os.PathLike[str],
    sampling: Sampling,
    *,
    size: int,
    timeout_seconds: float | None = None,
    num_threads: int = 1,
    batch_frames: int = 16,
) -> VideoReader:
    """Probes the file and plans its decoding; iterate over what comes back to get the frames.

    A short MP4 clip is decoded here already (see `vtrcli.video.shortcut`), anything else while iterating.
    `timeout_seconds` limits the time spent waiting for ffmpeg over the whole video (None: 60 s + twice its
    length). Two times that show the same picture give one frame. Raises VideoError, here and while iterating.
    """
    for name, value in (("size", size), ("num_threads", num_threads), ("batch_frames", batch_frames)):
        if value < 1:
            raise UsageError(f"{name} is {value}", allowed="at least 1", to_do=f"change {name}")
    state = check_file(path)
    settings = _Settings(sampling=sampling, size=size, num_threads=num_threads, batch_frames=batch_frames)
    session = Session(path, Patience(AUTO_TIMEOUT_SECONDS if timeout_seconds is None else timeout_seconds))
    decoded = decode_at_once(
        session, path, sampling, size=size, num_threads=num_threads, most_frames=settings.held_frames
    )
    if decoded is not None:
        return VideoReader(decoded.info, settings, session=session, file_state=state, decoded=decoded)
    info = probe(path, timeout_seconds=PROBE_SECONDS if timeout_seconds is None else timeout_seconds)
    if info.duration_seconds is None or info.duration_seconds > _INCREDIBLE_SECONDS:
        info = replace(info, duration_seconds=measure_duration(session, info))
    if info.duration_seconds is not None and info.duration_seconds > _IMPOSSIBLE_SECONDS:
        days = info.duration_seconds / 86_400
        raise VideoError("corrupt", f"its time stamps span {days:.0f} days", path=os.fspath(path))
    if timeout_seconds is None:
        session.patience.limit_seconds += AUTO_TIMEOUT_PER_SECOND * (info.duration_seconds or 0.0)
    return VideoReader(info, settings, session=session, file_state=state)


@dataclass(frozen=True, kw_only=True)
class _Settings:
    sampling: Sampling
    size: int
    num_threads: int
    batch_frames: int

    @property
    def held_frames(self) -> int:
        return _HOLD_BYTES // (self.size**2 * 3)


class VideoReader:
    """Context manager and iterator of `FrameBatch`; made by `open_video`, read once.

    `info` and `plan` are known from the start (the plan is made anew when the stated duration proves wrong);
    `num_frames` and `warnings` after the end. `close()` may be called from any thread; the iteration that it
    interrupts raises ValueError, as the reading of a closed file does.
    """

    def __init__(
        self,
        info: VideoInfo,
        settings: _Settings,
        *,
        session: Session,
        file_state: os.stat_result,
        decoded: Decoded | None = None,
    ) -> None:
        self.info = info
        self.num_frames = 0
        self.warnings: tuple[str, ...] = ()
        self._settings = settings
        self._session = session
        self._file_state = file_state
        self._decoded = decoded
        self.plan = decoded.plan if decoded else self._make_plan()
        self._batches = self._iterate()

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        self._batches.close()

    def __iter__(self) -> VideoReader:
        return self

    def __next__(self) -> FrameBatch:
        return next(self._batches)

    def close(self) -> None:
        """Kills ffmpeg if it runs. Safe from any thread and more than once."""
        self._session.close()

    def _iterate(self) -> Generator[FrameBatch]:
        frames = self._frames()
        while batch := list(islice(frames, self._settings.batch_frames)):
            self.num_frames += len(batch)
            yield FrameBatch(
                pixels=np.stack([frame.pixels for frame in batch]),
                timestamps=np.array([frame.seconds for frame in batch]),
            )
        check_unchanged(self.info.path, self._file_state)

    def _frames(self) -> Iterator[Frame]:
        if self._decoded is not None:
            self._judge(self._decoded.decode)
            yield from self._decoded.frames
            return
        if self.plan.method == "keyframes" or len(self.plan.targets) > self._settings.held_frames:
            # Too many to hold back; a fixed rate's times do not depend on the duration anyway.
            self.plan = self._make_plan(may_seek=False)
            decode = self._new_decode()
            yield from decode.frames()
            self._judge(decode)
        else:
            yield from self._whole()

    def _whole(self) -> list[Frame]:
        """All frames at once, so that a wrong index or a wrong duration is mended before any is handed out."""
        decode = self._new_decode()
        try:
            frames = list(decode.frames())
        except SeekMissed:
            self.plan = self._make_plan(may_seek=False)
            decode = self._new_decode()
            frames = list(decode.frames())
        if frames and decode.num_slots < len(self.plan.targets) and self._really_shorter():
            decode = self._new_decode()
            frames = list(decode.frames())
        self._judge(decode)
        return frames

    def _really_shorter(self) -> bool:
        """Whether the packets end before the header says, so that other times are due: then they are planned."""
        seconds = measure_duration(self._session, self.info)
        if seconds is None or seconds >= self.plan.targets[-1]:
            return False
        self.info = replace(self.info, duration_seconds=seconds)
        before, self.plan = self.plan, self._make_plan(may_seek=self.plan.method == "seek")
        # A fixed rate gives the same times again, only fewer of them: those have been decoded.
        return not np.isin(self.plan.targets, before.targets).all()

    def _make_plan(self, *, may_seek: bool = True) -> Plan:
        sampling = self._settings.sampling
        num_keyframes = None
        if sampling.keyframes and sampling.max_frames is not None:
            num_keyframes = count_keyframes(self._session, self.info)
        return make_plan(self.info, sampling, num_keyframes=num_keyframes, may_seek=may_seek)

    def _new_decode(self) -> Decode:
        settings = self._settings
        return Decode(
            self._session, self.info, self.plan, size=settings.size, num_threads=settings.num_threads
        )

    def _judge(self, decode: Decode) -> None:
        """Raises VideoError for a video without frames; puts what is missing into `warnings`."""
        complaint = first_complaint(decode.log)
        if decode.num_frames == 0:
            check_unchanged(self.info.path, self._file_state)  # a download in progress is not a broken file
            reason = decode_failure(decode.log, decode.status, is_encrypted=self.info.is_encrypted)
            raise VideoError(reason, complaint or NO_REASON, path=str(self.info.path))
        wanted = len(self.plan.targets)
        if decode.num_slots < wanted:
            self.warnings = (
                f"{decode.num_frames} of {wanted} frames decoded: {complaint or 'the video ends there'}",
            )
        elif complaint:
            self.warnings = (f"damaged in places: {complaint}",)
