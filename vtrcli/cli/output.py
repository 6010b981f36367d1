"""What a person or a script sees: results on stdout, all else on stderr. Numbers, times and names as text; progress."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from vtrcli.errors import JSON_SCHEMA, printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress
    from rich.text import Text

    from vtrcli.errors import VtrError


PIPE_WIDTH = 200
GAP = 2
# A text that folds keeps so much room, so that it stays a text and not a column of syllables.
MIN_FOLD_WIDTH = 24
LINE_SECONDS = 10.0  # between two lines of progress, where there is no terminal


def print_json(command: str, body: dict[str, Any]) -> None:
    """One JSON object on stdout; ASCII, so that any file name survives any pipe."""
    typer.echo(json.dumps({"schema": JSON_SCHEMA, "command": command, **body}, default=str))


def stdout(*, pipe_width: int = PIPE_WIDTH) -> Console:
    """The console for results: what it is given is text, never markup and never a command to the terminal.

    Names come from other people's files and stores, so every string, in tables too, passes `printable`.
    """
    from rich.console import Console

    class PlainConsole(Console):
        def print(self, *objects: Any, **options: Any) -> None:
            """Print; in a pipe or a file no line ends with the blanks that fill a table's last column."""
            if self.is_terminal:
                super().print(*objects, **options)
                return
            with self.capture() as captured:
                super().print(*objects, **options)
            self.file.write(re.sub(r" +$", "", captured.get(), flags=re.MULTILINE))

        def on_broken_pipe(self) -> None:
            """Leave it to `main`, so that all commands end alike; rich would end the program with 1."""
            raise BrokenPipeError

        def render_str(self, text: str, **options: Any) -> Text:  # type: ignore[override]
            """All strings that are printed or stand in a table go through here; `Text` objects do not."""
            return super().render_str(printable(text), **options)

    width = None if sys.stdout.isatty() else pipe_width  # not wrapped to 80 columns when piped
    return PlainConsole(width=width, highlight=False, markup=False, emoji=False)


def print_line(text: str) -> None:
    """One line of result on stdout, however long."""
    stdout().print(text, soft_wrap=True)


def print_rows(rows: dict[str, str]) -> None:
    """Names and values in two columns."""
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    for name, value in rows.items():
        table.add_row(Text(name, style="dim"), value)
    stdout().print(table)


@dataclass(frozen=True)
class Column:
    """One column of a table. Its cells never shrink, unless it `folds` (a path, a sentence).

    Attributes:
        short: shorter words for a cell, where the terminal is too narrow.
        leaves: where that is not enough, columns with a number are left out, the lowest first; and wherever they hold
            nothing.
    """

    heading: str
    is_right: bool = False
    folds: bool = False
    style: str = ""
    short: Callable[[str], str] | None = None
    leaves: int = 0


def print_columns(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
    """Print a table that fits the terminal, and say which columns were left out for that. A pipe gets all."""
    from rich.table import Table
    from rich.text import Text

    cells = [[printable(cell) for cell in column] for column in zip(*rows, strict=True)] or [
        [] for _ in columns
    ]
    shown = [
        (column, texts)
        for column, texts in zip(columns, cells, strict=True)
        if any(texts) or not (column.leaves and rows)
    ]
    console = stdout(pipe_width=max(PIPE_WIDTH, _width(shown, folded=False)))
    if _width(shown) > console.width:
        shown = [
            (column, [column.short(text) for text in texts] if column.short else texts)
            for column, texts in shown
        ]
    left_out = []
    for column in sorted((column for column, _ in shown if column.leaves), key=lambda column: column.leaves):
        if _width(shown) > console.width:
            shown = [pair for pair in shown if pair[0] is not column]
            left_out.append(column.heading)
    table = Table(box=None, padding=(0, GAP, 0, 0), header_style="dim", pad_edge=False)
    for column, texts in shown:
        table.add_column(
            column.heading,
            justify="right" if column.is_right else "left",
            style=column.style,
            overflow="fold",
            no_wrap=not column.folds,
            min_width=None if column.folds else _longest(column, texts),
        )
    for row in zip(*(texts for _, texts in shown), strict=True):
        table.add_row(*row)
    console.print(table)
    if left_out:
        console.print(Text(f"not shown, for want of room: {', '.join(left_out)}", style="dim"))


def _width(shown: Sequence[tuple[Column, Sequence[str]]], *, folded: bool = True) -> int:
    """What a table takes, with the columns that fold as narrow as they may be."""
    widths = (
        min(_longest(column, texts), MIN_FOLD_WIDTH) if column.folds and folded else _longest(column, texts)
        for column, texts in shown
    )
    return sum(width + GAP for width in widths)


def _longest(column: Column, texts: Sequence[str]) -> int:
    from rich.cells import cell_len

    return max(cell_len(text) for text in (column.heading, *texts))


def say(text: str, *, quiet: bool = False, dim: bool = False) -> None:
    """One line on stderr, whatever names it holds; `dim` on a terminal where it is by the way."""
    if quiet:
        return
    line = printable(text)
    is_dim = dim and sys.stderr.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
    typer.echo(typer.style(line, dim=True) if is_dim else line, err=True)


@contextmanager
def log_shown(*, verbose: bool = True) -> Iterator[None]:
    """What the library notes of its ways, and why it took them, as lines on stderr, each once."""
    if not verbose:
        yield
        return
    import logging

    log, told = logging.getLogger("vtrcli"), set[str]()
    if log.isEnabledFor(logging.INFO):  # VTR_DEBUG and --verbose both
        yield
        return

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            line = self.format(record)
            if line not in told:
                told.add(line)
                say(line)

    lines, before = Lines(), log.level
    log.addHandler(lines)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(lines)
        log.setLevel(before)


def say_error(error: VtrError) -> None:
    """On a terminal two lines, what is wrong and what to do; elsewhere one line, which a log keeps whole."""
    if not sys.stderr.isatty():
        say(f"vtr: {error}")
        return
    hint = "; ".join(part for part in (error.allowed, error.to_do) if part)
    is_coloured = "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
    for label, colour, text in (("error:", "red", error.came_in), ("hint: ", "cyan", hint)):
        typer.echo(
            (typer.style(label, fg=colour, bold=True) if is_coloured else label) + " " + printable(text),
            err=True,
        )


def anchored(pattern: str) -> str:
    """A pattern that begins with ./, ../ or ~ means a place on this machine; so do . and .. alone."""
    if pattern in (".", "..") or pattern.startswith(("./", "../", "~")):
        behind = "/" if pattern.endswith("/") else ""
        return os.path.abspath(os.path.expanduser(pattern)) + behind
    return pattern


def say_absent(absent: dict[str, int], *, quiet: bool) -> None:
    """Why videos were kept although their files cannot be found."""
    for folder, number in absent.items():
        stay = f"its {count(number, 'video')} {'stays' if number == 1 else 'stay'}"
        say(f"note: {folder} is not there; {stay} (mount it, or `--under {folder}`)", quiet=quiet)


def home_relative(path: Path) -> str:
    """~/Videos for a path below the home folder."""
    try:
        return str(Path("~", path.relative_to(Path.home())))
    except ValueError:
        return str(path)


def short_path(path: str, *, start: Path | None = None) -> str:
    """Relative to `start` (the working folder) where the file lies below it, else with ~ for the home folder."""
    try:
        return str(Path(path).relative_to(start.absolute() if start else Path.cwd()))
    except ValueError:
        return home_relative(Path(path))


def model_name(backbone: str) -> str:
    """A backbone as people call it: ViT-B/32, or the file's name without its folders."""
    path = Path(backbone)
    return path.name if path.is_absolute() else backbone


def byte_size(num_bytes: int) -> str:
    """212 GB; powers of 1000 as disks are sold."""
    size = float(num_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if size >= 10 or unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def count(number: int, noun: str) -> str:
    """1 video, 1,284 videos."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


class ProgressBar:
    """Progress on stderr: a bar on a terminal, a line now and then elsewhere, nothing when quiet.

    The first `update` begins it; after `finish` the next one begins another.
    """

    def __init__(self, *, unit: str, quiet: bool, transient: bool = False) -> None:
        self._unit, self._quiet, self._transient = unit, quiet, transient
        self._first: int | None = None
        self._bar: Progress | None = None

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(self, *error: object) -> None:
        self.finish()

    def update(self, num_done: int, total: int, note: str = "") -> None:
        """Show that `num_done` of `total` are done, and a short text beside it."""
        if self._quiet or total == 0:
            return
        now = time.monotonic()
        if self._first is None:
            # In a run that goes on, what was done before does not count for the rate.
            self._first = max(num_done - 1, 0)
            self._started = self._last_line = now
            if sys.stderr.isatty():
                self._bar = _rich_bar(transient=self._transient)
                self._task = self._bar.add_task("", total=total, rate="", note="")
                self._bar.start()
        rate = (num_done - self._first) / max(now - self._started, 1e-9)
        speed = f"{rate:.{0 if rate >= 10 else 1 if rate >= 1 else 2}f} {self._unit}/s"
        if self._bar:
            self._bar.update(self._task, completed=num_done, rate=speed, note=note)
        elif now - self._last_line >= LINE_SECONDS:
            self._last_line = now
            typer.echo(
                f"{num_done:,}/{total:,} {self._unit} · {speed}" + (f" · {note}" if note else ""), err=True
            )

    def update_unit(self, num_done: int, total: int, unit: str) -> None:
        """As `update`, for a caller whose things change; another unit begins another bar."""
        if unit != self._unit:
            self.finish()
            self._unit = unit
        self.update(num_done, total)

    def finish(self) -> None:
        """Leave the bar as it is."""
        if self._bar:
            self._bar.stop()
        self._first = self._bar = None


def download_progress(*, quiet: bool) -> Callable[[int, int], None]:
    """A bar in megabytes that appears with the first bytes of a download."""
    bar = ProgressBar(unit="MB", quiet=quiet)

    def update(num_bytes: int, total_bytes: int) -> None:
        bar.update(num_bytes // 1_000_000, total_bytes // 1_000_000, "weights")
        if num_bytes >= total_bytes:
            bar.finish()

    return update


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
