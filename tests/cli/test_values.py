"""Plain values of options are taken without pydantic, and are what Typer would have made of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from vtrcli.cli.app import app
from vtrcli.cli.values import QuickValue

GIVEN: dict[Any, list[Any]] = {
    str: ["", "a", "é\udc80", "1"],
    Path: ["", "a/b", "~/x", "."],
    int: ["3", "03", "0", "-1", "1_000", " 5", "1.5", "x", "٣", "99999999999999999999", 7, 2.5, True],
    list[str]: [("a", "b"), ["a"], (), "a", (1,)],
    list[Path]: [("a",), (), "a"],
    float: ["1", "x", 2],
}

CONTEXT = typer.Context(typer.main.get_command(app))


def parameters() -> list[tuple[str, Any]]:
    """One of each kind and bounds, of all commands."""
    found: dict[Any, tuple[str, Any]] = {}
    group: Any = typer.main.get_command(app)
    for name, command in group.commands.items():
        for parameter in command.get_params(typer.Context(command)):
            descriptor = getattr(parameter, "type_descriptor", None)
            if descriptor is not None and descriptor.annotation in GIVEN:
                info = descriptor.parameter_info
                key = (descriptor.annotation, info.min, info.max, parameter.multiple, parameter.nargs)
                found.setdefault(key, (f"{name} {parameter.name}", parameter))
    return list(found.values())


def outcome(runtime: Any, value: Any, parameter: Any) -> Any:
    try:
        made = runtime.coerce(value, param=parameter, ctx=CONTEXT)
    except Exception as error:
        return type(error), str(error)
    return type(made), made


@pytest.mark.parametrize(
    ("name", "parameter"), parameters(), ids=lambda part: part if isinstance(part, str) else ""
)
def test_a_value_is_what_typer_makes_of_it(name: str, parameter: Any) -> None:
    quick = parameter.get_runtime_param()
    assert isinstance(quick, QuickValue)
    for value in (None, parameter.default, *GIVEN[parameter.type_descriptor.annotation]):
        expected = outcome(quick._typers_way(), value, parameter)
        assert outcome(quick, value, parameter) == expected, (name, value)


def test_a_usual_search_is_read_without_pydantic() -> None:
    code = (
        "import sys; from vtrcli.cli.app import app; from typer.testing import CliRunner; "
        "CliRunner().invoke(app, ['search', 'a', 'b', '-k', '3', '--not', 'c', '--store', 'none', '--json']); "
        "print('pydantic' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
