"""`vtr config`: each effective value and where it came from."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

import typer

from vtrcli.cli import options
from vtrcli.cli.output import Column, print_columns, print_json, short_path
from vtrcli.cli.settings import WRITES_SETTINGS, environment_name, find_settings, load_settings
from vtrcli.model.families import DEFAULT_BACKBONE

NAME = "config"
EPILOG = "Example: [bold]VTR_STORE=films.store vtr config[/bold]"
WRONG = " (not a value that this option can have)"


def command(ctx: typer.Context, json_output: bool = options.JSON) -> None:
    """Show every option that is set, by the environment or vtr.toml, and the defaults that matter."""
    settings = find_settings(Path.cwd())
    rows = effective_values(ctx, settings)
    if json_output:
        print_json(NAME, {"settings": str(settings) if settings else None, "values": rows})
        return
    columns = [
        Column("option", style="bold"),
        Column("value", folds=True),
        Column("from", style="dim", folds=True),
        Column("only for", folds=True),
    ]
    # Which commands a value is for matters only where another one holds for the others.
    values = Counter(row["option"] for row in rows)
    only_for = [row["commands"] if values[row["option"]] > 1 else "" for row in rows]
    cells = [
        (row["option"], str(row["value"]), row["source"], commands)
        for row, commands in zip(rows, only_for, strict=True)
    ]
    num_columns = len(columns) if any(only_for) else len(columns) - 1
    print_columns(columns[:num_columns], [row[:num_columns] for row in cells])


def effective_values(ctx: typer.Context, settings: Path | None) -> list[dict[str, Any]]:
    """One row per option and value: options that are set, and `store` and `backbone` in any case."""
    root = ctx.find_root()
    commands = root.command.commands  # type: ignore[attr-defined]
    merged: dict[tuple[str, str, str], list[str]] = {}
    for path, command in _leaf_commands(root):
        defaults: Any = load_settings(settings, commands, path[0]) if settings else {}
        for part in path[1:]:
            defaults = defaults.get(part, {})
        context = command.make_context(
            " ".join(path), [], parent=root, resilient_parsing=True, default_map=defaults
        )
        for name in sorted(command.option_names):
            source = context.get_parameter_source(name)
            value = context.params.get(name)
            label = source.name if source else "DEFAULT"
            if label == "DEFAULT":
                if name not in ("store", "backbone"):
                    continue
                value, where = _default(name, value), "default"
            elif label == "ENVIRONMENT":
                where = environment_name(name)
                value = os.environ[where] + WRONG if value is None else value
            else:
                value = _text(defaults[name]) + WRONG if value is None else value
                where = short_path(str(settings)) if settings else "vtr.toml"
            merged.setdefault((name, _text(value), where), []).append(" ".join(path))
    return [
        {"option": name, "value": value, "source": where, "commands": ", ".join(commands)}
        for (name, value, where), commands in sorted(merged.items())
    ]


def _leaf_commands(root: Any) -> list[tuple[tuple[str, ...], Any]]:
    """Every command with its path, groups opened, except the two that write or show settings."""
    leaves: list[tuple[tuple[str, ...], Any]] = []
    for name, command in root.command.commands.items():
        children = getattr(command, "commands", None)
        if children is not None:
            leaves += [((name, child), children[child]) for child in children]
        elif name not in (WRITES_SETTINGS, NAME):
            leaves.append(((name,), command))
    return leaves


def _default(name: str, value: Any) -> Any:
    if value:  # no list, or an empty one
        return value
    return options.user_store() if name == "store" else DEFAULT_BACKBONE


def _text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
