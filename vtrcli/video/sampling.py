"""Which moments of a video to take: one class per plan, and the table of them.

A plan tells the times that it means for a given length, itself in words, and what a store keeps of it. Another one is a
subclass of `Sampling` and its name in `SAMPLINGS`. Which decoding method reaches the times is `vtrcli.video.decode`'s
decision.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from vtrcli.errors import StoreError, UsageError

# Twice the step a double can be off after a multiplication: 30.0 s at 0.1 fps are 3 frames, not 4.
_ROUNDING = 1e-9


@dataclass(frozen=True, kw_only=True)
class Sampling(ABC):
    """What to take from each video. The fields of a plan are numbers; their defaults stand here and nowhere else.

    `max_frames` thins any plan evenly. Raises UsageError for values out of bounds.
    """

    mode: ClassVar[str]  # its name in store.json
    max_frames: int | None = None

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if name != "fps" and value is not None and value < 1:
                option = {"num_frames": "--frames"}.get(name, "--" + name.replace("_", "-"))
                raise UsageError(
                    f"{name} is {value}", allowed="at least 1 frame is taken", to_do=f"change {option}"
                )

    @abstractmethod
    def times(self, duration_seconds: float) -> NDArray[np.float64] | None:
        """Times to look at, float64 [num_times], seconds from the start, increasing by a microsecond or more; None for
        those of key frames, which only the file knows. A video of no length has one, 0."""

    @abstractmethod
    def words(self) -> str:
        """What is taken, for people, such as "12 frames each"."""

    def describe(self) -> str:
        """`words`, and the most that are taken."""
        return self.words() if self.max_frames is None else f"{self.words()}, at most {self.max_frames}"

    def to_json(self) -> dict[str, Any]:
        """What a store keeps."""
        values = asdict(self)
        return {"mode": self.mode, **values, "max_frames": values.pop("max_frames")}

    @staticmethod
    def from_json(value: dict[str, Any]) -> Sampling:
        """The inverse of `to_json`. Raises StoreError for anything else."""
        keys = dict(value)
        mode = keys.pop("mode", None)
        plan = SAMPLINGS.get(mode) if isinstance(mode, str) else None
        are_numbers = all(item is None or type(item) in (int, float) for item in keys.values())
        if plan is None or set(keys) != {field.name for field in fields(plan)} or not are_numbers:
            *names, last = SAMPLINGS
            raise StoreError(
                f"unknown sampling {value!r}",
                allowed=f"a sampling of this version is {', '.join(names)} or {last}",
                to_do="update vtr, or extract into a new store",
            )
        return plan(**keys)

    def at_most(self, count: int) -> int:
        """`count`, or `max_frames` where that is less."""
        return count if self.max_frames is None else min(count, self.max_frames)


@dataclass(frozen=True, kw_only=True)
class Keyframes(Sampling):
    """The key frames: fastest, uneven."""

    mode = "keyframes"

    def times(self, duration_seconds: float) -> None:
        """None: only the file knows."""

    def words(self) -> str:
        """What they are."""
        return "key frames"


@dataclass(frozen=True, kw_only=True)
class Uniform(Sampling):
    """`num_frames` of each video, whatever its length."""

    mode = "uniform"
    num_frames: int

    def times(self, duration_seconds: float) -> NDArray[np.float64]:
        """The centres of equal segments."""
        return _segment_centres(self.at_most(self.num_frames), duration_seconds)

    def words(self) -> str:
        """For example "12 frames each"."""
        return f"{self.num_frames} frame{'s' * (self.num_frames > 1)} each"


@dataclass(frozen=True, kw_only=True)
class Rate(Sampling):
    """`fps` frames of each second of video, but at least `min_frames`; without `fps` just these."""

    mode = "rate"
    fps: float | None = 0.5
    min_frames: int = 12

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.fps is not None and not (math.isfinite(self.fps) and 0 < self.fps <= 1000):
            raise UsageError(
                f"fps is {self.fps}", allowed="a rate is above 0 and at most 1000", to_do="change --fps"
            )

    def times(self, duration_seconds: float) -> NDArray[np.float64]:
        """0, 1/fps, 2/fps, ... (the grid that feature tools commonly use), or the bounds' number of uniform ones."""
        count = math.ceil(duration_seconds * self.fps - _ROUNDING) if self.fps else 0
        wanted = self.at_most(max(count, self.min_frames))
        if self.fps is None or wanted != count:
            return _segment_centres(wanted, duration_seconds)
        return np.arange(count, dtype=np.float64) / self.fps

    def words(self) -> str:
        """For example "one frame every 2 s, at least 12"."""
        if self.fps is None:
            return f"{self.min_frames} frame{'s' * (self.min_frames > 1)} each"
        if self.fps <= 1:
            return f"one frame every {1 / self.fps:g} s, at least {self.min_frames}"
        return f"{self.fps:g} frames per second, at least {self.min_frames}"


SAMPLINGS: dict[str, type[Sampling]] = {plan.mode: plan for plan in (Keyframes, Uniform, Rate)}


def chosen_sampling(
    *,
    fps: float | None = None,
    min_frames: int | None = None,
    frames: int | None = None,
    keyframes: bool = False,
    max_frames: int | None = None,
) -> Sampling | None:
    """The plan that these options of `vtr extract` mean; None where none was given.

    Raises:
        UsageError: options of two plans.
    """
    rate = {name: value for name, value in (("fps", fps), ("min_frames", min_frames)) if value is not None}
    given: dict[str, tuple[type[Sampling], dict[str, Any]]] = {}
    if rate:
        given["--fps/--min-frames"] = Rate, rate
    if frames is not None:
        given["--frames"] = Uniform, {"num_frames": frames}
    if keyframes:
        given["--keyframes"] = Keyframes, {}
    if len(given) > 1:
        raise UsageError(
            f"{' and '.join(given)} together",
            allowed="one way of choosing frames: --fps with --min-frames, --frames, or --keyframes",
            to_do="keep one of them",
        )
    if not given:
        return None if max_frames is None else Rate(max_frames=max_frames)
    [(plan, values)] = given.values()
    return plan(max_frames=max_frames, **values)


def _segment_centres(count: int, duration_seconds: float) -> NDArray[np.float64]:
    if duration_seconds <= 0:
        return np.zeros(1)
    return (np.arange(count, dtype=np.float64) + 0.5) * (duration_seconds / count)
