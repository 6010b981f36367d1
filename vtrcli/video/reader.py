"""A video file -> batches of RGB frames with their real times. The only door to decoding for the rest of vtr.

Which way the wanted times are reached, and one run over the file, is `vtrcli.video.decode`'s work; what is here is the
order of the steps, and what happens when a header lied.
"""

from __future__ import annotations

import math
import os
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from vtrcli.errors import UsageError, VideoError
from vtrcli.preprocessing import Size, framing_of
from vtrcli.video.child import Patience, Session, Sessions
from vtrcli.video.decode import Decode, DecodePlan, Frame, SeekMissed, keyframe_plan, make_plan
from vtrcli.video.ffmpeg import NO_REASON, decode_failure, first_complaint
from vtrcli.video.files import SEEKABLE, VideoInfo, check_file, check_unchanged
from vtrcli.video.graph import RESTART_SECONDS, Aspect, Decoding, Keeping
from vtrcli.video.hardware import not_for_a_card
from vtrcli.video.probe import (
    count_frames,
    key_packets,
    last_decoded,
    measure_end,
    patience_for,
    probe,
    refuse_encrypted,
)
from vtrcli.video.sampling import Rate, Sampling

# Without a limit of the user's: what measuring may take, plus so much per second of video.
AUTO_TIMEOUT_PER_SECOND = 2.0
# ffmpeg prints a length in hundredths of a second: more than this beyond it means that the header is wrong.
_PRINTED_SECONDS = 0.011
# No two pictures fit into less.
_ONE_PICTURE_SECONDS = 0.1
# Up to so much is held back until it is certain that the header told the right duration.
_HOLD_BYTES = 64 << 20
# A header that states more than two days is checked first; time stamps that span more than 31 days are broken.
_INCREDIBLE_SECONDS = 2 * 86_400.0
_IMPOSSIBLE_SECONDS = 31 * 86_400.0


@dataclass(frozen=True)
class FrameBatch:
    """Frames that follow each other: `pixels` uint8 [n, height, width, 3], RGB; `timestamps` float64 [n], seconds from
    the start of the video, strictly increasing over all batches; `kept`: their whole pictures, where those are wanted,
    as they are kept."""

    pixels: NDArray[np.uint8]
    timestamps: NDArray[np.float64]
    kept: tuple[bytes, ...] = ()


def open_video(
    path: str | os.PathLike[str],
    sampling: Sampling,
    *,
    size: Size,
    timeout_seconds: float | None = None,
    num_threads: int = 1,
    batch_frames: int = 16,
    aspect: Aspect = "display",
    keeping: Keeping | None = None,
    sessions: Sessions | None = None,
    gpu: int | None = None,
) -> VideoReader:
    """Probes the file, measures it where its header cannot be believed, and plans its decoding; iterate over what comes
    back to get the frames.

    `timeout_seconds` limits the time spent waiting for ffmpeg over the whole video (None: 60 s, a second per 20 MB, and
    twice its length). Two times that show the same picture give one frame. `aspect`: pixels made square as players do
    ("display"), or taken as they are stored ("pixels"). `keeping`: whole pictures of the frames too, from the same
    decode; it changes nothing else. `gpu`: the number of a card that decodes what it may (`vtrcli.video.hardware`); the
    rest, and what goes wrong there, is the processor's, and `left_to_cpu` says why. `sessions`: whose closing, in
    another thread, ends it, here too, with a ValueError. Raises VideoError, here and while iterating.
    """
    framing = framing_of(size)
    smallest = min(framing.height, framing.width)
    keep_size = keeping.size if keeping else 1
    numbers = {
        "size": smallest,
        "num_threads": num_threads,
        "batch_frames": batch_frames,
        "keep_size": keep_size,
    }
    for name, value in numbers.items():
        if value < 1:
            raise UsageError(f"{name} is {value}", allowed="at least 1", to_do=f"change {name}")
    state = check_file(path)
    decoding = Decoding(size=size, aspect=aspect, num_threads=num_threads, keeping=keeping, gpu=gpu)
    with_keys = sampling.times(0.0) is None
    info = probe(path, timeout_seconds=timeout_seconds, sessions=sessions, with_keys=with_keys)
    refuse_encrypted(info)
    stated_seconds = info.duration_seconds
    limit_seconds = patience_for(info.num_bytes) if timeout_seconds is None else timeout_seconds
    session = Session(path, Patience(limit_seconds), sessions=sessions)
    info = _measured(session, info, sampling)
    if info.duration_seconds is not None and info.duration_seconds > _IMPOSSIBLE_SECONDS:
        days = info.duration_seconds / 86_400
        raise VideoError("corrupt", f"its time stamps span {days:.0f} days", path=os.fspath(path))
    if timeout_seconds is None:
        session.patience.limit_seconds += AUTO_TIMEOUT_PER_SECOND * (info.duration_seconds or 0.0)
    if stated_seconds is not None and stated_seconds > _INCREDIBLE_SECONDS:
        stated_seconds = None
    return VideoReader(
        info,
        sampling,
        decoding,
        batch_frames=batch_frames,
        session=session,
        file_state=state,
        stated_seconds=stated_seconds,
    )


def _measured(session: Session, info: VideoInfo, sampling: Sampling) -> VideoInfo:
    """What is known of a video, with a length that its pictures really have.

    A pass over all packets tells where the pictures end, if no index led to the last ones or the file holds several
    recordings. Pictures that go on after the stated length make it longer. Where they end so early that a wanted time
    has none (the sound is often longer), their own length replaces it.
    """
    stated, end = info.duration_seconds, info.end_seconds
    if max(stated or 0.0, end or 0.0) > _INCREDIBLE_SECONDS:
        info = replace(info, has_restarts=True)
    if end is None or info.has_restarts or info.may_go_on or info.container not in SEEKABLE:
        last, end = end, measure_end(session, info)
        goes_on = info.may_go_on and last is not None and end is not None and end > last + RESTART_SECONDS
        info = replace(info, end_seconds=end, has_restarts=info.has_restarts or goes_on)
    if end is None:
        return info
    if stated is None or stated > _INCREDIBLE_SECONDS or end > stated - _PRINTED_SECONDS:
        return replace(info, duration_seconds=end)  # longer than stated, or the same to more digits
    times = sampling.times(stated)
    last = Rate().times(stated)[-1] if times is None else times[-1]
    return replace(info, duration_seconds=end) if last >= end else info


class VideoReader:
    """Context manager and iterator of `FrameBatch`; made by `open_video`, read once.

    `info` and `plan` are known from the start (the plan is made anew when the stated duration proves wrong), and why a
    card that was asked for did not decode it (`left_to_cpu`), unless that turns out on the way;
    `num_frames` and `warnings` after the end. `close()` may be called from any thread; the iteration that it
    interrupts raises ValueError, as the reading of a closed file does.
    """

    def __init__(
        self,
        info: VideoInfo,
        sampling: Sampling,
        decoding: Decoding,
        *,
        batch_frames: int,
        session: Session,
        file_state: os.stat_result,
        stated_seconds: float | None = None,
    ) -> None:
        self.info = info
        self.num_frames = 0
        self.warnings: tuple[str, ...] = ()
        self.left_to_cpu: str | None = None
        self._sampling = sampling
        self._decoding = decoding
        if decoding.gpu is not None and (why := not_for_a_card(info)):
            self._leave_to_cpu(why)
        self._batch_frames = batch_frames
        self._session = session
        self._file_state = file_state
        self._stated_seconds = stated_seconds
        self._is_one_picture = False  # no other than the one key frame
        self.plan = self._make_plan()
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
        while batch := list(islice(frames, self._batch_frames)):
            self.num_frames += len(batch)
            yield FrameBatch(
                pixels=np.stack([frame.pixels for frame in batch]),
                timestamps=np.array([frame.seconds for frame in batch]),
                kept=tuple(frame.kept for frame in batch) if self._decoding.keeping else (),
            )
        check_unchanged(self.info.path, self._file_state)

    def _frames(self) -> Iterator[Frame]:
        num_held = _HOLD_BYTES // framing_of(self._decoding.size).num_bytes
        if self.plan.method == "keyframes" or len(self.plan.targets) > num_held:
            # Too many to hold back; a fixed rate's times do not depend on the duration anyway.
            if self.plan.method == "seek":
                self.plan = self._make_plan(may_seek=False)
            decode = self._new_decode()
            yield from decode.frames()
            if self._failed_on_card(decode):
                last_seconds, decode = decode.last_seconds, self._new_decode()
                yield from (frame for frame in decode.frames() if frame.seconds > last_seconds)
            self._judge(decode)
        else:
            yield from self._whole()

    def _whole(self) -> list[Frame]:
        """All frames at once, so that a wrong index is mended before any is handed out."""
        try:
            decode, frames = self._decode()
        except SeekMissed:
            self.plan = self._make_plan(may_seek=False)
            decode, frames = self._decode()
        if not frames and self._ends_before_the_first_time():
            decode, frames = self._decode()
        self._judge(decode)
        return frames

    def _decode(self) -> tuple[Decode, list[Frame]]:
        decode = self._new_decode()
        try:
            frames = list(decode.frames())
        except SeekMissed:
            if not self._failed_on_card(decode):
                raise
            return self._decode()
        return self._decode() if self._failed_on_card(decode) else (decode, frames)

    def _failed_on_card(self, decode: Decode) -> bool:
        """Whether anything went wrong on a card; then the processor decodes from here on."""
        if self._decoding.gpu is None:
            return False
        complaint = first_complaint(decode.log)
        if decode.num_frames and not complaint:
            return False
        self._leave_to_cpu(complaint or "no frame came from the GPU")
        return True

    def _leave_to_cpu(self, why: str) -> None:
        self.left_to_cpu = why
        self._decoding = replace(self._decoding, gpu=None)

    def _ends_before_the_first_time(self) -> bool:
        """Whether something decodes after all, before the first time that was wanted: then other times are planned."""
        last_seconds = last_decoded(self._session, self.info)
        if last_seconds is None or last_seconds >= self.plan.targets[0]:
            return False
        # so long that the last frame is on display at the last time
        duration_seconds = last_seconds + 1 / self.info.rate
        self.info = replace(self.info, duration_seconds=duration_seconds)
        self.plan = self._make_plan(may_seek=False)
        return True

    def _make_plan(self, *, may_seek: bool = True) -> DecodePlan:
        times = self._sampling.times(self.info.duration_seconds or 0.0)
        return self._plan_keyframes() if times is None else make_plan(self.info, times, may_seek=may_seek)

    def _plan_keyframes(self) -> DecodePlan:
        most = self._sampling.max_frames
        if self.info.is_counted:
            count = 0 if most is None else count_frames(self._session, self.info, keyframes=True)
            return keyframe_plan(np.zeros(0), count, most)
        key_seconds: Sequence[float] = self.info.key_seconds
        is_one_picture = self.info.num_pictures == 1
        if self.info.num_pictures is None or self.info.has_restarts:
            packets = key_packets(self._session, self.info)
            key_seconds = packets.key_seconds
            end_seconds = packets.end_seconds - self.info.zero_seconds
            is_one_picture = end_seconds >= (self.info.end_seconds or math.inf)
        times = np.array(sorted(key_seconds)) - self.info.zero_seconds
        shown = np.maximum(times[times > -_PRINTED_SECONDS], 0.0)
        self._is_one_picture = is_one_picture and len(shown) == 1
        if not len(shown):  # an edit list can begin behind the only key frame
            return make_plan(self.info, np.zeros(1), may_seek=False)
        return keyframe_plan(shown, len(shown), most)

    def _new_decode(self) -> Decode:
        return Decode(self._session, self.info, self.plan, self._decoding)

    def _reached_the_end(self, decode: Decode) -> bool:
        """Whether the last frame that came is the last one there is: nothing was lost."""
        frame_seconds = 1 / self.info.rate
        end_seconds = self.info.end_seconds
        return end_seconds is not None and decode.last_seconds > end_seconds - 1.5 * frame_seconds

    def _judge(self, decode: Decode) -> None:
        """Raises VideoError for a video without frames; puts what is missing into `warnings`."""
        complaint = first_complaint(decode.log)
        if decode.num_frames == 0:
            check_unchanged(self.info.path, self._file_state)  # a download in progress is not a broken file
            reason = decode_failure(decode.log, decode.status, is_encrypted=self.info.is_encrypted)
            raise VideoError(reason, complaint or NO_REASON, path=str(self.info.path))
        wanted = len(self.plan.targets)
        end_seconds = self.info.end_seconds or 0.0
        is_one_picture = wanted > 1 or self._is_one_picture or end_seconds < _ONE_PICTURE_SECONDS
        if decode.num_frames == 1 and is_one_picture:
            # one picture and a song: it is shown as long as the file lasts
            lasting = max(self._stated_seconds or 0.0, end_seconds)
            self.info = replace(self.info, duration_seconds=lasting or self.info.duration_seconds)
        if decode.num_slots < wanted and not self._reached_the_end(decode):
            self.warnings = (
                f"{decode.num_frames} of {wanted} frames decoded: {complaint or 'the video ends there'}",
            )
        elif complaint:
            self.warnings = (f"damaged in places: {complaint}",)
