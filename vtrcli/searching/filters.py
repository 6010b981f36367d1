"""Which videos may be found: by path, length, date and size. Plain bounds; Milvus translates the same ones."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from vtrcli.errors import UsageError
from vtrcli.files import folded_matcher, folded_paths
from vtrcli.times import clock

if TYPE_CHECKING:
    import numpy as np


CHUNK_PATHS = 65_536  # that are in memory at once


class VideoFacts(NamedTuple):
    """What filters look at, per video: numbers are NaN where they are not known; `paths` may be empty where no filter
    looks at them."""

    paths: Sequence[str]
    duration_seconds: np.ndarray
    changed_at: np.ndarray
    num_bytes: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Filters:
    """Bounds are inclusive; None is no bound. Times are seconds, dates seconds since 1970 of the file's last change.

    `paths` are names, folders or globs of which one must match; see `vtrcli.files.path_matcher`.
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

    def mask(self, facts: VideoFacts) -> np.ndarray:
        """bool [num_videos]: who passes."""
        import numpy as np  # here, so that a query can be made and checked without it

        allowed = np.ones(len(facts.duration_seconds), bool)
        for _, bound in self._bounds(facts):
            allowed &= bound
        if self.paths:
            for first in range(0, len(allowed), CHUNK_PATHS):
                part = slice(first, first + CHUNK_PATHS)
                if allowed[part].any():
                    allowed[part] &= self._match(facts.paths[part])
        return allowed

    def _match(self, paths: Sequence[str]) -> list[bool]:
        """Which of the paths one of the patterns means."""
        matchers = [folded_matcher(pattern) for pattern in self.paths]
        if len(matchers) == 1:
            return list(map(matchers[0], folded_paths(paths)))
        return [any(matches(path) for matches in matchers) for path in folded_paths(paths)]

    def why_none(self, facts: VideoFacts) -> str:
        """Which filter left no video, or that they do so together."""
        total = len(facts.duration_seconds)
        alone = [(name, int(bound.sum())) for name, bound in self._bounds(facts)]
        if self.paths:
            num_matching = sum(self._match(facts.paths[:]))
            alone.insert(0, (" ".join(f"--path {pattern}" for pattern in self.paths), num_matching))
        for name, num_left in alone:
            if not num_left:
                return f"{name} left 0 of {_videos(total)}"
        each = ", ".join(f"{name} {num_left:,}" for name, num_left in alone)
        return f"the filters left 0 of {_videos(total)}, each alone: {each}"

    def _bounds(self, facts: VideoFacts) -> Iterator[tuple[str, np.ndarray]]:
        """Each bound that is set, named as its option, with who is within it: bool [num_videos]."""
        for name, values, bound in (
            ("--min-duration", facts.duration_seconds, self.min_duration_seconds),
            ("--max-duration", facts.duration_seconds, self.max_duration_seconds),
            ("--after", facts.changed_at, self.min_changed_at),
            ("--before", facts.changed_at, self.max_changed_at),
            ("--min-size", facts.num_bytes, self.min_bytes),
            ("--max-size", facts.num_bytes, self.max_bytes),
        ):
            if bound is not None:  # NaN is within no bounds
                is_upper = name in ("--max-duration", "--before", "--max-size")
                yield f"{name} {_shown(name, bound)}", values <= bound if is_upper else values >= bound


def _shown(name: str, value: float) -> str:
    """A bound as people write it: 2019-06-30 00:00, 1:02.5, or bytes."""
    if not math.isfinite(value):
        return f"{value:g}"
    if name in ("date", "--after", "--before"):
        return f"{datetime.fromtimestamp(value):%Y-%m-%d %H:%M}"
    if name.endswith("duration"):
        return clock(value) + f"{value % 1:.3f}"[1:].rstrip("0").rstrip(".")
    return f"{value:.0f}"


def _videos(number: int) -> str:
    return f"{number:,} video" + "s" * (number != 1)
