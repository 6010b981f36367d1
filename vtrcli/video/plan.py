"""How to reach the wanted times: one linear pass, a seek per time, or key frames only. Decides by cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vtrcli.video.info import VideoInfo
from vtrcli.video.sampling import Sampling, target_timestamps

Method = Literal["linear", "seek", "keyframes"]

# Distance of key frames where the header part showed fewer than two: x264's default, 250 frames, at 25 per second.
_UNKNOWN_KEYFRAME_SECONDS = 10.0
# Opening one more input costs as much as decoding about this many pixels. Measured: 10 to 15 ms of start, at
# 2,000 frames/s of 720p H.264 on one core.
_OPENING_PIXELS = 25e6
# Inputs are open at the same time; their pictures together stay below this (twelve at 1080p).
_OPEN_PIXELS = 26e6
_MAX_INPUTS = 12


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to decode and how. `targets`: float64 [num_targets], seconds, increasing: evenly spaced times, or those of
    the key frames (none where only decoding tells them)."""

    method: Method
    targets: NDArray[np.float64]
    inputs_per_process: int = 1
    keep: tuple[int, int] | None = None  # of so many key frames; None for all

    @property
    def step_seconds(self) -> float:
        """Distance of two targets."""
        return float(self.targets[1] - self.targets[0]) if len(self.targets) > 1 else 1.0


def make_plan(info: VideoInfo, sampling: Sampling, *, may_seek: bool = True) -> Plan:
    """The cheapest plan that gives exactly the frames on display at the sampling's times; not for key frames."""
    targets = target_timestamps(sampling, info.duration_seconds or 0.0)
    if not (may_seek and info.can_seek):
        return Plan(method="linear", targets=targets)
    pixels = max(1, info.width * info.height)
    rate = info.frames_per_second or 25.0
    # A seek lands on average half a key frame distance before its target.
    per_seek = (info.keyframe_seconds or _UNKNOWN_KEYFRAME_SECONDS) / 2 * rate * pixels + _OPENING_PIXELS
    linear = float(targets[-1]) * rate * pixels
    method: Method = "seek" if len(targets) * per_seek < linear else "linear"
    inputs = int(np.clip(_OPEN_PIXELS // pixels, 1, _MAX_INPUTS))
    return Plan(method=method, targets=targets, inputs_per_process=inputs)


def keyframe_plan(targets: NDArray[np.float64], num_keyframes: int, max_frames: int | None) -> Plan:
    """The plan for key frames at `targets` (float64 [num_keyframes], or empty where their times are not known)."""
    if max_frames is None or num_keyframes <= max_frames:
        return Plan(method="keyframes", targets=targets)
    index = np.arange(num_keyframes)
    # the same rule as the filter of `graph.keyframes_command`
    kept = (index + 1) * max_frames // num_keyframes > index * max_frames // num_keyframes
    return Plan(
        method="keyframes",
        targets=targets[kept] if len(targets) else targets,
        keep=(max_frames, num_keyframes),
    )
