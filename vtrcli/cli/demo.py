"""`vtr demo`: the whole way on an offline corpus."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from vtrcli.cli import options
from vtrcli.cli.options import opt
from vtrcli.cli.output import Column, ProgressBar, count, print_columns, print_json, say, stdout
from vtrcli.cli.settings import SETTINGS_NAME, settings_text
from vtrcli.errors import InputError, UsageError, printable
from vtrcli.files import write_whole
from vtrcli.times import clock

if TYPE_CHECKING:
    from vtrcli.demo.demo import DemoReport

NAME = "demo"
EPILOG = 'Example: [bold]vtr demo --out demo[/bold], then [bold]cd demo && vtr search "a red circle"[/bold]'
SHOWN_HITS = 3
SETTINGS_HEAD = "# Written by `vtr demo`."


def command(
    out: Path = opt("--out", "Folder for corpus, store, run and vtr.toml.", default=Path("demo")),
    num_videos: int = opt("--num-videos", "Clips to make.", default=400, min=6),
    epochs: int | None = opt("--epochs", "Epochs of training.", min=1, shown="the recipe's"),
    workers: int = opt("--workers", "Clips made and decoded at a time.", default=2, min=1),
    json_output: bool = options.JSON,
    quiet: bool = options.QUIET,
) -> None:
    """Make short videos, extract them, train on them, search them, and print how well that went. Needs no network."""
    from vtrcli.demo.demo import DemoDisplay, run_demo

    refuse_foreign_settings(out)
    quiet = quiet or json_output
    with ProgressBar(unit="", quiet=quiet) as bar:

        def begin(text: str) -> None:
            bar.finish()
            say(text, quiet=quiet)

        display = DemoDisplay(begin, bar.update_unit)
        report = run_demo(out, num_videos=num_videos, epochs=epochs, num_workers=workers, display=display)
    write_settings(out)
    if json_output:
        print_json(NAME, report_json(report))
    else:
        print_report(report)


def refuse_foreign_settings(folder: Path) -> None:
    """Raise UsageError, before anything is drawn, where a `vtr.toml` lies that the demo did not write."""
    path = folder / SETTINGS_NAME
    if not path.exists():
        return
    try:
        is_own = path.read_bytes().startswith(SETTINGS_HEAD.encode())
    except OSError:
        is_own = False
    if not is_own:
        raise UsageError(
            f"{path} is there already, and is not the demo's",
            allowed="a folder without settings of your own",
            to_do="choose another folder with --out",
        )


def write_settings(folder: Path) -> None:
    """A `vtr.toml` in which the bare commands work. One that is there is the demo's, perhaps edited, and stays."""
    path = folder / SETTINGS_NAME
    if path.exists():
        return
    values: dict[str, str | None] = {"videos": "videos", "store": "store", "backbone": "demo"}
    text = settings_text({**values, "dataset": "csv", "annotations": "."}) + '\n[train]\nrecipe = "demo"\n'
    write_whole(path, f"{SETTINGS_HEAD}\n{text}".encode(), error=InputError)


def report_json(report: DemoReport) -> dict[str, object]:
    """The keys of `vtr demo --json`."""
    return {
        "folder": str(report.folder),
        "num_videos": report.num_videos,
        "num_test": report.num_test,
        "num_failed": report.extraction.num_failed,
        "corpus_seconds": round(report.corpus_seconds, 3),
        "extract_seconds": round(report.extraction.seconds, 3),
        "train_seconds": round(report.training.seconds, 3),
        "findings": [
            {"model": row.model, **row.t2v.to_json(), "order_accuracy": round(row.order_accuracy, 2)}
            for row in report.findings
        ],
    }


def print_report(report: DemoReport) -> None:
    """What was made, how well it is found, three searches, and what to try next."""
    from rich.text import Text

    from vtrcli.api import search
    from vtrcli.cli.search_output import print_table

    console = stdout()
    console.print()
    console.print(
        Text(count(report.num_videos, "clip"), style="bold"),
        f"drawn in {clock(report.corpus_seconds)}, "
        f"{count(report.extraction.num_frames, 'frame')} encoded in {clock(report.extraction.seconds)}, "
        f"{count(report.training.epochs, 'epoch')} trained in {clock(report.training.seconds)}",
        soft_wrap=True,
    )
    console.print(f"The {report.num_test} test clips, found by their captions (per cent):")
    console.print()
    print_findings(report)
    console.print()
    console.print(
        "Half of the clips come in pairs with the same frames in opposite orders. A mean cannot tell them apart."
    )
    console.print()
    console.print(Text("$", style="dim"), f"cd {shlex.quote(str(report.folder))}")
    for query in report.queries:
        console.print(Text("$", style="dim"), f'vtr search "{query}" -k {SHOWN_HITS}', soft_wrap=True)
        answer = search(
            query, report.folder / "store", run=report.training.run, top_k=SHOWN_HITS, device="cpu"
        )
        print_table(answer.hits, start=report.folder)
        console.print()
    vtr = program(report.folder)
    console.print("Now try:")
    for line in (
        f"cd {shlex.quote(str(report.folder))}",
        f'{vtr} search "{report.queries[-1]}"',
        f"{vtr} eval --dsl",
        f"{vtr} serve",
        f"{vtr} --help",
    ):
        console.print("  ", Text(printable(line), style="bold"), soft_wrap=True, sep="")


def program(folder: Path) -> str:
    """What calls this vtr from `folder`: its name where the shell finds it, else its path (`make demo`)."""
    name = Path(sys.argv[0])
    if name.name == "__main__.py":
        return f"{shlex.quote(sys.executable)} -m vtrcli"
    on_path = shutil.which("vtr")
    if not name.is_file() or (on_path is not None and Path(on_path).samefile(name)):
        return "vtr"
    return shlex.quote(
        name.as_posix() if name.is_absolute() else Path(os.path.relpath(name, folder)).as_posix()
    )


def print_findings(report: DemoReport) -> None:
    """One row per model, and chance."""
    headings = ("R@1", "R@5", "R@10", "median rank", "order of frames")
    rows = []
    for row in report.findings:
        recalls = [f"{row.t2v.recall[k]:.1f}" for k in (1, 5, 10)]
        rows.append((row.model, *recalls, f"{row.t2v.median_rank:g}", f"{row.order_accuracy:.0f}"))
    chance = [f"{min(100.0, 100 * k / report.num_test):.1f}" for k in (1, 5, 10)]
    rows.append(("chance", *chance, f"{(report.num_test + 1) / 2:g}", "50"))
    print_columns([Column(""), *(Column(heading, is_right=True) for heading in headings)], rows)
