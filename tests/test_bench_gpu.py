"""benchmarks/gpu.py runs as a whole where no GPU is, so that it runs where one is."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]


def bench(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "benchmarks" / "gpu.py"), *options]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.slow
def test_every_step_runs_and_keeps_its_rows(tmp_path: Path) -> None:
    results = tmp_path / "gpu.json"
    done = bench("--device", "cpu", "--tiny", "--results", str(results), "--work", str(tmp_path / "work"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "these figures mean nothing" in done.stdout
    steps = json.loads(results.read_text())["steps"]
    assert list(steps) == ["encode", "extract", "finetune", "cached", "scan"]
    for name, step in steps.items():
        assert step["problem"] is None and step["machine"]["tiny"], name
        assert all(row["rate"] is None or row["rate"] > 0 for row in step["rows"]), name
        assert all(row["what"] in done.stdout for row in step["rows"])
    shares = [row for step in steps.values() for row in step["rows"] if row["share"] is not None]
    assert {"the product", "the copy's rate"} == {row["of"] for row in shares}


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_without_a_device_it_says_so_and_fails() -> None:
    done = bench()
    assert done.returncode == 1
    assert done.stdout == (
        "no device 'cuda' here: nothing was measured (--device cpu --tiny shows whether it runs)\n"
    )


@pytest.mark.slow
def test_a_step_that_fails_costs_itself_alone(tmp_path: Path) -> None:
    """Its work folder cannot be used: a file lies where clips go."""
    (tmp_path / "clips").write_text("")
    results = tmp_path / "gpu.json"
    done = bench(
        "--device", "cpu", "--tiny", "--results", str(results), "--work", str(tmp_path), "--only", "extract,scan"
    )  # fmt: skip
    steps = json.loads(results.read_text())["steps"]
    assert done.returncode == 1 and "the rest goes on" in done.stdout
    assert "FileExistsError" in steps["extract"]["problem"] and steps["extract"]["rows"]
    assert steps["scan"]["problem"] is None
