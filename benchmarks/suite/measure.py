"""Ways that take turns, and what they took."""

from __future__ import annotations

import resource
import statistics
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

Way = Callable[[], object]
Result = TypeVar("Result")


@dataclass
class Timed:
    """One way: the clock and the processors (this process and its children), a number per round."""

    name: str
    seconds: list[float] = field(default_factory=list)
    processor_seconds: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """Seconds."""
        return statistics.median(self.seconds)


@dataclass
class Row:
    """One line of the table. All lists of seconds are of the same rounds, in which the ways took turns.

    Attributes:
        per_round: how many of what is done in a round, for a rate; None where a time says more.
        limit: what nobody can save.
        parts: where the time of `ours` goes.
        left_out: peers that could not run here, and why.
    """

    what: str
    ours: Timed
    peers: list[Timed]
    limit: Timed | None = None
    per_round: tuple[float, str] | None = None
    parts: list[Timed] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)


Section = Callable[[Namespace], Iterator[Row]]


def processor_seconds() -> float:
    """Of this process and of its children that have ended."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def timed(way: Callable[[], Result], into: Timed) -> Result:
    """Do it once and note what it took; returns what it returned."""
    processor, started = processor_seconds(), time.perf_counter()
    result = way()
    into.seconds.append(time.perf_counter() - started)
    into.processor_seconds.append(processor_seconds() - processor)
    return result


def take_turns(ways: Mapping[str, Way], *, rounds: int) -> dict[str, Timed]:
    """Each way once per round, one after the other, so that a drift of the machine hits all."""
    found = {name: Timed(name) for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            timed(way, found[name])
    return found


def together(name: str, parts: list[Timed]) -> Timed:
    """One after the other: the sum of each round."""
    return Timed(
        name,
        [sum(values) for values in zip(*(part.seconds for part in parts), strict=True)],
        [sum(values) for values in zip(*(part.processor_seconds for part in parts), strict=True)],
    )
