"""Which frame of a file is on display at a time, as editors count: in whole frames from the first picture.

From the time stamps of its packets near the times that are asked for: nothing is decoded, and where an index leads
there, a long film is not read up to them.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from vtrcli.video import graph
from vtrcli.video.child import Patience, Session
from vtrcli.video.files import VideoInfo
from vtrcli.video.probe import NO_TIME, each_packet, lines_of, patience_for, refuse_encrypted

# Frames per second that editors and cameras have.
STANDARD_RATES = tuple(
    Fraction(rate)
    for rate in "24000/1001 24 25 30000/1001 30 48 50 60000/1001 60 100 120000/1001 120 240000/1001 240".split()
)
# As everywhere in this room, so that rounding misses no frame that appears exactly at a time.
_MICROSECOND = Fraction(1, 1_000_000)
# A header states the length of a video in hundredths of a second.
_AT_THE_END = Fraction(11, 1000)
# Pictures that lie no further than this from whole frames come at a constant rate: Matroska rounds their times to
# milliseconds, phones to 1/600 s. Our choice.
_CONSTANT_FRAMES = 0.25
# ffmpeg prints a rate with two digits.
_PRINTED = 0.00501
# A guess of the rate that is further away than this from the average is no guess at the same rate.
_SAME_RATE = 0.01
# So much is listed around each time; what lies closer together is listed in one go.
_BEHIND_SECONDS = 5.0
_JOINED_SECONDS = 30.0


@dataclass(frozen=True, kw_only=True)
class FrameCount:
    """How a video's frames are counted.

    Attributes:
        rate: frames per second: its own, or of a variable one the nominal rate, at which editors conform it.
        is_variable: whether its pictures do not come at that rate (where they were looked at).
        first_seconds: when the first picture appears, from the start of the video; sound may begin before.
        num_frames: from the first picture to the end of the last.
        spans: (first frame, frame after the last) of each span of time that was asked for.
    """

    rate: Fraction
    is_variable: bool
    first_seconds: float
    num_frames: int
    spans: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class _Pictures:
    """From when to when each is on display, in units of `base` seconds on the container's clock, in that order."""

    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    base: Fraction

    def start(self, index: int) -> Fraction:
        """In seconds."""
        return int(self.starts[index]) * self.base

    def end(self, index: int) -> Fraction:
        """In seconds."""
        return int(self.ends[index]) * self.base

    def at(self, seconds: Fraction) -> int:
        """Which is on display; the first one where none is yet."""
        return max(0, int(np.searchsorted(self.starts, math.floor(seconds / self.base), side="right")) - 1)


def count_frames_of(info: VideoInfo, spans: Sequence[tuple[float, float]]) -> FrameCount:
    """The frames of spans of time (start and end in seconds from the start of the video).

    The first is the frame on display at the start, the one after the last that on display at the end: spans that touch
    share no frame. One that reaches the end of the pictures includes the last; each has one frame at least.

    Of a variable rate the number is that of the first frame, at the nominal rate, that shows the picture in question:
    an editor shows at frame n what is on display n / rate seconds after the first picture.

    Raises:
        VideoError: its packets cannot be read or it takes longer than 60 s and a second per 20 MB; its
            pictures are encrypted.
    """
    refuse_encrypted(info)
    times = [seconds for span in spans for seconds in span]
    pictures = None if info.is_counted else _pictures(info, times)
    if pictures is None:
        return _counted(info, spans)
    rate, is_variable = _rate(info, pictures)
    first, zero = pictures.start(0), Fraction(info.zero_seconds)
    # Of a variable rate it is not rounded but for what the times themselves are.
    slack = pictures.base / 2 * rate if is_variable else Fraction(1, 2)

    def number(seconds: Fraction) -> int:
        return math.ceil((seconds - first) * rate - slack)

    numbered = []
    for begin, end in spans:
        first_frame = number(pictures.start(pictures.at(zero + _latest(begin))))
        last = pictures.at(zero + _latest(end))
        is_over = last == len(pictures.starts) - 1 and zero + Fraction(end) + _AT_THE_END >= pictures.end(
            last
        )
        after = number(pictures.end(last) if is_over else pictures.start(last))
        numbered.append((first_frame, max(after, first_frame + 1)))
    stated = number(zero + Fraction(_end_seconds(info)))
    return FrameCount(
        rate=rate,
        is_variable=is_variable,
        first_seconds=float(first - zero),
        num_frames=max([stated, 1, *(after for _, after in numbered)]),
        spans=tuple(numbered),
    )


def _end_seconds(info: VideoInfo) -> float:
    known = info.end_seconds if info.end_seconds is not None else info.duration_seconds
    return known or 0.0


def _latest(seconds: float) -> Fraction:
    """A time that came from a store, whose times are float32, with what that may have taken away."""
    return Fraction(seconds) + _MICROSECOND + Fraction(float(np.spacing(np.float32(seconds))))


def _counted(info: VideoInfo, spans: Sequence[tuple[float, float]]) -> FrameCount:
    """Of a stream whose container tells no times: the rate alone says where a frame is."""
    rate, end_seconds = as_fraction(info.rate), _end_seconds(info)
    numbered = [(math.floor(_latest(begin) * rate), math.floor(_latest(end) * rate)) for begin, end in spans]
    num_frames = max(1, round(end_seconds * rate) or max(after for _, after in numbered))
    is_over = [0 < end_seconds <= end + float(_AT_THE_END) for _, end in spans]
    within = [
        (min(first, num_frames - 1), num_frames if over else min(after, num_frames))
        for (first, after), over in zip(numbered, is_over, strict=True)
    ]
    return FrameCount(
        rate=rate,
        is_variable=False,
        first_seconds=0.0,
        num_frames=num_frames,
        spans=tuple((first, max(after, first + 1)) for first, after in within),
    )


def _pictures(info: VideoInfo, times: Sequence[float]) -> _Pictures | None:
    """The first pictures and those around each time; None where no packet tells when it is shown."""
    session = Session(info.path, Patience(patience_for(info.num_bytes)))
    found: list[_Pictures] = []
    for first, last in _windows(times, info):
        window = _listed(session, info, first, last)
        if first > 0 and (window is None or window.start(0) > Fraction(info.zero_seconds) + _latest(first)):
            # the seek led behind the time: everything before it is listed instead
            return _listed(session, info, 0.0, max(times) + _BEHIND_SECONDS)
        if window is not None:
            found.append(window)
    if not found:
        return None
    starts, ends = (np.concatenate([getattr(part, name) for part in found]) for name in ("starts", "ends"))
    order = np.lexsort((ends, starts))
    # of two listings of one picture, that which goes on tells its end
    kept = order[np.append(np.diff(starts[order]) > 0, True)]
    return _Pictures(starts[kept], ends[kept], found[0].base)


def _windows(times: Sequence[float], info: VideoInfo) -> list[tuple[float, float]]:
    windows = [(0.0, 0.0)]
    for seconds in sorted(times):
        if seconds - windows[-1][1] > _JOINED_SECONDS and info.can_seek:
            windows.append((seconds, seconds))
        else:
            windows[-1] = (windows[-1][0], seconds)
    return [(first, last + _BEHIND_SECONDS) for first, last in windows]


def _listed(session: Session, info: VideoInfo, first: float, last: float) -> _Pictures | None:
    times, lengths, base = array("q"), array("q"), Fraction(1)
    with session.run(graph.packets_command(info, first_seconds=first, last_seconds=last)) as child:
        for packet in each_packet(lines_of(child)):
            if packet.is_shown and packet.pts != NO_TIME:
                times.append(packet.pts)
                lengths.append(packet.duration)
                base = packet.base
        child.wait()
    session.check_time()
    if not times:
        return None
    starts, which = np.unique(np.array(times, np.int64), return_index=True)
    usual = math.ceil(1 / (as_fraction(info.rate) * base))
    ends = np.append(starts[1:], starts[-1] + (lengths[int(which[-1])] or usual))
    return _Pictures(starts, ends, base)


def _rate(info: VideoInfo, pictures: _Pictures) -> tuple[Fraction, bool]:
    """Frames per second, and whether they are only the nominal ones."""
    stated = as_fraction(info.rate)  # of a thousand a second it is only the unit of its times
    exact = 1 / (max(1, int(np.median(pictures.ends - pictures.starts))) * pictures.base)
    candidates = {stated, as_fraction(info.base_rate or info.rate), *STANDARD_RATES}
    if abs(exact - stated) <= _PRINTED:  # to all digits
        candidates.add(exact)
    residuals = {
        rate: _residual(pictures, rate)
        for rate in candidates
        if abs(rate - stated) <= _SAME_RATE * stated and rate <= STANDARD_RATES[-1]
    }
    fitting = [rate for rate, residual in residuals.items() if residual <= _CONSTANT_FRAMES]
    if not fitting:
        return nominal_rate(info), True
    # What fits a short clip as well is less likely than a rate that cameras have.
    best = min(
        fitting,
        key=lambda rate: (
            rate not in STANDARD_RATES,
            round(residuals[rate], 2),
            rate != exact,
            abs(rate - stated),
        ),
    )
    return best, False


def _residual(pictures: _Pictures, rate: Fraction) -> float:
    """How far the picture that is furthest from a whole frame is from one, in frames."""
    frames = (pictures.starts - pictures.starts[0]) * float(pictures.base * rate)
    return float(np.abs(frames - np.round(frames)).max())


def nominal_rate(info: VideoInfo) -> Fraction:
    """The rate at which editors conform a variable one: the average where it is a standard rate, else what ffmpeg takes
    for its base where that is one, else the next standard rate above. Our choice."""
    for rate in (info.rate, info.base_rate):
        near = [standard for standard in STANDARD_RATES if rate and abs(float(standard) - rate) <= _PRINTED]
        if near:
            return min(near, key=lambda standard: abs(float(standard) - (rate or 0)))
    above = [standard for standard in STANDARD_RATES if standard >= info.rate]
    return above[0] if above else as_fraction(info.rate)


def as_fraction(rate: float) -> Fraction:
    """Frames per second as editors write them: 30000/1001 for 29.97…, 25 for 25."""
    for exact in (Fraction(round(rate)), Fraction(round(rate * 1.001) * 1000, 1001)):
        if exact and abs(float(exact) - rate) < 1e-6 * rate:
            return exact
    return Fraction(rate).limit_denominator(1000)
