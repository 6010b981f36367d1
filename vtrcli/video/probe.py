"""What a file says about its video stream, read from `ffmpeg -i` (no ffprobe needed). Decodes nothing.

What a header says can be wrong; `vtrcli.video.reader` checks it against what really decodes.
"""

from __future__ import annotations

import itertools
import os
import re
import statistics
from dataclasses import dataclass
from pathlib import Path

from vtrcli.errors import VideoError
from vtrcli.video import graph
from vtrcli.video.child import Patience, Session
from vtrcli.video.failures import NO_REASON, first_complaint, open_failure
from vtrcli.video.files import check_file
from vtrcli.video.formats import STREAMS_WITHOUT_TIMES, sniff

PROBE_SECONDS = 60.0
# The key packets of the first part tell the distance of key frames; more would cost reading.
_KEY_PACKET_BYTES = 8192


@dataclass(frozen=True, kw_only=True)
class VideoInfo:
    """One video as its header describes it. `width` x `height` is the displayed size: rotated, square pixels."""

    path: Path
    num_bytes: int
    container: str
    codec: str
    pixel_format: str
    width: int
    height: int
    rotation_degrees: int  # clockwise, to be applied for display; already in width and height
    frames_per_second: float | None
    duration_seconds: float | None
    is_hdr: bool
    # For the decoder, not for people:
    start_seconds: float
    keyframe_seconds: float | None  # median distance of the first key frames
    has_color_matrix: bool
    is_encrypted: bool

    @property
    def has_times(self) -> bool:
        """Whether the container stores time stamps; a bare stream does not."""
        return self.container not in STREAMS_WITHOUT_TIMES


def probe(path: str | os.PathLike[str], *, timeout_seconds: float = PROBE_SECONDS) -> VideoInfo:
    """Reads the header of the video at `path`.

    Raises VideoError: what is no regular, readable, non-empty file; a playlist; no known container; no video
    stream; too slow.
    """
    num_bytes = check_file(path).st_size
    family = sniff(path)
    if family == "playlist":
        raise VideoError("playlist", "the content is a list of other files", path=os.fspath(path))
    if family == "photo":
        raise VideoError("not-a-video", "it is a photo (HEIC, AVIF, CR3)", path=os.fspath(path))
    session = Session(path, Patience(timeout_seconds))
    with session.run(graph.probe_command(path)) as child:
        key_packets = child.read_all(_KEY_PACKET_BYTES)
        status = child.wait()
        log = child.log
    session.check_time()
    info = info_from_log(log, path, num_bytes=num_bytes, keyframe_seconds=_keyframe_seconds(key_packets))
    if info is None:
        reason = open_failure(log, family, status)
        raise VideoError(reason, first_complaint(log) or NO_REASON, path=os.fspath(path))
    return info


def info_from_log(
    log: bytes, path: str | os.PathLike[str], *, num_bytes: int, keyframe_seconds: float | None = None
) -> VideoInfo | None:
    """What ffmpeg said about its input; None when it could not open it. Raises VideoError without a video stream."""
    text = _own_part(log, path)
    if text is None:
        return None
    return _parse(text, Path(path), num_bytes=num_bytes, keyframe_seconds=keyframe_seconds)


def _own_part(log: bytes, path: str | os.PathLike[str]) -> str | None:
    """The lines that describe the input, and no others. The name is cut out: it may hold forged lines."""
    log = log.replace(os.fsencode(graph.url(path)), b"")
    start = re.search(rb"^\[info\] Input #0, [^\n]*$", log, re.MULTILINE)
    if not start:
        return None
    end = _AFTER_INPUT.search(log, start.end())
    return log[start.start() : end.start() if end else None].decode(errors="replace")


_AFTER_INPUT = re.compile(rb"^\[info\] (?:Input #1|Stream mapping:|Output #0)", re.MULTILINE)
# Metadata lines are indented by four spaces or more (ffmpeg indents each line of a value with many lines), so
# these lines, two spaces after the tag, are ffmpeg's own.
_DURATION = re.compile(
    r"^\[info\]   Duration: (?:(\d+):(\d\d):(\d\d\.\d+)|N/A)(?:, start: (-?\d+\.\d+))?", re.MULTILINE
)
_STREAM = re.compile(r"^\[info\]   Stream #0:\d+(?:\[0x[0-9a-f]+\])?(?:\(.*?\))?: (\w+): (.*)$", re.MULTILINE)
_PICTURE = re.compile(
    r"^(?P<codec>\w+)(?: \([^)]*\))*"
    r"(?:, (?P<pixels>[a-z0-9_]+)(?:\((?P<color>[^)]*)\))?)?"
    r"(?:, (?P<width>\d+)x(?P<height>\d+)(?:,| \[)?(?: ?SAR (?P<sar_x>\d+):(?P<sar_y>\d+))?)?"
)
_ROTATION = re.compile(
    r"^\[info\] {5,}display ?matrix: rotation of (-?\d+\.\d+) degrees", re.MULTILINE | re.IGNORECASE
)


def _parse(text: str, path: Path, *, num_bytes: int, keyframe_seconds: float | None) -> VideoInfo:
    container = re.match(r"\[info\] Input #0, ([^ ]*?),? ", text)
    streams = list(_STREAM.finditer(text))
    chosen = next((s for s in streams if s[1] == "Video" and "(attached pic)" not in s[2]), None)
    if chosen is None:
        kinds = ", ".join(sorted({stream[1].lower() for stream in streams})) or "nothing"
        raise VideoError("no-video-stream", f"it holds {kinds}", path=os.fspath(path))
    following = next((s.start() for s in streams if s.start() > chosen.start()), len(text))
    picture = _PICTURE.match(chosen[2])
    fields = picture.groupdict() if picture else {}
    rotation = _ROTATION.search(text, chosen.end(), following)
    degrees = -round(float(rotation[1])) % 360 if rotation else 0
    width, height = _displayed(fields, degrees)
    color = (fields.get("color") or "").split(", ")
    rate = re.search(r", (\d+(?:\.\d+)?)(k?) fps", chosen[2])
    duration = _DURATION.search(text)
    return VideoInfo(
        path=path,
        num_bytes=num_bytes,
        container=container[1].split(",")[0] if container else "",
        codec=fields.get("codec") or "unknown",
        pixel_format=fields.get("pixels") or "none",
        width=width,
        height=height,
        rotation_degrees=degrees,
        frames_per_second=float(rate[1]) * (1000 if rate[2] else 1) if rate else None,
        duration_seconds=_seconds(duration),
        is_hdr=any("smpte2084" in part or "arib-std-b67" in part for part in color),
        start_seconds=float(duration[4]) if duration and duration[4] else 0.0,
        keyframe_seconds=keyframe_seconds,
        has_color_matrix=any(_names_matrix(part) for part in color),
        is_encrypted="ncryption" in text[chosen.start() :] or "(encv /" in chosen[2],
    )


def _displayed(fields: dict[str, str | None], degrees: int) -> tuple[int, int]:
    width, height = int(fields.get("width") or 0), int(fields.get("height") or 0)
    sar_x, sar_y = int(fields.get("sar_x") or 1), int(fields.get("sar_y") or 1)
    if width and sar_x and sar_y:
        width = max(1, round(width * sar_x / sar_y))
    return (height, width) if degrees in (90, 270) else (width, height)


def _names_matrix(part: str) -> bool:
    """Whether this part of "(tv, bt2020nc/bt2020/smpte2084, progressive)" names a colour matrix."""
    matrix = part.split("/")[0]
    return bool(re.match(r"bt\d|smpte\d|fcc|gbr|ycgco|ictcp|chroma-derived|ipt", matrix))


def _seconds(duration: re.Match[str] | None) -> float | None:
    if duration is None or duration[1] is None:
        return None
    return int(duration[1]) * 3600 + int(duration[2]) * 60 + float(duration[3])


def _keyframe_seconds(framecrc: bytes) -> float | None:
    """Median distance of key packets in the listing of ffmpeg's framecrc format; None for fewer than two."""
    text = framecrc.decode(errors="replace")
    base = re.search(r"^#tb 0: (\d+)/(\d+)$", text, re.MULTILINE)
    # "stream, dts, pts, duration, size, checksum[, F=flags]": flags are absent on key packets
    times = [
        int(line[1])
        for line in re.finditer(r"^0,\s*(-?\d+),[^,\n]*,[^,\n]*,[^,\n]*,[^,F\n]*(?:, S=.*)?$", text, re.M)
    ]
    steps = [b - a for a, b in itertools.pairwise(times) if b > a]
    if base is None or not steps:
        return None
    return statistics.median(steps) * int(base[1]) / int(base[2])
