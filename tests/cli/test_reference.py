"""docs/commands.md is made from the help texts and must not go stale."""

from __future__ import annotations

from pathlib import Path

from vtrcli.cli.reference import reference


def test_the_command_reference_is_up_to_date() -> None:
    page = Path(__file__).parents[2] / "docs" / "commands.md"
    assert page.read_text(encoding="utf-8") == reference(), "run `make docs`"
