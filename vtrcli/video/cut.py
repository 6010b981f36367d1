"""For people: the picture on display at one time of a video, and a part of it as a file of its own.

One seek each, not a reader. A clip is encoded anew, so that it begins exactly where it should.
"""

from __future__ import annotations

import errno
import io
import math
import os
import re
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vtrcli.errors import InputError, UsageError, VideoError
from vtrcli.files import replacing
from vtrcli.video import encode, graph
from vtrcli.video.child import Patience, Session, Sessions
from vtrcli.video.ffmpeg import NO_REASON, decode_failure, first_complaint
from vtrcli.video.files import VideoInfo
from vtrcli.video.probe import last_decoded, measure_end, probe, refuse_encrypted

PICTURE_SIDE = 320
PICTURE_TIMEOUT_SECONDS = 20.0
# Where a seek led to a picture that does not decode cleanly, all before it is decoded instead; beyond this time that
# would take too long, and the picture is taken as it is.
START_OVER_SECONDS = 600.0
_HEADER_BYTES = 64
# The last frame is asked for so long before the end of its time.
_LAST_SECONDS = 0.002
# Larger clips are made smaller; an encoder of 8K pictures alone would use up the memory limit.
CLIP_SIDE = 1920
# About 20 minutes of busy 1080p. On Linux the system stops a child that writes more.
MAX_CLIP_BYTES = 2 << 30
# Without a limit of the user's: this, so much per second of clip, and so much per second before it (which is decoded
# where the container leads to no key frame).
AUTO_TIMEOUT_SECONDS = 60.0
AUTO_TIMEOUT_PER_SECOND = 20.0
AUTO_TIMEOUT_PER_SECOND_BEFORE = 2.0
_PROGRESS_BYTES = 1 << 16


class _Picture(NamedTuple):
    """The pixels if they came, what ffmpeg said, and its exit status."""

    pixels: NDArray[np.uint8] | None
    log: bytes
    status: int


def frame_at(
    path: str | os.PathLike[str],
    seconds: float,
    *,
    longest_side: int = PICTURE_SIDE,
    timeout_seconds: float = PICTURE_TIMEOUT_SECONDS,
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


def cut_clip(
    source: str | os.PathLike[str],
    target: Path,
    *,
    start_seconds: float,
    end_seconds: float,
    info: VideoInfo | None = None,
    longest_side: int = CLIP_SIDE,
    timeout_seconds: float | None = None,
) -> None:
    """Write the part of a video from `start_seconds` to `end_seconds` as an MP4, whole or not at all.

    H.264 (yuv420p, standard dynamic range, even sides, constant frame rate) and, where the source has sound that can
    be decoded, AAC. It begins with the frame on display at the start; an end beyond the video is the video's.
    Nothing of the source's metadata is kept. An existing `target` is never overwritten: that is an error.

    Args:
        info: what `probe` said about the source, where that is known already.
        timeout_seconds: None is 60 s, 20 times the clip's length and twice what lies before it.

    Raises:
        VideoError: the source is gone or broken, or nothing of it lies there.
        UsageError: times that cannot be; the target exists.
        InputError: the ffmpeg that is used has no H.264 encoder; the clip would have more than 2 GiB.
        StoreError: the folder cannot be written or the disk is full.
    """
    if not (math.isfinite(end_seconds) and 0 <= start_seconds < end_seconds):
        raise UsageError(
            f"a clip from {start_seconds} s to {end_seconds} s",
            allowed="it starts at 0 s or later and ends after its start",
            to_do="change the times",
        )
    _refuse_existing(target)
    info = info or probe(source)
    refuse_encrypted(info)
    duration_seconds = end_seconds - start_seconds
    automatic = AUTO_TIMEOUT_SECONDS + AUTO_TIMEOUT_PER_SECOND * duration_seconds
    automatic += AUTO_TIMEOUT_PER_SECOND_BEFORE * start_seconds
    session = Session(source, Patience(automatic if timeout_seconds is None else timeout_seconds))
    with replacing(target) as temporary:
        # here a folder that cannot be written shows, before ffmpeg takes it for the video's fault
        temporary.open("xb").close()
        command = partial(
            encode.clip_command,
            info,
            temporary,
            start_seconds=start_seconds,
            duration_seconds=duration_seconds,
            longest_side=longest_side,
        )
        _write(session, info, start_seconds, command)
        _refuse_existing(target)  # encoding took a while


def _write(
    session: Session, info: VideoInfo, start_seconds: float, command: Callable[..., list[str]]
) -> None:
    """Tries the ways to the start, each with sound and then without: sound alone must not cost the pictures."""
    log, status = b"", 0
    for may_seek in ways(info, start_seconds):
        for with_sound in (True, False) if info.has_sound else (False,):
            num_frames, log, status = _run(session, command(may_seek=may_seek, with_sound=with_sound))
            if status == 0 and num_frames > 0:
                break
            _refuse_what_no_other_way_mends(log, status)
        if status == 0 and num_frames > 0 and (not may_seek or is_clean(log, start_seconds)):
            return
    reason = decode_failure(log, status, is_encrypted=info.is_encrypted)
    nothing = f"nothing of it lies at {start_seconds:g} s and after" if status == 0 else NO_REASON
    raise VideoError(reason, first_complaint(log) or nothing, path=os.fspath(info.path))


def _run(session: Session, command: list[str]) -> tuple[int, bytes, int]:
    """How many frames were written, what ffmpeg said, and its exit status."""
    with session.run(command, max_file_bytes=MAX_CLIP_BYTES) as child:
        progress = child.read_all(_PROGRESS_BYTES)
        status = child.wait()
        log = child.log
    session.check_time()
    counts = re.findall(rb"^frame=\s*(\d+)", progress, re.MULTILINE)
    return int(counts[-1]) if counts else 0, log, status


def _refuse_what_no_other_way_mends(log: bytes, status: int) -> None:
    if b"No space left on device" in log:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # `replacing` says where
    if b"Unknown encoder" in log:
        raise InputError(
            f"this ffmpeg cannot write clips: {first_complaint(log)}",
            allowed="clips need an ffmpeg with the encoders libx264 and aac",
            to_do="unset VTR_FFMPEG to use the bundled one",
        )
    if -status == getattr(signal, "SIGXFSZ", 25) or b"File too large" in log:
        raise InputError(
            "the clip would be larger than 2 GiB",
            allowed="a clip has at most 2 GiB",
            to_do="cut a shorter one",
        )


def _refuse_existing(target: Path) -> None:
    if os.path.lexists(target):
        raise UsageError(
            f"{target} exists",
            allowed="a clip is written under a new name",
            to_do="move the file away or choose another name",
        )
