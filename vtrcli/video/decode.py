"""How to reach the wanted times (a `DecodePlan`, chosen by cost), and one run over a video that carries it out.

ffmpeg reports two times per frame (`stats_enc_pre`): the slot of the grid it stands for, and the time stamp that
the decoder gave to its source. What to do when frames are missing is `vtrcli.video.reader`'s business.
"""

from __future__ import annotations

import math
import re
import secrets
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import count
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vtrcli.preprocessing import framing_of
from vtrcli.video import graph
from vtrcli.video.child import Child, Session
from vtrcli.video.ffmpeg import first_complaint
from vtrcli.video.files import VideoInfo
from vtrcli.video.probe import NO_TIME

Method = Literal["linear", "seek", "keyframes"]

# Distance of key frames where the header part showed fewer than two: x264's default, 250 frames, at 25 per second.
_UNKNOWN_KEYFRAME_SECONDS = 10.0
# Opening one more input costs as much as decoding about this many pixels. Measured: 10 to 15 ms of start, at
# 2,000 frames/s of 720p H.264 on one core.
_OPENING_PIXELS = 25e6
# Inputs are open at the same time; their pictures together stay below this (twelve at 1080p).
_OPEN_PIXELS = 26e6
_MAX_INPUTS = 12
# Targets and time bases are rounded to microseconds, a few of them may add up.
_TOLERANCE_SECONDS = 1e-5
# A key frame's time by its packet and by its decoder: containers with coarse clocks round them differently.
_SAME_SECONDS = 2e-3
# What ffmpeg reports of a frame, told from all else that it says by what no file can know of this process.
_TOKEN = secrets.token_hex(8)
_REPORT = f"{_TOKEN} {{pts}} {{ptsi}} {{tbi}};"
_RECORD = re.compile(_TOKEN.encode() + rb" (-?\d+) (-?\d+) (\d+)/(\d+);\n?")


@dataclass(frozen=True, kw_only=True)
class DecodePlan:
    """What to decode and how. `targets`: float64 [num_targets], seconds, increasing; those of key frames may be unknown
    (then there are none)."""

    method: Method
    targets: NDArray[np.float64]
    inputs_per_process: int = 1
    keep: tuple[int, int] | None = None  # of so many key frames; None for all

    @property
    def step_seconds(self) -> float | None:
        """Distance of two targets; None where they are not evenly spaced."""
        if len(self.targets) < 2:
            return 1.0
        steps = np.diff(self.targets)
        return float(steps[0]) if np.ptp(steps) < _TOLERANCE_SECONDS / len(steps) else None


def make_plan(info: VideoInfo, targets: NDArray[np.float64], *, may_seek: bool = True) -> DecodePlan:
    """The cheapest plan that gives exactly the frames on display at `targets`; not for key frames."""
    if not (may_seek and info.can_seek):
        return DecodePlan(method="linear", targets=targets)
    pixels = max(1, info.width * info.height)
    rate = info.rate
    # A seek lands on average half a key frame distance before its target.
    per_seek = (info.keyframe_seconds or _UNKNOWN_KEYFRAME_SECONDS) / 2 * rate * pixels + _OPENING_PIXELS
    linear = float(targets[-1]) * rate * pixels
    method: Method = "seek" if len(targets) * per_seek < linear else "linear"
    inputs = int(np.clip(_OPEN_PIXELS // pixels, 1, _MAX_INPUTS))
    return DecodePlan(method=method, targets=targets, inputs_per_process=inputs)


def keyframe_plan(targets: NDArray[np.float64], num_keyframes: int, max_frames: int | None) -> DecodePlan:
    """The plan for key frames at `targets` (float64 [num_keyframes], or empty where their times are not known)."""
    if max_frames is None or num_keyframes <= max_frames:
        return DecodePlan(method="keyframes", targets=targets)
    index = np.arange(num_keyframes)
    # the same rule as the filter of `graph.keyframes_command`
    kept = (index + 1) * max_frames // num_keyframes > index * max_frames // num_keyframes
    return DecodePlan(
        method="keyframes",
        targets=targets[kept] if len(targets) else targets,
        keep=(max_frames, num_keyframes),
    )


@dataclass(frozen=True)
class Frame:
    """`pixels`: uint8 [height, width, 3]; `seconds`: when it appears, from the start of the video; `kept`: its whole
    picture as `graph.Keeping` made it."""

    pixels: NDArray[np.uint8]
    seconds: float
    kept: bytes = b""


class SeekMissed(Exception):
    """Seeking cannot be trusted here: it landed after its target, or what it led to does not decode cleanly."""


class Decode:
    """Iterate over `frames()` once. Then `num_slots` targets were answered, by `num_frames` different frames, the last
    of which appears at `last_seconds`."""

    def __init__(self, session: Session, info: VideoInfo, plan: DecodePlan, decoding: graph.Decoding) -> None:
        self.num_slots = 0
        self.num_frames = 0
        self.last_seconds = -math.inf
        self.log = b""
        self.status = 0
        self._session = session
        self._info = info
        self._plan = plan
        self._decoding = decoding

    def frames(self) -> Iterator[Frame]:
        """Frames in order of time, without repetitions. Raises SeekMissed, or VideoError("timeout")."""
        ways = {"linear": self._linear, "seek": self._seek, "keyframes": self._keyframes}
        for frame in ways[self._plan.method]():
            self.num_slots += 1
            if frame.seconds > self.last_seconds:
                self.last_seconds = frame.seconds
                self.num_frames += 1
                yield self._parted(frame)

    def _parted(self, frame: Frame) -> Frame:
        """A frame as ffmpeg wrote it -> what the model sees, and the bytes that are kept: whole pictures are large."""
        keeping = self._decoding.keeping
        if keeping is None:
            return frame
        framing, (width, _) = framing_of(self._decoding.size), self._decoding.whole_size(self._info)
        seen, whole = frame.pixels[: framing.height, : framing.width], frame.pixels[framing.height :, :width]
        return Frame(seen.copy(), frame.seconds, keeping.encode(_without_fill(whole).copy()))

    def _linear(self) -> Iterator[Frame]:
        targets, step = self._plan.targets, self._plan.step_seconds
        command = graph.linear_command(
            self._info,
            self._decoding,
            first_seconds=float(targets[0]),
            step_seconds=step,
            report=_REPORT,
        )
        if step is None:
            yield from self._on_display(command)
            return
        last_index = -1
        with closing(self._run(command)) as run:
            for pixels, slot, source in run:
                index = round(slot / step)
                # ffmpeg rebuilds the graph when the picture size changes: the grid starts again, slots repeat.
                if index > last_index:
                    last_index = index
                    yield Frame(pixels, self._time(float(targets[0]) + index * step, source))
                if index >= len(targets) - 1:
                    return  # what comes after the last target need not be decoded

    def _on_display(self, command: list[str]) -> Iterator[Frame]:
        """Of all frames, the last at or before each target; the last one of all is shown as long as any."""
        targets = self._plan.targets.tolist()
        shown = None
        with closing(self._run(command)) as run:
            for pixels, slot, source in run:
                seconds = self._time(slot, source)
                while shown and targets and seconds > targets[0] + _TOLERANCE_SECONDS:
                    targets.pop(0)
                    yield shown
                if not targets:
                    return
                shown = Frame(pixels, seconds)
        frame_seconds = 1 / self._info.rate
        while shown and targets and targets.pop(0) < shown.seconds + frame_seconds:
            yield shown

    def _seek(self) -> Iterator[Frame]:
        targets = self._plan.targets.tolist()
        for begin in range(0, len(targets), self._plan.inputs_per_process):
            command = graph.seek_command(
                self._info,
                self._decoding,
                targets_seconds=targets[begin : begin + self._plan.inputs_per_process],
                report=_REPORT,
            )
            with closing(self._run(command)) as run:
                for pixels, slot, source in run:
                    seconds = self._time(slot, source)
                    if seconds > slot + _TOLERANCE_SECONDS:
                        raise SeekMissed
                    yield Frame(pixels, seconds)
            # Some streams cannot be entered at their key frames (old x264 writes what the decoder must know
            # only once): the pictures come out green. A linear pass tells whether it is the file's own damage.
            if first_complaint(self.log):
                raise SeekMissed

    def _keyframes(self) -> Iterator[Frame]:
        """From the key packets alone where their decoder gives just the frames that the packets promise; from where it
        does not, from all packets."""
        num_same = 0
        for frame in self._key_frames(decode_all=False):
            if not self._is_next_key(num_same, frame):
                break
            num_same += 1
            yield frame
        if not self._is_next_key(num_same, None):
            self.log, self.status = b"", 0
            last_seconds = float(self._plan.targets[num_same - 1]) if num_same else -math.inf
            for frame in self._key_frames(decode_all=True):
                if frame.seconds > last_seconds + _SAME_SECONDS:
                    yield frame

    def _is_next_key(self, index: int, frame: Frame | None) -> bool:
        """Whether frame number `index` (None: no more) is what the packets promise; where they promise none, it is."""
        targets = self._plan.targets
        if not len(targets):
            return True
        if frame is None or index >= len(targets):
            return frame is None and index == len(targets)
        return abs(frame.seconds - float(targets[index])) <= _SAME_SECONDS

    def _key_frames(self, *, decode_all: bool) -> Iterator[Frame]:
        command = graph.keyframes_command(
            self._info,
            self._decoding,
            keep=self._plan.keep,
            report=_REPORT,
            decode_all=decode_all,
        )
        with closing(self._run(command)) as run:
            for pixels, slot, source in run:
                is_own = source is not None and not self._info.is_counted
                seconds = self._time(slot, source) if is_own else slot - self._info.zero_seconds
                yield Frame(pixels, seconds)

    def _time(self, slot_seconds: float, source_seconds: float | None) -> float:
        """The source's time, from the start of the video; where the file has none, that of the frame a constant rate
        shows at the slot. A frame from before the start appears with it."""
        if source_seconds is not None and not self._info.is_counted:
            return max(0.0, source_seconds - self._info.zero_seconds)
        rate = self._info.rate
        return math.floor(slot_seconds * rate + _TOLERANCE_SECONDS) / rate

    def _run(self, command: list[str]) -> Generator[tuple[NDArray[np.uint8], float, float | None]]:
        """Yields (pixels, slot in seconds, source time in seconds or None where the file has none)."""
        on_card = self._decoding.gpu is not None
        with self._session.run(command, record_pattern=_RECORD, maps_device=on_card) as child:
            try:
                for index in count():
                    pixels = self._read(child)
                    record = None if pixels is None else child.record(index)
                    if pixels is None or record is None:
                        break
                    slot, source, numerator, denominator = (int(field) for field in record)
                    seconds = None if source == NO_TIME else source * numerator / denominator
                    yield pixels, slot / graph.MICROSECONDS, seconds
                self.status = child.wait() or self.status
            finally:
                self.log += child.log
        self._session.check_time()

    def _read(self, child: Child) -> NDArray[np.uint8] | None:
        pixels = np.empty(self._decoding.shape(self._info), np.uint8)
        filled = child.read_into(pixels.data.cast("B"))
        return pixels if filled == pixels.nbytes else None


def _without_fill(picture: np.ndarray) -> np.ndarray:
    """The part of a whole picture, uint8 [height, width, 3], that is not filled; all where no shape changed."""
    height, width, _ = picture.shape
    if (picture[:, -1] == graph.FILL).all():
        width = max(1, int((picture != graph.FILL).any(axis=(0, 2)).nonzero()[0].max(initial=0)) + 1)
    if (picture[-1] == graph.FILL).all():
        height = max(1, int((picture != graph.FILL).any(axis=(1, 2)).nonzero()[0].max(initial=0)) + 1)
    return picture[:height, :width]
