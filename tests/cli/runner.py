"""Running a command inside the test process, stdout and stderr apart."""

from __future__ import annotations

import json
from typing import Any

from typer.testing import CliRunner, Result

from vtrcli.cli.app import app


def run(*arguments: str, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(app, list(arguments), input=stdin)


def run_json(*arguments: str, exit_code: int = 0) -> dict[str, Any]:
    result = run(*arguments, "--json")
    assert result.exit_code == exit_code, result.output
    body: dict[str, Any] = json.loads(result.stdout)
    return body
