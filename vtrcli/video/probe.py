"""What a file says about its video stream: its header, its packets, and whole passes where neither can be believed.

The header is read from `ffmpeg -i` (no ffprobe needed), packets from ffmpeg's listings of them (its formats framecrc
and framehash). What is said here can be wrong; `vtrcli.video.reader` checks it against what really decodes.
"""

from __future__ import annotations

import itertools
import math
import os
import re
import statistics
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

from vtrcli.errors import VideoError
from vtrcli.video import graph
from vtrcli.video.child import Child, Patience, Session, Sessions
from vtrcli.video.ffmpeg import NO_REASON, first_complaint, open_failure
from vtrcli.video.files import (
    SNIFF_BYTES,
    STREAMS_WITHOUT_TIMES,
    VideoInfo,
    check_file,
    is_indexed,
    is_webm,
    looks_encrypted,
    matroska_end,
    read_head,
    sniff_bytes,
)

# Without a limit of the user's: this, and a second per so many bytes, because a broken index means reading it all.
PROBE_SECONDS = 60.0
SLOWEST_BYTES_PER_SECOND = 20e6
# Whether seeking pays in a file this small does not hang on the distance of its key frames: that is not looked for.
_SMALL_BYTES = 4 << 20
_AFTER_INPUT = re.compile(rb"^\[info\] (?:Input #1|Stream mapping:|Output #0)", re.MULTILINE)
# Metadata lines are indented by four spaces or more (ffmpeg indents each line of a value with many lines), so
# these lines, two spaces after the tag, are ffmpeg's own.
_DURATION = re.compile(
    r"^\[info\]   Duration: (?:(\d+):(\d\d):(\d\d\.\d+)|[^,\n]*)(?:, start: (-?\d+\.\d+))?", re.MULTILINE
)
# Of a group (a track and its timecode, in ffmpeg 9) by four: that is looked for behind the metadata of the file alone.
_STREAM = re.compile(
    r"^\[info\]   (?:  )?Stream #0:(?P<index>\d+)(?:\[0x(?P<id>[0-9a-f]+)\])?(?:\(.*?\))?: "
    r"(?P<kind>\w+): (?P<words>.*)$",
    re.MULTILINE,
)
_ROUNDING_OF_RATES = 0.00501
# Tracks of still pictures beside a video: covers and previews.
_STILLS = ("mjpeg", "png", "bmp", "gif", "webp", "tiff", "jpeg2000", "jpegls", "ljpeg")
_PICTURE = re.compile(
    r"^(?P<codec>\w+)(?: \([^)]*\))*"
    r"(?:, (?P<pixels>[a-z0-9_]+)(?:\((?P<color>[^)]*)\))?)?"
    r"(?:, (?P<width>\d+)x(?P<height>\d+)(?:,| \[)?(?: ?SAR (?P<sar_x>\d+):(?P<sar_y>\d+))?)?"
)
_ROTATION = re.compile(
    r"^\[info\] {5,}display ?matrix: rotation of (-?\d+\.\d+) degrees", re.MULTILINE | re.IGNORECASE
)
# Also what the user's program wrote under these names; a value's further lines begin with a colon instead of a name.
_TIMECODE = re.compile(
    r"^\[info\] {4,}timecode +: (\d\d:\d\d:\d\d[:;.]\d\d\d?)$", re.MULTILINE | re.IGNORECASE
)
_REEL = re.compile(r"^\[info\] {4,}reel_name +: (.+)$", re.MULTILINE | re.IGNORECASE)
# FFmpeg's mark for "no time stamp" (the smallest 64-bit integer).
NO_TIME = -(1 << 63)
_KEY, _DISCARDED = 1, 4  # AV_PKT_FLAG_*
_CHUNK_BYTES = 1 << 16
# "stream, dts, pts, duration, size, checksum[, F=flags]": flags are absent where a packet is a key frame and no more.
_LINE = re.compile(rb"(\d+), *(-?\d+), *(-?\d+), *(\d+), *\d+, *(0x)?[0-9a-f]+(?:, F=0x([0-9A-F]+))?")
_TIME_BASE = re.compile(rb"#tb (\d+): (\d+)/(\d+)")
_PROGRESS_BYTES = 1 << 16


def patience_for(num_bytes: int) -> float:
    """Seconds that probing or measuring a file of this size may take."""
    return PROBE_SECONDS + num_bytes / SLOWEST_BYTES_PER_SECOND


def probe(
    path: str | os.PathLike[str],
    *,
    timeout_seconds: float | None = None,
    sessions: Sessions | None = None,
    with_keys: bool = False,
) -> VideoInfo:
    """Reads the header of the video at `path`, and its last packets where an index leads there.

    `sessions`: whose closing, in another thread, ends it with a ValueError. `with_keys`: the times of the key frames
    are wanted, too, if the file is small.

    Raises VideoError: what is no regular, readable, non-empty file; a playlist; no known container; no video
    stream; too slow.
    """
    num_bytes = check_file(path).st_size
    head = read_head(path, SNIFF_BYTES)
    family = sniff_bytes(head)
    if family == "playlist":
        raise VideoError("playlist", "the content is a list of other files", path=os.fspath(path))
    if family == "photo":
        raise VideoError("not-a-video", "it is a photo (HEIC, AVIF, CR3)", path=os.fspath(path))
    patience = Patience(patience_for(num_bytes) if timeout_seconds is None else timeout_seconds)
    session = Session(path, patience, sessions=sessions)
    with_index, with_all, log = is_indexed(head), with_keys and num_bytes <= _SMALL_BYTES, b""
    for is_torn in (False, True):
        command = graph.probe_command(
            path,
            is_indexed=with_index and not is_torn,
            with_head=num_bytes > _SMALL_BYTES,
            with_all=with_all,
            is_torn=is_torn,
        )
        with session.run(command) as child:
            last, first = read_packets(lines_of(child))
            status = child.wait()
            log += child.log
        session.check_time()
        text = _own_part(log, path)
        if text is not None or family != "video" or status < 0:
            break
    if text is None:
        reason = open_failure(log, family, status)
        raise VideoError(reason, first_complaint(log) or NO_REASON, path=os.fspath(path))
    info = _with_packets(_parse(text, Path(path), num_bytes=num_bytes), first, last, are_all=with_all)
    info = replace(info, is_torn=is_torn, is_webm=is_webm(head))
    segment_end = matroska_end(head)
    goes_on = segment_end is not None and segment_end < num_bytes  # another file was joined to this one
    if goes_on:
        return replace(info, has_restarts=True)
    return replace(info, may_go_on=segment_end is None and info.container == "matroska")


def refuse_encrypted(info: VideoInfo) -> None:
    """Raises VideoError where the pictures are encrypted: without the key, noise may decode."""
    if info.is_encrypted:
        raise VideoError(
            "encrypted", "its pictures are encrypted and there is no key", path=os.fspath(info.path)
        )


def _with_packets(
    parsed: _Parsed, first: dict[int, Packets], last: dict[int, Packets], *, are_all: bool
) -> VideoInfo:
    """What is known of a video, with what its packets tell: the first ones of the file's first video stream, the last
    ones of the chosen stream, or all of these."""
    info = parsed.info
    if 0 in first:
        info = replace(info, keyframe_seconds=first[0].keyframe_seconds)
    packets = last.get(parsed.number)
    if packets is None or not packets.num_shown or not math.isfinite(packets.end_seconds):
        return info
    if are_all:
        info = replace(info, num_pictures=packets.num_shown, key_seconds=tuple(packets.key_seconds))
    return replace(
        info,
        end_seconds=max(0.0, packets.end_seconds - info.start_seconds),
        is_reordered=packets.is_reordered or packets.lacks_times,
        lacks_times=packets.lacks_times,
        has_restarts=packets.restarts,
    )


def _own_part(log: bytes, path: str | os.PathLike[str]) -> str | None:
    """The lines that describe the input, and no others. The name is cut out: it may hold forged lines."""
    log = log.replace(os.fsencode(graph.url(path)), b"")
    start = re.search(rb"^\[info\] Input #0, [^\n]*$", log, re.MULTILINE)
    if not start:
        return None
    end = _AFTER_INPUT.search(log, start.end())
    return log[start.start() : end.start() if end else None].decode(errors="replace")


@dataclass(frozen=True)
class _Parsed:
    """`number`: of the chosen stream among those that ffmpeg counts as videos (`V`)."""

    info: VideoInfo
    number: int


def _parse(text: str, path: Path, *, num_bytes: int) -> _Parsed:
    container = re.match(r"\[info\] Input #0, ([^ ]*?),? ", text)
    container_name = container[1].split(",")[0] if container else ""
    duration = _DURATION.search(text)
    streams = list(_STREAM.finditer(text, duration.end() if duration else 0))
    videos = [s for s in streams if s["kind"] == "Video" and not _is_picture(s["words"])]
    if not videos:
        kinds = ", ".join(sorted({stream["kind"].lower() for stream in streams})) or "nothing"
        raise VideoError(
            "no-video-stream", f"it holds {kinds.replace('subtitle', 'subtitles')}", path=os.fspath(path)
        )
    chosen = max(videos, key=lambda stream: _rank(stream["words"]))  # the first of the best
    following = next((s.start() for s in streams if s.start() > chosen.start()), len(text))
    words, details = chosen["words"], text[chosen.start() : following]
    picture = _PICTURE.match(words)
    fields = picture.groupdict() if picture else {}
    rotation = _ROTATION.search(text, chosen.end(), following)
    degrees = -round(float(rotation[1])) % 360 if rotation else 0
    (stored_width, stored_height), (width, height) = _sizes(fields, degrees)
    color = (fields.get("color") or "").split(", ")
    rate = re.search(r", (\d+(?:\.\d+)?)(k?) fps", words)
    base = re.search(r", (\d+(?:\.\d+)?)(k?) tbr", words)
    timecode, reel = _TIMECODE.search(details) or _TIMECODE.search(text), _REEL.search(text)
    stream_id = int(chosen["id"], 16) if chosen["id"] else None
    info = VideoInfo(
        path=path,
        num_bytes=num_bytes,
        container=container_name,
        codec=fields.get("codec") or "unknown",
        pixel_format=fields.get("pixels") or "none",
        width=width,
        height=height,
        rotation_degrees=degrees,
        stored_width=stored_width,
        stored_height=stored_height,
        frames_per_second=_exact_rate(float(rate[1]) * (1000 if rate[2] else 1)) if rate else None,
        duration_seconds=_seconds(duration),
        is_hdr=any("smpte2084" in part or "arib-std-b67" in part for part in color),
        start_seconds=float(duration[4]) if duration and duration[4] else 0.0,
        keyframe_seconds=None,
        has_color_matrix=any(_names_matrix(part) for part in color),
        is_encrypted="ncryption" in details
        or "(encv /" in words
        or _is_marked(path, container_name, stream_id),
        stream=int(chosen["index"]),
        sound_codec=next((_codec(stream["words"]) for stream in streams if stream["kind"] == "Audio"), None),
        base_rate=_exact_rate(float(base[1]) * (1000 if base[2] else 1)) if base else None,
        timecode=timecode[1] if timecode else None,
        reel=reel[1].strip() or None if reel else None,
    )
    return _Parsed(info, videos.index(chosen))


def _exact_rate(printed: float) -> float:
    """The frame rate behind two printed decimals: 23.98 is 24000/1001, which would be 0.6 s off after an hour."""
    candidates = (round(printed), round(printed * 3) / 3, round(printed * 1.001) / 1.001)
    near = (rate for rate in candidates if abs(rate - printed) <= _ROUNDING_OF_RATES)
    return printed if printed < 1 else next(near, printed)


def _is_picture(words: str) -> bool:
    return "(attached pic)" in words or "(timed thumbnails)" in words


def _codec(words: str) -> str:
    return words.split(" ", 1)[0].rstrip(",")


def _rank(words: str) -> tuple[bool, bool, bool]:
    """As players choose among several tracks: one that can be shown, moving pictures before stills, the default one."""
    codec = _codec(words)
    return (codec not in ("none", "unknown"), codec not in _STILLS, "(default)" in words)


def _is_marked(path: Path, container: str, stream_id: int | None) -> bool:
    try:
        return looks_encrypted(path, container, stream_id)
    except OSError:
        return False  # whoever decodes it will say why


def _sizes(fields: dict[str, str | None], degrees: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """(width, height), rotated: in pixels as they are stored, and in square ones."""
    width, height = int(fields.get("width") or 0), int(fields.get("height") or 0)
    sar_x, sar_y = int(fields.get("sar_x") or 1), int(fields.get("sar_y") or 1)
    square = max(1, round(width * sar_x / sar_y)) if width and sar_x and sar_y else width
    if degrees in (90, 270):
        return (height, width), (height, square)
    return (width, height), (square, height)


def _names_matrix(part: str) -> bool:
    """Whether this part of "(tv, bt2020nc/bt2020/smpte2084, progressive)" names a colour matrix."""
    matrix = part.split("/")[0]
    return bool(re.match(r"bt\d|smpte\d|fcc|gbr|ycgco|ictcp|chroma-derived|ipt", matrix))


def _seconds(duration: re.Match[str] | None) -> float | None:
    if duration is None or duration[1] is None:
        return None
    return int(duration[1]) * 3600 + int(duration[2]) * 60 + float(duration[3])


class Packets:
    """The sum of a stream's packets, in seconds on the container's clock. `take` them in order of decoding."""

    def __init__(self) -> None:
        self.num_shown = 0
        self.end_seconds = -math.inf  # when the last picture's time is over, -inf without any packet
        self.key_seconds: list[float] = []
        self.lacks_times = False  # not every packet tells when its picture is shown: AVI with B-frames
        self.is_reordered = False  # pictures are stored in another order than shown
        self.restarts = False  # another recording begins: what was joined has a clock of its own
        self._next_seconds: float | None = None
        self._delay: int | None = None  # of display behind decoding, at the first packet

    def take(self, dts: int, pts: int, duration: int, flags: int, base: float) -> None:
        """One packet; times in units of `base` seconds."""
        if dts != NO_TIME:
            if self._next_seconds is not None:
                step = dts * base - self._next_seconds
                self.restarts |= not -graph.RESTART_SECONDS <= step <= graph.LEAP_SECONDS
            self._next_seconds = (dts + duration) * base
        if flags & _DISCARDED:
            return
        self.num_shown += 1
        self.lacks_times |= pts == NO_TIME
        self.is_reordered |= pts not in (dts, NO_TIME)
        if self._delay is None:
            self._delay = 0 if NO_TIME in (dts, pts) else pts - dts
        if NO_TIME == dts == pts:
            return
        # pictures appear at the decoding times in their order, later by the delay
        shown = dts + self._delay if pts == NO_TIME else pts
        self.end_seconds = max(self.end_seconds, (shown + duration) * base)
        if flags & _KEY:
            self.key_seconds.append(shown * base)

    @property
    def keyframe_seconds(self) -> float | None:
        """Median distance of key frames; None for fewer than two."""
        steps = [b - a for a, b in itertools.pairwise(self.key_seconds) if b > a]
        return statistics.median(steps) if steps else None


def read_packets(lines: Iterable[bytes]) -> tuple[dict[int, Packets], dict[int, Packets]]:
    """Listings of packets, those with checksums (framecrc) and those with hashes (framehash), per number of stream."""
    found: tuple[dict[int, Packets], dict[int, Packets]] = ({}, {})
    for packet in each_packet(lines):
        listing = found[0 if packet.has_checksum else 1].setdefault(packet.stream, Packets())
        listing.take(packet.dts, packet.pts, packet.duration, packet.flags, float(packet.base))
    return found


class Packet(NamedTuple):
    """One line of a listing. Times are in units of `base` seconds, NO_TIME where there is none."""

    stream: int
    dts: int
    pts: int
    duration: int
    flags: int
    base: Fraction
    has_checksum: bool

    @property
    def is_shown(self) -> bool:
        """Whether its picture is; an edit list can take it out."""
        return not self.flags & _DISCARDED


def each_packet(lines: Iterable[bytes]) -> Iterator[Packet]:
    """The packets of listings in the formats framecrc and framehash, in their order."""
    bases: dict[int, Fraction] = {}
    for line in lines:
        packet = _LINE.match(line)
        if packet:
            stream, dts, pts, duration = (int(field) for field in packet.groups()[:4])
            flags = int(packet[6], 16) if packet[6] else _KEY
            base = bases.get(stream, Fraction(1))
            yield Packet(stream, dts, pts, duration, flags, base, packet[5] is not None)
        elif header := _TIME_BASE.match(line):
            bases[int(header[1])] = Fraction(int(header[2]), int(header[3]))


def lines_of(child: Child) -> Iterator[bytes]:
    """Standard output, line by line, in bounded memory."""
    rest = b""
    buffer = memoryview(bytearray(_CHUNK_BYTES))
    while filled := child.read_into(buffer):
        *lines, rest = (rest + bytes(buffer[:filled])).split(b"\n")
        yield from lines
        if len(rest) > _CHUNK_BYTES:
            rest = b""


def measure_end(session: Session, info: VideoInfo) -> float | None:
    """When the last picture's time is over, in seconds from the start of the video; None when no packet tells.

    One pass over the file: its packets, or, where even these have no times, its frames.
    """
    if info.container in STREAMS_WITHOUT_TIMES:
        num_frames = count_frames(session, info)
        return num_frames / info.rate if num_frames else None
    # On the clock that decoding has: restarts closed up.
    packets = _listed(session, graph.measure_command(info))
    if not packets.num_shown or not math.isfinite(packets.end_seconds):
        return None
    return max(0.0, packets.end_seconds - info.zero_seconds)


def key_packets(session: Session, info: VideoInfo) -> Packets:
    """The packets of the key frames, on the clock that decoding has; not for streams whose times are counted."""
    return _listed(session, graph.key_packets_command(info))


def _listed(session: Session, command: list[str]) -> Packets:
    with session.run(command) as child:
        listings, _ = read_packets(lines_of(child))
        child.wait()
    session.check_time()
    return listings.get(0, Packets())


def last_decoded(session: Session, info: VideoInfo) -> float | None:
    """When the last frame that decodes appears, by decoding all; None when none does."""
    last = None
    with session.run(graph.times_command(info)) as child:
        for line in lines_of(child):
            seconds = int(line) / graph.MICROSECONDS - info.zero_seconds
            last = seconds if last is None else max(last, seconds)
        child.wait()
    session.check_time()
    return last


def count_frames(session: Session, info: VideoInfo, *, keyframes: bool = False) -> int:
    """How many frames, or key frames, decode: for streams without times, and where no packet can be relied on."""
    with session.run(graph.count_command(info, keyframes=keyframes)) as child:
        report = child.read_all(_PROGRESS_BYTES)
        child.wait()
    session.check_time()
    values = re.findall(rb"^frame=\s*(\d+)", report, re.MULTILINE)
    return int(values[-1]) if values else 0
