"""The error boundary, --version and every --help."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from typing import Any

import pytest
import typer

from tests.cli.runner import run, run_on_terminal
from vtrcli import __version__
from vtrcli.cli.app import LINES, OLD_NAMES, app, comes_of_interrupt
from vtrcli.cli.config import _leaf_commands
from vtrcli.errors import InputError, StoreError, UsageError, VideoError, WeightsError

TRY_EXTRACT = "see `vtr extract --help`"
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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("search x --no-such-flag", "no such option: --no-such-flag; see `vtr search --help`"),
        ("--no-such-flag", "no such option: --no-such-flag; see `vtr --help`"),
        ("extract --frames 0", "--frames has a value that it cannot have; greater than or equal to 1; " + TRY_EXTRACT),
        ("search x --top-k", "option '--top-k' requires an argument; see `vtr search --help`"),
        ("sarch x", "no such command 'sarch'; did you mean 'search', 'cache'?; see `vtr --help`"),
        ("verify", "no such command 'verify'; it belongs to another; did you mean `vtr store verify`?"),
        ("datasets check", "missing argument 'NAME'; see `vtr datasets check --help`"),
    ],
)  # fmt: skip
def test_wrong_usage_is_one_line_that_says_where_to_look(arguments: str, message: str) -> None:
    result = run(*arguments.split())
    assert (result.exit_code, result.stderr) == (2, f"vtr: {message}\n")


def test_a_device_that_no_machine_has_is_refused_before_there_is_anything_to_compute() -> None:
    result = run("search", "x", "--device", "gpu")
    assert result.exit_code == 2
    assert result.stderr == (
        "vtr: --device has a value that it cannot have; auto, cpu, cuda, cuda:N or mps; see `vtr search --help`\n"
    )


def test_an_error_has_two_lines_on_a_terminal() -> None:
    code, shown = run_on_terminal("store", "info", "--store", "nowhere")
    assert code == 4
    assert shown == (
        "\x1b[31m\x1b[1merror:\x1b[0m no feature store at nowhere\n"
        "\x1b[36m\x1b[1mhint: \x1b[0m a store is a folder with a store.json; "
        "make it with `vtr extract FOLDER --store nowhere`\n"
    )
    code, shown = run_on_terminal("store", "info", "--store", "nowhere", NO_COLOR="1")
    assert shown.startswith("error: no feature store at nowhere\nhint:  a store is")


def test_help_is_a_command_too() -> None:
    assert run("help", "store", "info").stdout == run("store", "info", "--help").stdout
    assert run("help").stdout == run("--help").stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_h_is_help(command: str) -> None:
    assert run(*command.split(), "-h").stdout == run(*command.split(), "--help").stdout


def test_the_module_is_the_program() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "vtrcli", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"vtr {__version__}\n"


def test_a_lock_that_a_second_ctrl_c_broke_is_an_interrupt_and_a_bug_is_none() -> None:
    try:
        try:
            raise KeyboardInterrupt
        finally:
            raise RuntimeError("release unlocked lock")
    except RuntimeError as error:
        assert comes_of_interrupt(error)
    assert comes_of_interrupt(KeyboardInterrupt())
    assert not comes_of_interrupt(RuntimeError("release unlocked lock"))


def loaded_after(*words: str) -> list[str]:
    """The modules of commands that the program has imported when it ends."""
    code = (
        "import sys; from vtrcli.cli.app import LINES, main; sys.argv = ['vtr', *sys.argv[1:]]\n"
        "try:\n    main()\nfinally:\n    print([name for name in LINES if f'vtrcli.cli.{name}' in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    return list(ast.literal_eval(done.stdout.splitlines()[-1]))


def test_the_list_of_commands_shows_of_each_what_its_own_help_begins_with() -> None:
    commands: Any = typer.main.get_command(app)
    context = typer.Context(commands)
    assert commands.list_commands(context) == [*LINES, *OLD_NAMES]
    for name in commands.list_commands(context):
        listed, command = commands.get_command(context, name), commands.commands[name]
        assert listed.help == command.help.split("\n\n")[0], f"mend LINES[{name!r}] in vtrcli/cli/app.py"
        assert listed.hidden == command.hidden == (name in OLD_NAMES)
        assert listed.name == command.name == name
        assert not listed.deprecated and not command.deprecated
    assert commands.get_command(context, "nosuch") is None


@pytest.mark.parametrize(
    ("words", "imported"),
    [
        ("--help", []),
        ("--version", []),
        ("help bank", ["bank"]),
        ("search --help", ["search"]),
    ],
)
def test_the_module_of_a_command_is_imported_when_it_is_called(words: str, imported: list[str]) -> None:
    assert loaded_after(*words.split()) == imported


def test_an_old_name_works_and_is_not_shown() -> None:
    shown = re.findall(r"^│ ([a-z]+) ", run("--help").stdout, re.MULTILINE)
    assert shown == list(LINES)
    assert "Usage: vtr index push" in run("index", "push", "--help").stdout
