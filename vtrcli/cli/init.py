"""`vtr init`: write a `vtr.toml`, so that the bare commands work in this folder."""

from __future__ import annotations

from pathlib import Path

from vtrcli.cli import options
from vtrcli.cli.options import flag, opt
from vtrcli.cli.output import print_json, say
from vtrcli.cli.settings import SETTINGS_NAME, settings_text
from vtrcli.errors import InputError, UsageError
from vtrcli.files import write_whole
from vtrcli.model.families import DEFAULT_BACKBONE

NAME = "init"
EPILOG = "Example: [bold]vtr init --videos ~/Videos --backbone ViT-B/16[/bold]"


def command(
    videos: str | None = opt("--videos", "Folder that `vtr extract` reads."),
    store: str = opt("--store", "Feature store, relative to vtr.toml.", default="store"),
    backbone: str = opt("--backbone", options.BACKBONE_HELP, default=DEFAULT_BACKBONE),
    dataset: str | None = opt("--dataset", "Data set to train and evaluate on."),
    annotations: str | None = opt("--annotations", "Folder of its files."),
    force: bool = flag("--force", "Replace a vtr.toml that is there."),
    json_output: bool = options.JSON,
    quiet: bool = options.QUIET,
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
