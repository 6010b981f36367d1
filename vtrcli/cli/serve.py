"""`vtr serve`: a local page and a JSON API over one or more stores, kept warm in one process."""

from __future__ import annotations

import threading
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
    serve_token: str | None = opt(
        "--token",
        "What everyone who asks must have; better by VTR_SERVE_TOKEN, because all users see what stands in a command.",
        shown="none here, made at another --host",
    ),
    allow_host: list[str] | None = opt(
        "--allow-host NAME",
        "A name of this server, such as its proxy's; may be repeated.",
        shown="none",
    ),
    run: str | None = opt(
        "--run RUN",
        "Rank with a trained run, or none for plain CLIP.",
        shown="the newest beside vtr.toml",
    ),
    allow_cut: Path | None = opt(
        "--allow-cut DIR",
        "Let programs at /mcp cut clips into this folder; they need the token.",
        shown="nothing is written",
    ),
    device: str = options.DEVICE,
    quiet: bool = options.QUIET,
) -> None:
    """Serve a page to search in, and a JSON API, until Ctrl-C."""
    options.require_serve(NAME)
    from vtrcli.serve.access import access_at
    from vtrcli.serve.app import make_app
    from vtrcli.serve.door import open_door
    from vtrcli.serve.library import Library

    access = access_at(host, token=serve_token, allow_hosts=allow_host or ())
    options.require_cut_folder(allow_cut)
    if allow_cut is not None and access.token is None:
        raise UsageError(
            "--allow-cut without a token",
            allowed="programs that write need one",
            to_do="set VTR_SERVE_TOKEN, or use `vtr mcp --allow-cut`, which needs none",
        )
    library = Library(store, choose_run=lambda path: chosen_run(run, path, quiet=quiet), device=device)
    threading.Thread(target=library.warm, name="vtr-warm").start()
    with open_door(library):
        serve(
            make_app(library, access=access, clips=allow_cut),
            library,
            host,
            port,
            token=access.token,
            quiet=quiet,
        )


def serve(app: Any, library: Library, host: str, port: int, *, token: str | None, quiet: bool) -> None:
    """Answer until Ctrl-C or SIGTERM."""
    import uvicorn

    from vtrcli.serve.connections import allow_connections, server_config

    allow_connections()
    link = address(host, port) + ("" if token is None else f"?token={token}")
    say(f"serving {', '.join(library.names)} at {link}; Ctrl-C ends it", quiet=quiet and token is None)
    try:
        uvicorn.Server(server_config(app, host=host, port=port)).run()
    except KeyboardInterrupt:
        say("no longer serving", quiet=quiet)


def address(host: str, port: int) -> str:
    """What a browser opens."""
    import socket

    name = socket.gethostname() if host in ("0.0.0.0", "::") else host
    return f"http://[{name}]:{port}/" if ":" in name else f"http://{name}:{port}/"
