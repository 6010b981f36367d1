"""`vtr datasets`: which data sets are known, and whether their files are as they should be."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from vtrcli.cli import options
from vtrcli.cli.options import arg, opt
from vtrcli.cli.output import Column, count, print_columns, print_json, stdout
from vtrcli.cli.settings import VtrCommand
from vtrcli.errors import InputError, UsageError

if TYPE_CHECKING:
    from vtrcli.datasets.registry import SplitCheck

NAME = "datasets"
EPILOG = "Example: [bold]vtr datasets check msvd --annotations msvd/[/bold]"
app = typer.Typer(no_args_is_help=True)  # its help is in cli/app.py


@app.command("list", cls=VtrCommand, epilog="Example: [bold]vtr datasets list[/bold]")
def list_command(json_output: bool = options.JSON) -> None:
    """List the data sets with the files that they need and where researchers get them."""
    from vtrcli.datasets.moment_sets import MOMENT_SETS
    from vtrcli.datasets.registry import DATASETS

    if json_output:
        rows = [
            {name: value for name, value in vars(info).items() if name not in ("load", "has_split")}
            for info in DATASETS.values()
        ]
        of_moments = [
            {name: value for name, value in vars(info).items() if name != "read"}
            for info in MOMENT_SETS.values()
        ]
        print_json("datasets list", {"datasets": rows, "moments": of_moments})
        return
    for info in DATASETS.values():
        counts = ", ".join(
            f"{split} {number:,} videos / {info.num_captions.get(split, 0):,} captions"
            for split, number in info.num_videos.items()
        )
        _print_entry(info.name, info.summary, "; ".join(info.files), info.source, holds=counts)
    stdout().print("\nMoments within a video, for `vtr eval --moments`:\n")
    for moments in MOMENT_SETS.values():
        files = "; ".join(f"{split}: {' or '.join(names)}" for split, names in moments.files.items())
        _print_entry(moments.name, moments.summary, files, moments.source)


def _print_entry(name: str, summary: str, files: str, source: str, *, holds: str = "") -> None:
    from rich.table import Table
    from rich.text import Text

    console = stdout()
    lines = {"files:": files, "from:": source, **({"holds:": holds} if holds else {})}
    console.print(Text(name, style="bold"), "", summary, soft_wrap=not console.is_terminal)
    if console.is_terminal:  # a text that is too long goes on below itself
        table = Table.grid(padding=(0, 1, 0, 0))
        for label, text in lines.items():
            table.add_row(Text(f"    {label}", style="dim"), text)
        console.print(table)
    else:
        for label, text in lines.items():
            console.print(f"    {label:6} {text}", soft_wrap=True)


@app.command(
    cls=VtrCommand, epilog="Example: [bold]vtr datasets check msrvtt-1ka --annotations msrvtt/[/bold]"
)
def check(
    dataset: str | None = arg("NAME", "Name of the data set.", default=None, complete=options.datasets),
    annotations: Path | None = opt("--annotations DIR", "Folder of its files."),
    json_output: bool = options.JSON,
) -> None:
    """Count the videos and captions of each split and compare with what is known. Exit code 3 when they differ."""
    from vtrcli.datasets.registry import check_dataset

    if dataset is None or annotations is None:
        missing = "argument 'NAME'" if dataset is None else "option '--annotations'"
        raise UsageError(f"missing {missing}", allowed="", to_do="see `vtr datasets check --help`")
    rows = check_dataset(dataset, annotations)
    problems = [f"{row.split}: {row.problem}" for row in rows if row.problem]
    if json_output:
        print_json("datasets check", {"dataset": dataset, "splits": [vars(row) for row in rows]})
    else:
        _print_rows(rows)
    if problems:
        first = problems[0].partition("; ")[0]  # what came in; the table has the rest
        raise InputError(
            f"{dataset} in {annotations}: {count(len(problems), 'split')} with a problem, first {first}",
            allowed="the published files, whole",
            to_do="see `vtr datasets list` for where they come from",
        )


def _print_rows(rows: Sequence[SplitCheck]) -> None:
    numbers = [Column(heading, is_right=True) for heading in ("videos", "expected", "captions", "expected")]
    shown = []
    for row in rows:
        counts = (row.num_videos, row.expected_videos, row.num_captions, row.expected_captions)
        shown.append((row.split, *("" if n is None else f"{n:,}" for n in counts), row.problem or "fine"))
    print_columns([Column("split"), *numbers, Column("", folds=True)], shown)
