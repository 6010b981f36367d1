"""`vtr serve`: a local page and a JSON API over one or more stores, kept warm in one process."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from vtrcli.cli import options
from vtrcli.cli.options import opt
from vtrcli.cli.output import say
from vtrcli.cli.settings import chosen_run
from vtrcli.errors import UsageError

if TYPE_CHECKING:
    from vtrcli.serve.library import Library

NAME = "serve"
EPILOG = "Example: [bold]vtr serve --store films.store[/bold], then open the address that it prints"
HOST, PORT = "127.0.0.1", 8765


def command(
    store: list[Path] = opt(
        "--store DIR",
        "Feature store, or a folder that holds some; may be repeated: each store is a tab.",
        shown="the user's data folder",
        callback=options.stores_or_default,
    ),
    host: str = opt("--host", "Address to listen at.", default=HOST),
    port: int = opt("--port", "Port to listen at.", default=PORT, min=0, max=65535),
    run: str | None = opt(
        "--run RUN",
        "Rank with a trained run, or none for plain CLIP.",
        shown="the newest beside vtr.toml",
    ),
    device: str = options.DEVICE,
    quiet: bool = options.QUIET,
) -> None:
    """Serve a page to search in, and a JSON API, until Ctrl-C."""
    require_serve()
    from vtrcli.serve.app import make_app
    from vtrcli.serve.library import Library

    library = Library(store, choose_run=lambda path: chosen_run(run, path, quiet=quiet), device=device)
    serve(make_app(library), library, host, port, quiet=quiet)


def require_serve() -> None:
    """Raises UsageError where the packages of the extra are not installed."""
    try:
        import pydantic  # noqa: F401
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ModuleNotFoundError as cause:
        raise UsageError(
            f"vtr {NAME} needs {cause.name}, which is not installed",
            allowed="starlette, uvicorn and pydantic",
            to_do='pip install "vtrcli[serve]"',
        ) from cause


def serve(app: Any, library: Library, host: str, port: int, *, quiet: bool) -> None:
    """Answer until Ctrl-C or SIGTERM."""
    import uvicorn

    say(f"serving {', '.join(library.names)} at http://{host}:{port}/; Ctrl-C ends it", quiet=quiet)
    try:
        uvicorn.run(app, host=host, port=port, log_level="warning", access_log=False)
    except KeyboardInterrupt:
        say("no longer serving", quiet=quiet)
