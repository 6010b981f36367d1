"""Passes over a whole file for what its header does not say, or says wrongly: its length, its key frames."""

from __future__ import annotations

import re

from vtrcli.video import graph
from vtrcli.video.child import Session
from vtrcli.video.probe import VideoInfo

_PROGRESS_BYTES = 1 << 16


def measure_duration(session: Session, info: VideoInfo) -> float | None:
    """End of the video stream in seconds, from its packets, undecoded; None when they tell no time."""
    progress = _progress(session, graph.measure_command(info))
    if not info.has_times:
        return _last(progress, "frame") / (info.frames_per_second or graph.DEFAULT_RATE)
    return _last(progress, "out_time_us") / graph.MICROSECONDS or None


def count_keyframes(session: Session, info: VideoInfo) -> int:
    """How many key frames decode."""
    return _last(_progress(session, graph.count_keyframes_command(info)), "frame")


def _progress(session: Session, command: list[str]) -> str:
    with session.run(command) as child:
        report = child.read_all(_PROGRESS_BYTES)
        child.wait()
    session.check_time()
    return report.decode(errors="replace")


def _last(progress: str, key: str) -> int:
    """The last value of a key in ffmpeg's progress report; 0 when there is none."""
    values = re.findall(rf"^{key}=\s*(-?\d+)", progress, re.MULTILINE)
    return int(values[-1]) if values else 0
