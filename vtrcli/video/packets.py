"""Listings of packets as ffmpeg writes them (its formats framecrc and framehash), and what they say about a stream:
where its pictures really end, where its key frames are, how its times run. Nothing here trusts a header."""

from __future__ import annotations

import itertools
import math
import re
import statistics
from collections.abc import Iterable, Iterator

from vtrcli.video import graph
from vtrcli.video.child import Child

# FFmpeg's mark for "no time stamp" (the smallest 64-bit integer).
NO_TIME = -(1 << 63)
_KEY, _DISCARDED = 1, 4  # AV_PKT_FLAG_*
_CHUNK_BYTES = 1 << 16
# "stream, dts, pts, duration, size, checksum[, F=flags]": flags are absent where a packet is a key frame and no more.
_LINE = re.compile(rb"(\d+), *(-?\d+), *(-?\d+), *(\d+), *\d+, *(0x)?[0-9a-f]+(?:, F=0x([0-9A-F]+))?")
_TIME_BASE = re.compile(rb"#tb (\d+): (\d+)/(\d+)")


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
    bases: dict[int, float] = {}
    for line in lines:
        packet = _LINE.match(line)
        if packet:
            stream, dts, pts, duration = (int(field) for field in packet.groups()[:4])
            flags = int(packet[6], 16) if packet[6] else _KEY
            listing = found[0 if packet[5] else 1]
            listing.setdefault(stream, Packets()).take(dts, pts, duration, flags, bases.get(stream, 1.0))
        elif base := _TIME_BASE.match(line):
            bases[int(base[1])] = int(base[2]) / int(base[3])
    return found


def lines_of(child: Child) -> Iterator[bytes]:
    """Standard output, line by line, in bounded memory."""
    rest = b""
    buffer = memoryview(bytearray(_CHUNK_BYTES))
    while filled := child.read_into(buffer):
        *lines, rest = (rest + bytes(buffer[:filled])).split(b"\n")
        yield from lines
        if len(rest) > _CHUNK_BYTES:
            rest = b""
