"""Which videos may be found: by path, length, date and size. Plain bounds; Milvus translates the same ones."""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from vtrcli.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Filters:
    """Bounds are inclusive; None is no bound. Times are seconds, dates seconds since 1970 of the file's last change.

    `paths` are glob patterns of which one must match. `*` also matches `/`, as in a shell's `**`. A pattern without
    `/` is compared with the file's name, any other with the whole path or any end of it that begins at a folder:
    `kitchen/*.mp4` finds `/home/me/kitchen/pasta.mp4`.
    A video of unknown length is left out as soon as there is a bound on the length.

    Raises:
        UsageError: a lower bound above the upper one, or an empty pattern.
    """

    paths: tuple[str, ...] = ()
    min_duration_seconds: float | None = None
    max_duration_seconds: float | None = None
    min_changed_at: float | None = None
    max_changed_at: float | None = None
    min_bytes: int | None = None
    max_bytes: int | None = None

    def __post_init__(self) -> None:
        for name, low, high in (
            ("duration", self.min_duration_seconds, self.max_duration_seconds),
            ("date", self.min_changed_at, self.max_changed_at),
            ("size", self.min_bytes, self.max_bytes),
        ):
            if low is not None and high is not None and low > high:
                raise UsageError(
                    f"the {name} filter leaves nothing: from {_shown(name, low)} to {_shown(name, high)}",
                    allowed="a lower bound at or below the upper one",
                    to_do="exchange the two, or leave one out",
                )
        if not all(self.paths):
            raise UsageError("an empty path filter", allowed="a pattern such as *.mp4", to_do="leave it out")

    @property
    def is_empty(self) -> bool:
        """Whether every video passes."""
        return self == Filters()

    def mask(
        self,
        *,
        paths: Sequence[str],
        duration_seconds: np.ndarray,
        changed_at: np.ndarray,
        num_bytes: np.ndarray,
    ) -> np.ndarray:
        """bool [num_videos]: who passes. `duration_seconds` is NaN where it is not known."""
        passes = np.ones(len(duration_seconds), bool)
        passes &= _within(duration_seconds, self.min_duration_seconds, self.max_duration_seconds)
        passes &= _within(changed_at, self.min_changed_at, self.max_changed_at)
        passes &= _within(num_bytes, self.min_bytes, self.max_bytes)
        if self.paths:
            for index in np.flatnonzero(passes).tolist():
                passes[index] = any(path_matches(paths[index], pattern) for pattern in self.paths)
        return passes


def _shown(name: str, value: float) -> str:
    return f"{datetime.fromtimestamp(value):%Y-%m-%d %H:%M}" if name == "date" else f"{value:g}"


def path_matches(path: str, pattern: str) -> bool:
    """Whether a glob of `Filters.paths` means this path; upper and lower case differ."""
    if "/" not in pattern:
        return fnmatch.fnmatchcase(path.rpartition("/")[2], pattern)
    anchored = pattern if pattern.startswith(("/", "*")) else f"*/{pattern}"
    return fnmatch.fnmatchcase(path, anchored)


def _within(values: np.ndarray, low: float | None, high: float | None) -> np.ndarray:
    if low is None and high is None:
        return np.ones(len(values), bool)
    # NaN is within no bounds.
    return (values >= (-math.inf if low is None else low)) & (values <= (math.inf if high is None else high))
