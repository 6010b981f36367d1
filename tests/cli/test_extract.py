"""What `vtr extract` takes as its videos."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from tests.cli.runner import run
from vtrcli.cli.extract import input_paths


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (b"a.mp4\r\nb c.mp4\r\n", ["a.mp4", "b c.mp4"]),
        (b"a.mp4\n\nb\r.mp4", ["a.mp4", "b\r.mp4"]),
        (b"a\r\0b\n.mp4\0", ["a\r", "b\n.mp4"]),
    ],
)
def test_a_list_on_stdin_has_lines_of_either_system_or_zero_bytes(
    text: bytes, names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
    assert input_paths([Path("-")]) == ([Path(name) for name in names], True)


@pytest.mark.parametrize("seconds", ["0", "inf", "1e9"])
def test_a_timeout_has_bounds(seconds: str) -> None:
    assert run("extract", "x", "--timeout", seconds).exit_code == 2
