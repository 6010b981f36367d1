"""`vtr init`: write a `vtr.toml`, so that the bare commands work in this folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from vtrcli.cli import completion, options
from vtrcli.cli.output import print_json, say
from vtrcli.cli.settings import SETTINGS_NAME
from vtrcli.errors import InputError, UsageError
from vtrcli.files import write_whole

NAME = "init"
EPILOG = "Example: [bold]vtr init --videos ~/Videos --backbone ViT-B/16[/bold]"


def command(
    videos: Annotated[str | None, typer.Option("--videos", help="Folder that `vtr extract` reads.")] = None,
    store: Annotated[str, typer.Option("--store", help="Feature store, relative to vtr.toml.")] = "store",
    backbone: Annotated[
        str, typer.Option("--backbone", autocompletion=completion.backbones, help=options.BACKBONE_HELP)
    ] = options.BACKBONE_DEFAULT,
    dataset: Annotated[
        str | None,
        typer.Option(
            "--dataset", autocompletion=completion.datasets, help="Data set to train and evaluate on."
        ),
    ] = None,
    annotations: Annotated[str | None, typer.Option("--annotations", help="Folder of its files.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a vtr.toml that is there.")] = False,
    json_output: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Write vtr.toml into this folder; every command run here or below reads it."""
    path = Path.cwd() / SETTINGS_NAME
    if path.exists() and not force:
        raise UsageError(
            f"{path} is there already",
            allowed="one vtr.toml per folder",
            to_do="edit it, or replace it with --force",
        )
    values = {
        "videos": videos,
        "store": store,
        "backbone": backbone,
        "dataset": dataset,
        "annotations": annotations,
    }
    write_whole(path, settings_text(values).encode(), error=InputError)
    if json_output:
        print_json(NAME, {"path": str(path)})
    else:
        say(f"wrote {path}; `vtr config` shows what holds here", quiet=quiet)


def settings_text(values: dict[str, str | None]) -> str:
    """The file: what was given, and the other keys as comments. JSON strings are TOML strings."""
    lines = ["# Settings of vtr for this folder and those below it. Paths are relative to this file.", ""]
    for key, value in values.items():
        lines.append(
            f"# {key} = " + '"…"' if value is None else f"{key} = {json.dumps(value, ensure_ascii=False)}"
        )
    lines += ["", "# A table per command holds options for it alone:", "# [extract]", "# frames = 12", ""]
    return "\n".join(lines)
