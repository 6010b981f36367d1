"""docs/commands.md is made from the help texts and must not go stale."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from rich.markup import render
from typer.main import get_command
from typer.testing import CliRunner

from vtrcli.cli.app import app
from vtrcli.cli.options import opt
from vtrcli.cli.reference import reference


def test_the_command_reference_is_up_to_date() -> None:
    page = Path(__file__).parents[2] / "docs" / "commands.md"
    assert page.read_text(encoding="utf-8") == reference(), "run `make docs`"


def test_brackets_in_a_help_text_are_no_markup() -> None:
    def command(x: str = opt("--x", "Vectors [texts, dim].")) -> None:
        """A command."""

    one = typer.Typer(rich_markup_mode="rich")
    one.command()(command)
    assert "Vectors [texts, dim]." in CliRunner().invoke(one, ["--help"]).stdout


def test_the_lines_of_a_docstring_are_no_lines_of_the_help() -> None:
    group = get_command(app).commands["store"]  # type: ignore[attr-defined]
    for name, command in group.commands.items():
        assert all("\n" not in text for text in command.help.split("\n\n")), name


def test_no_word_of_a_help_text_is_taken_for_markup() -> None:
    """What stands in [brackets] is not shown by --help."""

    def texts(command: Any) -> Iterator[str]:
        yield command.help or ""
        yield from (parameter.help or "" for parameter in command.params if hasattr(parameter, "help"))
        for below in getattr(command, "commands", {}).values():
            yield from texts(below)

    found = [text for text in texts(get_command(app)) if render(text).plain != text]
    assert not found, "write it without brackets"
