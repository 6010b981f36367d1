"""`vtr demo`: the whole way on an offline corpus."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vtrcli.cli import options
from vtrcli.cli.output import clock, count, print_json, say, stdout
from vtrcli.cli.progress import StepBar

if TYPE_CHECKING:
    from vtrcli.demo.run import DemoReport

NAME = "demo"
EPILOG = 'Example: [bold]vtr demo --out demo[/bold], then [bold]cd demo && vtr search "a red circle"[/bold]'
SHOWN_HITS = 3


def command(
    out: Annotated[Path, typer.Option("--out", help="Folder for the corpus, the store and vtr.toml.")] = Path(
        "demo"
    ),
    num_videos: Annotated[int, typer.Option("--num-videos", min=6, help="Clips to make.")] = 400,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Clips made and decoded at a time.")] = 2,
    json_output: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Make a corpus of short videos, extract it, search it, and print how well that went. Needs no network."""
    from vtrcli.demo.run import run_demo

    with StepBar(unit="videos", quiet=quiet or json_output) as bar:

        def begin(text: str) -> None:
            bar.finish()
            say(text, quiet=quiet or json_output)

        report = run_demo(
            out, num_videos=num_videos, num_workers=workers, on_step=begin, on_progress=bar.update
        )
    write_settings(out)
    if json_output:
        print_json(NAME, report_json(report))
    else:
        print_report(report)


def write_settings(folder: Path) -> None:
    """A `vtr.toml` in which the bare commands work."""
    from vtrcli.cli.init import settings_text
    from vtrcli.cli.settings import SETTINGS_NAME

    values: dict[str, str | None] = {"videos": "videos", "store": "store", "backbone": "demo"}
    (folder / SETTINGS_NAME).write_text(
        settings_text({**values, "dataset": "csv", "annotations": "."}), encoding="utf-8"
    )


def report_json(report: DemoReport) -> dict[str, object]:
    """The keys of `vtr demo --json`."""
    return {
        "folder": str(report.folder),
        "num_videos": report.num_videos,
        "num_test": report.num_test,
        "num_failed": report.extraction.num_failed,
        "corpus_seconds": round(report.corpus_seconds, 3),
        "extract_seconds": round(report.extraction.seconds, 3),
        "zero_shot": [
            {
                "pooling": row.pooling,
                **{f"R@{k}": round(value, 2) for k, value in row.recall.items()},
                "MdR": row.median_rank,
                "order_accuracy": round(row.order_accuracy, 2),
            }
            for row in report.zero_shot
        ],
    }


def print_report(report: DemoReport) -> None:
    """What was made, how well it is found, three searches, and what to try next."""
    from rich.table import Table

    from vtrcli.cli.search import print_table
    from vtrcli.searching import search

    console = stdout()
    frames = count(report.extraction.num_frames, "frame")
    console.print(
        f"\n[bold]{report.num_videos} clips[/bold] drawn in {clock(report.corpus_seconds)}, "
        f"{frames} encoded in {clock(report.extraction.seconds)}",
        soft_wrap=True,
    )
    console.print(f"Zero-shot text-to-video on the {report.num_test} test clips, per cent:\n")
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("frames pooled by")
    for heading in (*(f"R@{k}" for k in report.zero_shot[0].recall), "median rank", "order of frames"):
        table.add_column(heading, justify="right")
    for row in report.zero_shot:
        recalls = [f"{value:.1f}" for value in row.recall.values()]
        table.add_row(row.pooling, *recalls, f"{row.median_rank:g}", f"{row.order_accuracy:.0f}")
    recall_at_1 = 100 / report.num_test
    table.add_row(
        "[dim]chance[/dim]",
        *(f"[dim]{recall_at_1 * k:.1f}[/dim]" for k in report.zero_shot[0].recall),
        f"[dim]{(report.num_test + 1) / 2:g}[/dim]",
        "[dim]50[/dim]",
    )
    console.print(table)
    console.print(
        "\nHalf of the clips come in pairs with the same frames in opposite orders: pooling cannot tell them apart.\n"
    )
    for query in report.queries:
        console.print(f'[dim]$[/dim] vtr search "{query}" -k {SHOWN_HITS}')
        print_table(search(query, store=report.folder / "store", top_k=SHOWN_HITS, device="cpu").hits)
        console.print()
    console.print(
        f'Now try: [bold]cd {report.folder} && vtr search "{report.queries[0]}"[/bold]', soft_wrap=True
    )
