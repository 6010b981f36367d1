"""The console for results: what it is given is text, never markup and never a command to the terminal."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from vtrcli.cli.printable import printable

PIPE_WIDTH = 200
GAP = 2
# A text that folds keeps so much room, so that it stays a text and not a column of syllables.
MIN_FOLD_WIDTH = 24


class PlainConsole(Console):
    """Names come from other people's files and stores, so every string, in tables too, passes `printable`."""

    def __init__(self, *, pipe_width: int = PIPE_WIDTH) -> None:
        width = None if sys.stdout.isatty() else pipe_width  # not wrapped to 80 columns when piped
        super().__init__(width=width, highlight=False, markup=False, emoji=False)

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


@dataclass(frozen=True)
class Column:
    """One column of a table. Its cells never shrink, unless it `folds` (a path, a sentence).

    Attributes:
        short: shorter words for a cell, where the terminal is too narrow.
        leaves: where that is not enough, columns with a number are left out, the lowest first.
    """

    heading: str
    is_right: bool = False
    folds: bool = False
    style: str = ""
    short: Callable[[str], str] | None = None
    leaves: int = 0


def print_columns(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
    """Print a table that fits the terminal, and say which columns were left out for that. A pipe gets all."""
    cells = [[printable(cell) for cell in column] for column in zip(*rows, strict=True)] or [
        [] for _ in columns
    ]
    whole = _width(list(zip(columns, cells, strict=True)), folded=False)
    console = PlainConsole(pipe_width=max(PIPE_WIDTH, whole))
    shown = list(zip(columns, cells, strict=True))
    if _width(shown) > console.width:
        shown = [
            (column, [column.short(text) for text in texts] if column.short else texts)
            for column, texts in shown
        ]
    left_out = []
    for column in sorted((column for column in columns if column.leaves), key=lambda column: column.leaves):
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
    return max(cell_len(text) for text in (column.heading, *texts))
