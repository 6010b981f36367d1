"""The picture on display at one time of a video, for people: whole, upright, small. One seek, not a reader."""

from __future__ import annotations

import io
import math
import os
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vtrcli.errors import UsageError, VideoError
from vtrcli.video import graph
from vtrcli.video.child import Patience, Session, Sessions
from vtrcli.video.failures import NO_REASON, decode_failure, first_complaint
from vtrcli.video.info import VideoInfo
from vtrcli.video.measure import last_decoded, measure_end
from vtrcli.video.probe import probe, refuse_encrypted

LONGEST_SIDE = 320
TIMEOUT_SECONDS = 20.0
# Where a seek led to a picture that does not decode cleanly, all before it is decoded instead; beyond this time that
# would take too long, and the picture is taken as it is.
START_OVER_SECONDS = 600.0
_HEADER_BYTES = 64
# The last frame is asked for so long before the end of its time.
_LAST_SECONDS = 0.002


class _Picture(NamedTuple):
    """The pixels if they came, what ffmpeg said, and its exit status."""

    pixels: NDArray[np.uint8] | None
    log: bytes
    status: int


def frame_at(
    path: str | os.PathLike[str],
    seconds: float,
    *,
    longest_side: int = LONGEST_SIDE,
    timeout_seconds: float = TIMEOUT_SECONDS,
    sessions: Sessions | None = None,
) -> NDArray[np.uint8]:
    """The frame on display at `seconds` from the start: uint8 [height, width, 3], RGB.

    Turned as the file says, with square pixels, in standard dynamic range, its longer side at most `longest_side`
    pixels; a smaller picture is not enlarged. A time beyond the end means the last frame.

    `sessions`: whose closing, in another thread, ends it with a ValueError.

    Raises:
        VideoError: what is no video, does not decode there, or takes longer than `timeout_seconds`.
        UsageError: a time or a side that cannot be.
    """
    if not (math.isfinite(seconds) and seconds >= 0 and longest_side >= 1):
        raise UsageError(
            f"a frame at {seconds} s, {longest_side} pixels wide",
            allowed="a time from 0 on, at least 1 pixel",
            to_do="change the time or the side",
        )
    info = probe(path, timeout_seconds=timeout_seconds, sessions=sessions)
    session = Session(path, Patience(timeout_seconds), sessions=sessions)
    refuse_encrypted(info)
    at_seconds = _inside(seconds, info)
    pixels, log, status = _best(session, info, at_seconds, longest_side)
    if pixels is None and seconds > 0:  # the pictures end before, nobody has told where
        for find_end in (measure_end, last_decoded):
            end_seconds = find_end(session, info)
            if pixels is None and end_seconds is not None and end_seconds <= seconds:
                at_seconds = max(0.0, end_seconds - (_LAST_SECONDS if find_end is measure_end else 0.0))
                pixels, log, status = _best(session, info, at_seconds, longest_side)
    if pixels is None:
        reason = decode_failure(log, status, is_encrypted=info.is_encrypted)
        raise VideoError(reason, first_complaint(log) or NO_REASON, path=os.fspath(path))
    return pixels


def _inside(seconds: float, info: VideoInfo) -> float:
    """A time at which a picture is on display: the packets at the end of the file tell how far they go."""
    if info.end_seconds is None or info.has_restarts or seconds < info.end_seconds:
        return seconds
    return max(0.0, info.end_seconds - _LAST_SECONDS)


def _best(session: Session, info: VideoInfo, seconds: float, longest_side: int) -> _Picture:
    """The picture by a seek, where that gives a clean one, else by decoding all before it."""
    for may_seek in ways(info, seconds):
        picture = _decode(session, info, seconds, longest_side=longest_side, may_seek=may_seek)
        if picture.pixels is not None and is_clean(picture.log, seconds):
            break
    return picture


def is_clean(log: bytes, seconds: float) -> bool:
    """Whether what a seek led to may be kept: ffmpeg did not complain, or starting over would take too long."""
    return not first_complaint(log) or seconds > START_OVER_SECONDS


def ways(info: VideoInfo, seconds: float) -> tuple[bool, ...]:
    """Whether to seek to a time or to decode all before it: what to try, in this order."""
    return (True, False) if seconds > 0 and info.can_seek else (False,)


def _decode(
    session: Session, info: VideoInfo, seconds: float, *, longest_side: int, may_seek: bool
) -> _Picture:
    from PIL import Image

    command = graph.picture_command(info, seconds=seconds, longest_side=longest_side, may_seek=may_seek)
    with session.run(command) as child:
        picture = child.read_all(longest_side**2 * 3 + _HEADER_BYTES)
        status = child.wait()
        log = child.log
    session.check_time()
    if not picture:
        return _Picture(None, log, status)
    try:
        with Image.open(io.BytesIO(picture), formats=["PPM"]) as image:
            return _Picture(np.asarray(image.convert("RGB")), log, status)
    except OSError:  # ffmpeg died while it wrote
        return _Picture(None, log, status)
