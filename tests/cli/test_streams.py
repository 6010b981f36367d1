"""A pipe that is closed, a stdout that is full or not there: one end for all commands, and no traceback."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

VTR = f"{shlex.quote(sys.executable)} -m vtrcli"
COMMANDS = [
    "--help",
    "store info --store {store}",
    "store verify --json --store {store}",
    "models list",
    "config",
]
pytestmark = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from dataclasses import replace

    from tests.store.stores import make_config
    from vtrcli.store.config import create_config

    path = tmp_path_factory.mktemp("streams") / "films.store"
    sampling = {"mode": "uniform", "num_frames": 2, "max_frames": None}
    create_config(path, replace(make_config(), sampling=sampling))
    return path


def bash(line: str, **environment: str) -> tuple[str, str]:
    done = subprocess.run(
        ["bash", "-c", line], capture_output=True, text=True, env={**os.environ, **environment}, check=False
    )
    return done.stdout, done.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_who_closes_the_pipe_has_read_enough(command: str, store: Path) -> None:
    line = f"{VTR} {command.format(store=store)} | true; echo ${{PIPESTATUS[0]}}"
    assert bash(line) == ("0\n", "")


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("command", COMMANDS[1:3])
def test_a_full_stdout_is_one_clear_error(command: str, store: Path, unbuffered: str) -> None:
    out, err = bash(f"{VTR} {command.format(store=store)} > /dev/full; echo $?", PYTHONUNBUFFERED=unbuffered)
    assert (out, err) == (
        "3\n",
        "vtr: stdout cannot be written: No space left on device; a disk with room for the results; "
        "free some space or write them elsewhere, then run the same command again\n",
    )


@pytest.mark.parametrize("closed", [pytest.param(">&-", marks=pytest.mark.slow), "<&- >&- 2>&-"])
def test_closed_streams_change_nothing(store: Path, closed: str) -> None:
    out, err = bash(f"{VTR} store info --store {store} {closed}; echo $?")
    assert out.splitlines()[-1] == "0" and err == ""
