"""`vtr serve`: a local page and a JSON API over one or more stores, kept warm in one process."""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
import webbrowser
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vtrcli.cli import options
from vtrcli.cli.options import opt
from vtrcli.cli.output import count, home_relative, model_name, say, short_path
from vtrcli.cli.runs import run_chooser
from vtrcli.errors import UsageError, VtrError

if TYPE_CHECKING:
    from vtrcli.serve.library import Library

NAME = "serve"
EPILOG = "Example: [bold]vtr serve --store films.store[/bold], then open the address that it prints"
HOST = "127.0.0.1"


def command(
    store: list[Path] = opt(
        "--store DIR",
        "Feature store, or a folder that holds some; may be repeated: each store is a tab.",
        shown="the user's data folder",
        callback=options.stores_or_default,
    ),
    host: str = opt("--host", "Address to listen at.", default=HOST),
    port: int | None = opt(
        "--port",
        "Port to listen at; 0 is any free one.",
        min=0,
        max=65535,
        shown="8765, or the next free one",
    ),
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
    run: str | None = options.SERVED_RUN,
    allow_cut: Path | None = opt(
        "--allow-cut DIR",
        "Let programs at /mcp cut clips into this folder; they need the token.",
        shown="nothing is written",
    ),
    thumbnails: int | None = opt(
        "--thumbnails MB",
        "How much of the pictures that were made is kept in the user's cache folder; 0 keeps none.",
        min=0,
        shown="256",
    ),
    max_conversions: int | None = opt(
        "--max-conversions N",
        "How many videos that browsers do not play are encoded at once.",
        min=1,
        shown="half the cores, at least 2",
    ),
    open_page: bool | None = opt(
        "--open/--no-open", "Open the page in your browser.", shown="where you sit at this machine's desktop"
    ),
    device: str = options.DEVICE,
    quiet: bool = options.QUIET,
) -> None:
    """Serve a page to search in, and a JSON API, until Ctrl-C."""
    options.require_serve(NAME)
    from vtrcli.serve.process import settle

    settle()  # before NumPy is loaded
    from vtrcli.serve.access import access_at
    from vtrcli.serve.app import make_app
    from vtrcli.serve.door import open_door
    from vtrcli.serve.library import Library
    from vtrcli.serve.listening import PORT, listen
    from vtrcli.serve.media import open_media

    access = access_at(host, token=serve_token, allow_hosts=allow_host or ())
    options.require_cut_folder(allow_cut)
    if allow_cut is not None and access.token is None:
        raise UsageError(
            "--allow-cut without a token",
            allowed="programs that write need one",
            to_do="set VTR_SERVE_TOKEN, or use `vtr mcp --allow-cut`, which needs none",
        )
    with listen(host, port) as listening:
        started = time.monotonic()
        library = Library(store, choose_run=run_chooser(run, quiet=quiet), device=device)
        library.warm()
        tell_stores(library, quiet=quiet)
        media = open_media(library, thumbnail_megabytes=thumbnails, max_streams=max_conversions)
        app = make_app(library, access=access, media=media, clips=allow_cut)
        number = listening.getsockname()[1]
        if port is None and number != PORT:
            say(f"port {PORT} is in use: {number} is taken instead", quiet=quiet)
        link = address(host, number) + ("" if access.token is None else f"?token={access.token}")
        library.watch()
        with open_door(library):
            ready = f"ready in {time.monotonic() - started:.1f} s"
            say(f"{ready}: {link} (Ctrl-C ends it)", quiet=quiet and access.token is None)
            serve(app, listening, link if wants_page(open_page) else None, quiet=quiet)


def tell_stores(library: Library, *, quiet: bool) -> None:
    """A line per tab.

    Raises:
        StoreError, WeightsError: why the first cannot be opened, where there is no store at all to serve, or to be
            filled while it is served.
    """
    from vtrcli.store.config import is_store

    is_any = any(map(is_store, library.paths.values()))
    for name, path in library.paths.items():
        try:
            catalog, run = library.store(name).catalog, library.store(name).searcher.run
        except VtrError as error:
            if not is_any:
                raise
            say(f"note: {name} cannot be searched: {error}", quiet=quiet)
            continue
        ranked = "plain CLIP" if run is None else f"run {short_path(str(run.run))}"
        backbone = model_name(catalog.config.backbone.name)
        say(
            f"{name}: {count(catalog.num_videos, 'video')} · {backbone} · {ranked} · {home_relative(path)}",
            quiet=quiet,
        )


def serve(app: Any, listening: socket.socket, link: str | None, *, quiet: bool) -> None:
    """Answer until Ctrl-C or SIGTERM; `link` is opened in the browser."""
    import uvicorn

    from vtrcli.serve.connections import allow_connections, server_config

    allow_connections()
    if link is not None:
        threading.Thread(target=webbrowser.open, args=(link,), daemon=True).start()
    with suppress(KeyboardInterrupt):
        uvicorn.Server(server_config(app)).run(sockets=[listening])
    say("no longer serving", quiet=quiet)


def wants_page(asked: bool | None) -> bool:
    """Whether to open the page: as asked, else where somebody sits at a desktop of this machine."""
    if asked is not None:
        return asked
    is_far = any(name in os.environ for name in ("SSH_CONNECTION", "SSH_TTY"))
    has_desktop = sys.platform in ("darwin", "win32") or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")
    )
    return sys.stderr.isatty() and has_desktop and not is_far


def address(host: str, port: int) -> str:
    """What a browser opens."""
    name = socket.gethostname() if host in ("0.0.0.0", "::") else host
    return f"http://[{name}]:{port}/" if ":" in name else f"http://{name}:{port}/"
