"""Progress on stderr: a bar on a terminal, a line now and then elsewhere, nothing when quiet."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rich.progress import Progress

LINE_SECONDS = 10.0


class ProgressBar:
    """A bar over `total` things; `update` takes the absolute number done and a short text beside it."""

    def __init__(self, total: int, *, unit: str, quiet: bool, transient: bool = False) -> None:
        self._total = total
        self._unit = unit
        self._quiet = quiet or total == 0
        self._started = self._last_line = time.monotonic()
        self._first: int | None = None
        self._bar: Progress | None = None
        if not self._quiet and sys.stderr.isatty():
            self._bar = _rich_bar(transient=transient)
            self._task = self._bar.add_task("", total=total, rate="", note="")

    def __enter__(self) -> ProgressBar:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()

    def update(self, num_done: int, note: str = "") -> None:
        """Show that `num_done` of the total are done."""
        if self._quiet:
            return
        now = time.monotonic()
        if self._first is None:  # a run that goes on: what was done before does not count for the rate
            self._first = num_done - 1 if num_done > 0 else 0
        rate = (num_done - self._first) / max(now - self._started, 1e-9)
        speed = f"{rate:.{0 if rate >= 10 else 1 if rate >= 1 else 2}f}"
        if self._bar:
            self._bar.update(self._task, completed=num_done, rate=f"{speed} {self._unit}/s", note=note)
        elif now - self._last_line >= LINE_SECONDS:
            self._last_line = now
            text = f"{num_done:,}/{self._total:,} {self._unit} · {speed} {self._unit}/s"
            typer.echo(text + (f" · {note}" if note else ""), err=True)


class StepBar:
    """A bar whose total is known only with the first call of `update(num_done, total)`."""

    def __init__(self, *, unit: str, quiet: bool, transient: bool = False) -> None:
        self._unit, self._quiet, self._transient = unit, quiet, transient
        self._bar: ProgressBar | None = None

    def __enter__(self) -> StepBar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.finish()

    def update(self, num_done: int, total: int, note: str = "") -> None:
        """Show that `num_done` of `total` are done."""
        if self._bar is None:
            self._bar = ProgressBar(total, unit=self._unit, quiet=self._quiet, transient=self._transient)
            self._bar.__enter__()
        self._bar.update(num_done, note)

    def update_unit(self, num_done: int, total: int, unit: str) -> None:
        """As `update`, for a caller whose things change; another unit begins another bar."""
        if unit != self._unit:
            self.finish()
            self._unit = unit
        self.update(num_done, total)

    def finish(self) -> None:
        """Leave the bar as it is; the next `update` begins another."""
        if self._bar is not None:
            self._bar.__exit__(None, None, None)
            self._bar = None


def _rich_bar(*, transient: bool) -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    separator = TextColumn("[dim]·[/dim]")
    return Progress(
        BarColumn(),
        MofNCompleteColumn(),
        separator,
        TextColumn("{task.fields[rate]}"),
        TextColumn("{task.fields[note]}"),
        separator,
        TimeRemainingColumn(compact=True),
        console=Console(stderr=True),
        transient=transient,
    )
