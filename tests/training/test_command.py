"""`vtr train --finetune` as a command: its JSON, and what cannot go together."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.runner import run, run_json
from tests.training.toy_frames import make_toy_frames


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = make_toy_frames(tmp_path_factory.mktemp("toy"))
    return [
        "--store",
        str(folder / "store"),
        "--dataset",
        "csv",
        "--annotations",
        str(folder),
        "--device",
        "cpu",
    ]


@pytest.mark.slow
def test_fine_tuning_with_every_option_and_its_json(toy: list[str], tmp_path: Path) -> None:
    options = "--finetune --epochs 1 --batch-size 6 --frames 3 --freeze-layers 1".split()
    options += ["--gradient-checkpointing", "--chunk-size", "4"]
    weights = str(Path(toy[1]).with_name("clip.safetensors"))
    rates = ["--backbone", weights, "--backbone-learning-rate", "1e-6"]
    body = run_json("train", *toy, *options, *rates, "--out", str(tmp_path / "run"))
    assert body["epochs"] == 1 and body["val"].keys() == {"t2v", "v2t"}
    again = run_json("train", *toy, "--out", str(tmp_path / "run"), "--resume")
    assert again["best_epoch"] == body["best_epoch"] and again["val"] == body["val"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            "--backbone demo",
            "--backbone without --finetune; training on cached features takes the store's backbone; add --finetune, or "
            "make a store of that backbone with `vtr cache --backbone … --out …`",
        ),
        (
            "--from-scratch",
            "--from-scratch is True; it must be used together with finetune; change --from-scratch",
        ),
        (
            "--finetune --from-scratch --freeze-layers 1",
            "--freeze-layers is 1; it must be 0 when training from scratch; change --freeze-layers",
        ),
        (
            "--finetune --resume",
            "--resume together with --finetune; a resumed run keeps the settings of its config.json; --epochs or "
            "--steps may make it longer; leave them out, or begin a new run with another --out",
        ),
        (
            "--resume --recipe demo --frames 3 --epochs 9",
            "--resume together with --frames, --recipe; a resumed run keeps the settings of its config.json; "
            "--epochs or --steps may make it longer; leave them out, or begin a new run with another --out",
        ),
        (
            "--steps 9 --epochs 9",
            "--steps together with --epochs; one length of a run; leave one of them out",
        ),
    ],
)
def test_options_that_cannot_go_together_are_usage(toy: list[str], options: str, message: str) -> None:
    result = run("train", *toy, *options.split())
    assert result.exit_code == 2
    assert result.stderr.strip() == f"vtr: {message}"


def test_a_run_resumes_beside_settings_for_new_runs_and_only_what_is_typed_makes_it_longer(
    toy: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("vtr.toml").write_text('[train]\nrecipe = "demo"\nepochs = 9\nbatch_size = 6\ngate = "text"\n')
    assert run_json("train", *toy, "--steps", "2", "--out", "run")["epochs"] == 1
    assert run_json("train", *toy, "--resume", "--out", "run")["epochs"] == 1
    monkeypatch.setenv("VTR_BATCH_SIZE", "4")
    assert run_json("train", *toy, "--resume", "--out", "run", "--epochs", "3")["epochs"] == 3
    settings = json.loads(Path("run/config.json").read_text())["settings"]
    assert (settings["epochs"], settings["batch_size"], settings["gate"]) == (3, 6, "text")


def test_a_backbone_in_the_environment_is_for_other_commands(
    toy: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VTR_BACKBONE", "demo")
    result = run("train", *toy, "--from-scratch", "--out", str(tmp_path / "run"))
    assert result.stderr.startswith("vtr: --from-scratch is True; ")


def test_several_processes_need_one_folder(toy: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    result = run("train", *toy)
    assert result.exit_code == 2
    assert (
        result.stderr
        == "vtr: several processes and no --out; one run folder for all of them; add --out RUN\n"
    )
