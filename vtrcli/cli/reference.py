"""Prints the command reference (docs/commands.md) from the help texts: `python -m vtrcli.cli.reference`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import typer

from vtrcli.cli.app import app

HEAD = """# Commands

Made from the help texts by `make docs`; a test compares them. Every option can also come from the environment
(`VTR_STORE` for `--store`) or from `vtr.toml`; the order is flag, environment, `vtr.toml`, default.

| exit code | meaning |
|---|---|
| 0 | done |
| 1 | a bug in vtr |
| 2 | wrong usage |
| 3 | an input is missing, cannot be read, or does not hold what it must |
| 4 | store, run or weights: missing, damaged, of a newer format, or of another model |
| 5 | finished, but some videos failed that had not failed before, or again with --retry-failed |
| 130 | interrupted; what was finished is kept |
"""


def reference() -> str:
    """The whole page as Markdown."""
    root = typer.main.get_command(app)
    return (
        "\n".join([HEAD, *(text for path, command in commands(root) for text in section(path, command))])
        + "\n"
    )


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command that is shown, with its path, groups opened."""
    shown = {name: command for name, command in group.commands.items() if not command.hidden}
    for name, command in shown.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


def section(path: tuple[str, ...], command: Any) -> Iterator[str]:
    """Heading, usage, description, options and example of one command."""
    arguments = [parameter for parameter in command.params if parameter.param_type_name == "argument"]
    options = [parameter for parameter in command.params if parameter.param_type_name == "option"]
    usage = " ".join(["vtr", *path, *(_argument(argument) for argument in arguments), "[OPTIONS]"])
    yield f"## vtr {' '.join(path)}\n\n    {usage}\n\n{command.help}\n"
    yield "| option | | default |\n|---|---|---|"
    for argument in arguments:
        yield f"| `{argument.metavar or (argument.name or '').upper()}` | {_cell(argument.help)} | |"
    for option in options:
        if option.name != "help":
            flags = ", ".join(f"`{flag}`" for flag in option.opts)
            yield f"| {flags} | {_cell(option.help)} | {_default(option)} |"
    yield "\n" + re.sub(r"\[/?bold\]", "`", command.epilog or "") + "\n"


def _argument(argument: Any) -> str:
    name = argument.metavar or argument.name.upper()
    name = name if argument.required else f"[{name}]"
    return f"{name}..." if argument.nargs == -1 else name


def _default(option: Any) -> str:
    if isinstance(option.show_default, str):
        return _cell(option.show_default)
    return "" if option.default in (None, False) else f"`{option.default}`"


def _cell(text: str | None) -> str:
    return (text or "").replace("\\[", "[").replace("|", "\\|")


if __name__ == "__main__":
    typer.echo(reference(), nl=False)
