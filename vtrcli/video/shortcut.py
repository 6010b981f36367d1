"""Short MP4 clips in one ffmpeg process instead of two: decode on a guess, then check what the guess was.

Starting ffmpeg costs 12 ms, which is much beside a clip that decodes in 70. The only thing a plan cannot do
without is the duration, and an MP4 states it in a fixed place. ffmpeg describes the file while it decodes; where
the description contradicts the guess, the result is thrown away and `vtrcli.video.reader` takes the usual way.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from vtrcli.errors import VideoError
from vtrcli.video.child import Session
from vtrcli.video.decode import Decode, Frame
from vtrcli.video.graph import needs_matrix
from vtrcli.video.plan import Plan, make_plan
from vtrcli.video.probe import VideoInfo, info_from_log
from vtrcli.video.sampling import Sampling

# Up to here one linear pass costs about as little as seeking does, whatever the picture size.
MAX_SECONDS = 16.0
# ffmpeg prints hundredths.
_PRINTED_SECONDS = 0.011
_MAX_BOXES = 64


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """All frames of a clip, with what was found out about it on the way."""

    info: VideoInfo
    plan: Plan
    decode: Decode
    frames: list[Frame]


def decode_at_once(
    session: Session,
    path: str | os.PathLike[str],
    sampling: Sampling,
    *,
    size: int,
    num_threads: int,
    most_frames: int,
) -> Decoded | None:
    """The whole clip, or None where the file is not such a clip, is odd in any way, or does not decode well."""
    duration_seconds = mp4_duration(path)
    if sampling.keyframes or duration_seconds is None or duration_seconds > MAX_SECONDS:
        return None
    guess = _plain_mp4(Path(path), duration_seconds)
    plan = make_plan(guess, sampling, may_seek=False)
    if len(plan.targets) > most_frames:
        return None
    decode = Decode(session, guess, plan, size=size, num_threads=num_threads)
    frames = list(decode.frames())
    try:
        info = info_from_log(decode.log, path, num_bytes=guess.num_bytes)
    except VideoError:
        return None
    if info is None or decode.num_slots < len(plan.targets) or not _as_guessed(info, duration_seconds):
        return None
    return Decoded(
        info=replace(info, duration_seconds=duration_seconds), plan=plan, decode=decode, frames=frames
    )


def _as_guessed(info: VideoInfo, duration_seconds: float) -> bool:
    stated = info.duration_seconds
    return (
        info.container == "mov"
        and stated is not None
        and abs(stated - duration_seconds) < _PRINTED_SECONDS
        and not info.is_hdr
        and not needs_matrix(info)
    )


def _plain_mp4(path: Path, duration_seconds: float) -> VideoInfo:
    return VideoInfo(
        path=path,
        num_bytes=path.stat().st_size,
        container="mov",
        codec="",
        pixel_format="",
        width=0,
        height=0,
        rotation_degrees=0,
        frames_per_second=None,
        duration_seconds=duration_seconds,
        is_hdr=False,
        start_seconds=0.0,
        keyframe_seconds=None,
        has_color_matrix=True,
        is_encrypted=False,
    )


def mp4_duration(path: str | os.PathLike[str]) -> float | None:
    """The duration that the movie header of an MP4 or MOV file states (ISO 14496-12, 8.2.2), None without one."""
    with open(path, "rb") as file:
        end = os.fstat(file.fileno()).st_size
        if file.read(8)[4:] != b"ftyp":
            return None
        movie = _find_box(file, b"moov", start=0, end=end)
        header = movie and _find_box(file, b"mvhd", start=movie[0], end=movie[1])
        if not header:
            return None
        file.seek(header[0])
        content = file.read(32)
    if len(content) < 32:
        return None
    width = 8 if content[0] == 1 else 4  # version 1 has 64-bit times
    scale_at = 4 + 2 * width
    scale = int.from_bytes(content[scale_at : scale_at + 4], "big")
    duration = int.from_bytes(content[scale_at + 4 : scale_at + 4 + width], "big")
    return duration / scale if scale and duration else None


def _find_box(file: BinaryIO, kind: bytes, *, start: int, end: int) -> tuple[int, int] | None:
    """Begin and end of the content of the first box of this kind between two positions."""
    for _ in range(_MAX_BOXES):
        file.seek(start)
        head = file.read(16)
        length, content = int.from_bytes(head[:4], "big"), start + 8
        if length == 1:
            length, content = int.from_bytes(head[8:16], "big"), start + 16
        if len(head) < 8 or length < content - start or start + length > end:
            return None
        if head[4:8] == kind:
            return content, start + length
        start += length
    return None
