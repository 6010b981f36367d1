"""`vtr search`: rank videos by a sentence."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vtrcli.cli import options
from vtrcli.cli.output import home_relative, print_json, say, stdout, time_span
from vtrcli.cli.printable import printable

if TYPE_CHECKING:
    from vtrcli.searching.results import Hit

NAME = "search"
EPILOG = 'Example: [bold]vtr search "a man cooking" --store kitchen.store -k 5[/bold]'


def command(
    query: Annotated[str, typer.Argument(help="What the video shows, as a sentence.")],
    store: options.Store = None,
    top_k: Annotated[int, typer.Option("--top-k", "-k", min=1, help="How many videos to show.")] = 10,
    device: options.Device = options.DEVICE_DEFAULT,
    json_output: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Rank the videos of a store by a sentence, each with the moment that fits best."""
    from vtrcli.searching.run import search

    path = options.store_path(store)
    result = search(query, store=path, top_k=top_k, device=device)
    for note in result.notes:
        say(f"vtr: {note}", quiet=quiet)
    if json_output:
        body = {"query": result.query, "store": str(path), "num_videos": result.num_videos}
        print_json(NAME, {**body, "results": [hit_json(hit) for hit in result.hits]})
    else:
        print_table(result.hits)


def hit_json(hit: Hit) -> dict[str, Any]:
    """The keys of one result, the same in `--json` and on the page."""
    return {
        "rank": hit.rank,
        "video_id": hit.video_id,
        "path": hit.path,
        "score": round(hit.score, 4),
        "start_seconds": round(hit.moment.start_seconds, 3),
        "end_seconds": round(hit.moment.end_seconds, 3),
        "peak_seconds": round(hit.moment.peak_seconds, 3),
        "missing": hit.is_missing,
    }


def print_table(hits: Sequence[Hit]) -> None:
    """Rank, score, time span and path, one line each; the path is a link where the terminal has links."""
    from rich.style import Style
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    for justify in ("right", "right", "left", "left"):
        table.add_column(justify=justify, no_wrap=True)  # type: ignore[arg-type]
    for hit in hits:
        path = Path(hit.path)
        style = Style(dim=True) if hit.is_missing else Style(link=path.as_uri())
        name = printable(_short(path)) + (" (missing)" if hit.is_missing else "")
        span = time_span(hit.moment.start_seconds, hit.moment.end_seconds)
        table.add_row(str(hit.rank), f"{hit.score:.2f}", span, Text(name, style=style))
    stdout().print(table)


def _short(path: Path) -> str:
    """Relative to the working folder where the file lies below it."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return home_relative(path)
