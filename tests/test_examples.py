"""Every example runs as it stands, on the folder that a small demo leaves."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
PROGRAMS = sorted([*EXAMPLES.glob("*.sh"), *EXAMPLES.glob("*.py")])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds `demo/`."""
    folder = tmp_path_factory.mktemp("examples")
    command = [sys.executable, "-m", "vtrcli", "demo", "--num-videos", "24", "--epochs", "1", "--quiet"]
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("example", PROGRAMS, ids=lambda path: path.name)
def test_every_example_runs_as_it_stands(folder: Path, example: Path) -> None:
    command = ["bash", str(example)] if example.suffix == ".sh" else [sys.executable, str(example)]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_the_page_names_every_example() -> None:
    page = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert [path.name for path in PROGRAMS if f"`{path.name}`" not in page] == []
