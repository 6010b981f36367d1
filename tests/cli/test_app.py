"""The error boundary, --version and every --help."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
import typer

from tests.cli.runner import run
from vtrcli import __version__
from vtrcli.cli.app import app
from vtrcli.cli.config import _leaf_commands
from vtrcli.errors import InputError, StoreError, UsageError, VideoError, WeightsError

COMMANDS = [
    "",
    *(" ".join(path) for path, _ in _leaf_commands(typer.Context(typer.main.get_command(app)))),
    "init",
    "config",
]


def test_version() -> None:
    result = run("--version")
    assert (result.exit_code, result.stdout) == (0, f"vtr {__version__}\n")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_says_what_it_does_and_ends_with_an_example(command: str) -> None:
    result = run(*command.split(), "--help")
    assert result.exit_code == 0
    text = re.sub(r"\s+", " ", result.stdout)
    assert f"Usage: vtr {command}".rstrip() in text
    assert re.search(r"Example: .*vtr ", text), text


@pytest.mark.parametrize(
    ("error", "exit_code"),
    [(UsageError, 2), (InputError, 3), (VideoError, 3), (StoreError, 4), (WeightsError, 4)],
)
def test_each_class_of_error_has_its_exit_code(error: type[Exception], exit_code: int) -> None:
    assert error.exit_code == exit_code  # type: ignore[attr-defined]


def test_an_error_is_one_line_on_stderr_and_nothing_on_stdout() -> None:
    result = run("store", "info", "--store", "no such store", "--json")
    assert result.exit_code == 4
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1


def test_a_wrong_flag_is_usage() -> None:
    assert run("search", "x", "--no-such-flag").exit_code == 2
    assert run("extract", "x", "--frames", "0").exit_code == 2


def test_the_module_is_the_program() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "vtrcli", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"vtr {__version__}\n"
