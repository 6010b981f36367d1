"""Passes over a whole file for what its header does not say, or says wrongly: its length, its key frames."""

from __future__ import annotations

import math
import re

from vtrcli.video import graph
from vtrcli.video.child import Session
from vtrcli.video.formats import STREAMS_WITHOUT_TIMES
from vtrcli.video.info import VideoInfo
from vtrcli.video.packets import Packets, lines_of, read_packets

_PROGRESS_BYTES = 1 << 16


def measure(session: Session, info: VideoInfo) -> Packets:
    """One pass over all packets of the video stream, on the clock that decoding has (restarts closed up)."""
    return _listed(session, graph.measure_command(info))


def measure_end(session: Session, info: VideoInfo) -> float | None:
    """When the last picture's time is over, in seconds from the start of the video; None when no packet tells.

    One pass over the file: its packets, or, where even these have no times, its frames.
    """
    if info.container in STREAMS_WITHOUT_TIMES:
        num_frames = count_frames(session, info)
        return num_frames / (info.frames_per_second or graph.DEFAULT_RATE) if num_frames else None
    packets = measure(session, info)
    if not packets.num_shown or not math.isfinite(packets.end_seconds):
        return None
    return max(0.0, packets.end_seconds - info.zero_seconds)


def key_packets(session: Session, info: VideoInfo) -> Packets:
    """As `measure`, of the key frames alone; not for streams whose times are counted."""
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
