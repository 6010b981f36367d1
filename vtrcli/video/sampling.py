"""Which moments of a video to take: a policy (`Sampling`) and the times it means for a given length.

Numbers only; which decoding method reaches those times is `vtrcli.video.decode`'s decision.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vtrcli.errors import StoreError, UsageError

# Twice the step a double can be off after a multiplication: 30.0 s at 0.1 fps are 3 frames, not 4.
_ROUNDING = 1e-9


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """What to take from each video; the one place where these defaults stand.

    Without `num_frames` and `keyframes` it is a fixed rate: times 0, 1/fps, 2/fps, ... (the grid that feature
    tools commonly use). A video too short to give `min_frames` that way gives `min_frames` uniform ones. Uniform
    means the centres of equal segments. `max_frames` thins any of the three evenly.

    Raises UsageError for values out of bounds or choices that contradict each other.
    """

    fps: float | None = 0.5
    min_frames: int = 12
    num_frames: int | None = None
    keyframes: bool = False
    max_frames: int | None = None

    def __post_init__(self) -> None:
        if self.keyframes and self.num_frames is not None:
            raise UsageError(
                f"both key frames and {self.num_frames} uniform frames are asked for",
                allowed="a store has one sampling",
                to_do="give either --keyframes or --frames",
            )
        if self.fps is not None and not (math.isfinite(self.fps) and 0 < self.fps <= 1000):
            raise UsageError(
                f"fps is {self.fps}", allowed="a rate is above 0 and at most 1000", to_do="change --fps"
            )
        for name in ("min_frames", "num_frames", "max_frames"):
            value = getattr(self, name)
            if value is not None and value < 1:
                option = {"num_frames": "--frames"}.get(name, "--" + name.replace("_", "-"))
                raise UsageError(
                    f"{name} is {value}", allowed="at least 1 frame is taken", to_do=f"change {option}"
                )

    def to_json(self) -> dict[str, Any]:
        """Only what matters to the chosen mode, so that equal samplings give equal dicts."""
        if self.keyframes:
            chosen: dict[str, Any] = {"mode": "keyframes"}
        elif self.num_frames is not None:
            chosen = {"mode": "uniform", "num_frames": self.num_frames}
        else:
            chosen = {"mode": "rate", "fps": self.fps, "min_frames": self.min_frames}
        return {**chosen, "max_frames": self.max_frames}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Sampling:
        """The inverse of `to_json`. Raises StoreError for anything else."""
        keys = dict(value)
        mode = keys.pop("mode", None)
        modes = {"keyframes": set(), "uniform": {"num_frames"}, "rate": {"fps", "min_frames"}}
        expected = modes.get(mode) if isinstance(mode, str) else None
        are_numbers = all(item is None or type(item) in (int, float) for item in keys.values())
        if expected is None or set(keys) != expected | {"max_frames"} or not are_numbers:
            raise StoreError(
                f"unknown sampling {value!r}",
                allowed="a sampling of this version is keyframes, uniform or rate",
                to_do="update vtr, or extract into a new store",
            )
        return cls(keyframes=mode == "keyframes", **keys)

    def describe(self) -> str:
        """A few words for people, such as "one frame every 2 s, at least 12"."""
        if self.keyframes:
            words = "key frames"
        elif self.num_frames is not None:
            words = f"{self.num_frames} frame{'s' * (self.num_frames > 1)} each"
        elif self.fps is None:
            words = f"{self.min_frames} frame{'s' * (self.min_frames > 1)} each"
        elif self.fps <= 1:
            words = f"one frame every {1 / self.fps:g} s, at least {self.min_frames}"
        else:
            words = f"{self.fps:g} frames per second, at least {self.min_frames}"
        return words if self.max_frames is None else f"{words}, at most {self.max_frames}"


def target_timestamps(sampling: Sampling, duration_seconds: float) -> NDArray[np.float64]:
    """Times to look at, float64 [num_targets], seconds from the start, evenly spaced and increasing.

    Empty for key frames: only the file knows where they are. A video of no length has one target, 0.
    """
    if sampling.keyframes:
        return np.zeros(0)
    if duration_seconds <= 0:
        return np.zeros(1)
    if sampling.num_frames is not None:
        return _segment_centres(_at_most(sampling.num_frames, sampling.max_frames), duration_seconds)
    count = math.ceil(duration_seconds * sampling.fps - _ROUNDING) if sampling.fps else 0
    wanted = _at_most(max(count, sampling.min_frames), sampling.max_frames)
    if sampling.fps is None or wanted != count:
        return _segment_centres(wanted, duration_seconds)
    return np.arange(count, dtype=np.float64) / sampling.fps


def _at_most(count: int, limit: int | None) -> int:
    return count if limit is None else min(count, limit)


def _segment_centres(count: int, duration_seconds: float) -> NDArray[np.float64]:
    return (np.arange(count, dtype=np.float64) + 0.5) * (duration_seconds / count)
