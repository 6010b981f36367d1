"""Measuring in children: what is measured, and what a failing child costs."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests.cli.runner import run
from vtrcli.cli.models import _print_speeds
from vtrcli.errors import UsageError, WeightsError
from vtrcli.model import bench
from vtrcli.model.bench import Speed, bench_models, best_trades, main
from vtrcli.model.clip.family import DEMO_WEIGHTS

SPEED = Speed(
    name="a",
    is_random=False,
    parameters=1,
    device="cpu",
    precision="float32",
    batch_size=16,
    num_batches=3,
    frames_per_second=10.0,
    slowest_batch=9.0,
    alone_frames_per_second=None,
    extract_mib=1.0,
    gpu_mib=None,
    query_precision="float32",
    query_ms=1.0,
    alone_query_ms=None,
    query_mib=1.0,
    new_process_seconds=1.0,
    published_r1=None,
)


def test_a_model_is_marked_when_no_other_is_both_faster_and_better() -> None:
    rows = {"slow best": (1.0, 50.0), "middle": (5.0, 40.0), "worse": (4.0, 30.0), "fast": (9.0, 31.0)}
    speeds = [
        replace(SPEED, name=name, frames_per_second=rate, published_r1=recall)
        for name, (rate, recall) in rows.items()
    ]
    unknown = replace(SPEED, name="unknown", frames_per_second=99.0)
    assert best_trades([*speeds, unknown]) == {"slow best", "middle", "fast"}
    assert best_trades([]) == set()


def test_a_busy_machine_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """By the processor's own time: what a model would do on a machine without other work."""
    busy = replace(SPEED, alone_frames_per_second=40.0, alone_query_ms=0.5)
    quiet = replace(SPEED, alone_frames_per_second=10.5, alone_query_ms=0.5)
    assert busy.was_disturbed and not quiet.was_disturbed and not SPEED.was_disturbed
    _print_speeds([busy])
    shown = capsys.readouterr().out
    assert "40.0" in shown and "This machine was busy with other work." in shown
    _print_speeds([quiet])
    assert "alone" not in capsys.readouterr().out.replace("text tower alone", "")


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("kill -9 $$", r"its process was killed \(signal 9\), most likely for want of memory; use a smaller"),
        ("sleep 20", r"it took more than 0.2 s; give it more --timeout"),
        ("echo odd >&2; exit 3", r"its process failed \(odd\)"),
        ("exit 3", r"its process failed \(exit code 3\)"),
    ],
)
def test_a_child_that_dies_costs_its_own_row(
    script: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interpreter = tmp_path / "python"
    interpreter.write_text(f"#!/bin/sh\n{script}\n")
    interpreter.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(interpreter))
    speeds, missing = bench_models(["demo"], timeout_seconds=0.2)
    assert speeds == []
    with pytest.raises(WeightsError, match=why):
        raise WeightsError(missing[0].why, allowed="", to_do="")
    assert missing[0].why.startswith("its weights could not be measured: ")


@pytest.mark.usefixtures("cache")
def test_what_all_of_a_family_lack_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra: which models were not measured, and what to install, once."""
    error = ["the package open_clip is not installed", "models in open_clip's layout need it", "run: it"]
    (tmp_path / "answer.json").write_text(json.dumps({"error": error, "kind": "WeightsError"}))
    interpreter = tmp_path / "python"
    interpreter.write_text(f"#!/bin/sh\ncat {tmp_path}/answer.json\n")
    interpreter.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(interpreter))
    result = run("models", "bench", "--quiet")
    assert result.exit_code == 4 and result.stdout == ""
    assert result.stderr == f"not measured: {', '.join(bench.SHORT_LIST)}: {'; '.join(error)}\n"


def test_more_frames_than_there_is_memory_for_are_told() -> None:
    task = {"do": "frames", "name": "demo", "device": "cpu", "precision": "auto", "seconds": 0}
    found = main({**task, "batch_size": 10**9})
    assert found["error"][0].startswith("there is not enough memory (Unable to allocate")
    assert found["error"][2] == "use a smaller --batch-size"


def test_a_child_measures_frames_and_queries() -> None:
    common = {"name": "demo", "device": "cpu", "seconds": 0.0}
    frames = main({"do": "frames", "precision": "float32", "batch_size": 2, **common})
    assert (frames["precision"], frames["batch_size"], frames["num_batches"]) == ("float32", 2, 3)
    assert frames["frames_per_second"] >= frames["slowest_batch"] > 0
    query = main({"do": "query", "began": 0.0, **common})
    assert query["query_precision"] == "float32" and query["query_ms"] > 0
    task = {"do": "prepare", "name": "demo", "folder": None, "device": "cpu", "precision": "float32"}
    assert main(task)["parameters"] == sum(tensor.numel() for tensor in load_file(DEMO_WEIGHTS).values())


def test_random_weights_need_a_known_architecture(tmp_path: Path) -> None:
    for name, why in (("hf-hub:timm/x", "vtr models pull hf-hub:timm/x"), ("demo", "vtr models list")):
        task = {"do": "prepare", "name": name, "device": "cpu", "precision": "auto"}
        told = main({**task, "folder": str(tmp_path / "new")})
        assert told["kind"] == UsageError.__name__ and why in told["error"][2]


@pytest.mark.slow
def test_the_table_and_what_could_not_be_measured() -> None:
    result = run("models", "bench", "demo", "no-such-model", "--device", "cpu", "--seconds", "0")
    assert result.exit_code == 4
    assert "demo" in result.stdout and "frames/s" in result.stdout and "random" not in result.stdout
    assert "not measured: no-such-model: there are no weights 'no-such-model'" in result.stderr
    found = run("models", "bench", "demo", "--device", "cpu", "--seconds", "0", "--json", "--batch-size", "3")
    assert found.exit_code == 0, found.output
    body = json.loads(found.stdout)
    row = body["models"][0]
    assert (body["command"], body["not_measured"]) == ("models bench", [])
    assert (row["name"], row["is_random"], row["batch_size"], row["device"]) == ("demo", False, 3, "cpu")
    # A child's peak is its own: torch with the tiny model, not what this process holds.
    assert 100 < row["extract_mib"] < 1000 and row["new_process_seconds"] > 0.5


@pytest.mark.slow
@pytest.mark.usefixtures("cache")
def test_what_is_not_here_is_measured_with_random_weights() -> None:
    speeds, missing = bench_models(["ViT-B/32"], device="cpu", batch_size=1, seconds=0.0)
    assert missing == [] and speeds[0].is_random
    assert (speeds[0].parameters, speeds[0].published_r1) == (151_277_313, 31.1)


def test_the_short_list_is_of_known_names() -> None:
    from vtrcli.model.models import list_models

    assert set(bench.SHORT_LIST) <= {entry.name for entry in list_models()}
