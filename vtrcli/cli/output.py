"""What a person or a script sees: results on stdout, all else on stderr. Numbers, times and names as text."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from vtrcli.cli.printable import printable

if TYPE_CHECKING:
    from rich.console import Console

    from vtrcli.errors import VtrError

SCHEMA = 1


def print_json(command: str, body: dict[str, Any]) -> None:
    """One JSON object on stdout; ASCII, so that any file name survives any pipe."""
    typer.echo(json.dumps({"schema": SCHEMA, "command": command, **body}, default=str))


def stdout() -> Console:
    """The console for results; takes text, no markup."""
    from vtrcli.cli.console import PlainConsole

    return PlainConsole()


def print_rows(rows: dict[str, str]) -> None:
    """Names and values in two columns."""
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    for name, value in rows.items():
        table.add_row(Text(name, style="dim"), value)
    stdout().print(table)


def say(text: str, *, quiet: bool = False, dim: bool = False) -> None:
    """One line on stderr, whatever names it holds; `dim` on a terminal where it is by the way."""
    if quiet:
        return
    line = printable(text)
    is_dim = dim and sys.stderr.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
    typer.echo(typer.style(line, dim=True) if is_dim else line, err=True)


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
        say(
            f"note: {folder} is not there; its {count(number, 'video')} stay (mount it, or `--under {folder}`)",
            quiet=quiet,
        )


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
