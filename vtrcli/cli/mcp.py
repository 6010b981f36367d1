"""`vtr mcp`: the tools of a store for programs with a language model, on stdin and stdout."""

from __future__ import annotations

from pathlib import Path

from vtrcli.cli import options
from vtrcli.cli.options import opt
from vtrcli.cli.output import say
from vtrcli.cli.runs import run_chooser

NAME = "mcp"
EPILOG = "Example: [bold]vtr mcp --store films.store[/bold], as the command of a client (docs/serve.md)"


def command(
    store: list[Path] = opt(
        "--store DIR",
        "Feature store, or a folder that holds some; may be repeated.",
        shown="the user's data folder",
        callback=options.stores_or_default,
    ),
    run: str | None = options.SERVED_RUN,
    allow_cut: Path | None = opt(
        "--allow-cut DIR", "Let clips be cut into this folder.", shown="nothing is written"
    ),
    device: str = options.DEVICE,
    quiet: bool = options.QUIET,
) -> None:
    """Let a program with a language model search and look, by the Model Context Protocol on stdin and stdout.

    It is started by that program, not by hand.
    """
    options.require_serve(NAME)
    from vtrcli.serve.process import settle

    settle()  # before NumPy is loaded
    options.require_cut_folder(allow_cut)
    from vtrcli.serve.door import open_door
    from vtrcli.serve.library import Library
    from vtrcli.serve.mcp import make_server

    library = Library(store, choose_run=run_chooser(run, quiet=quiet), device=device)
    library.watch()
    say(f"MCP on stdin and stdout for {', '.join(library.names)}; the end of stdin ends it", quiet=quiet)
    with open_door(library):
        make_server(library, clips=allow_cut).run("stdio")
