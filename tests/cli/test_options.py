"""Tab completes what the commands would take, from the same tables."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import typer

from vtrcli.cli.app import app
from vtrcli.datasets.registry import DATASETS
from vtrcli.model.train_settings import RECIPES
from vtrcli.ranking.methods import METHODS


def proposed(*words: str, incomplete: str = "") -> list[str]:
    context = typer.main.get_command(app).make_context("vtr", list(words[:1]), resilient_parsing=True)
    command = context.command
    for word in words[:-1]:
        command = command.commands[word]  # type: ignore[attr-defined]
    name = words[-1].lstrip("-").replace("-", "_")
    parameter = next(each for each in command.params if each.name == name)
    inner = command.make_context(words[0], [], parent=context, resilient_parsing=True)
    return [item.value for item in parameter.shell_complete(inner, incomplete)]


@pytest.mark.parametrize("command", ["extract", "train", "cache", "init"])
def test_backbones(command: str) -> None:
    assert {"ViT-B/32", "demo"} <= set(proposed(command, "--backbone"))
    assert proposed(command, "--backbone", incomplete="ViT-L/14@") == ["ViT-L/14@336px"]


def test_names_come_from_the_tables_that_the_commands_use() -> None:
    assert proposed("train", "--dataset") == proposed("datasets", "check", "dataset") == list(DATASETS)
    assert proposed("train", "--recipe") == list(RECIPES)
    assert proposed("eval", "--method") == proposed("compare", "--method-b") == list(METHODS)
    assert proposed("search", "--method") == ["dsl", "inverted-softmax", "nnn", "csls"]
    assert proposed("search", "--method", incomplete="in") == ["inverted-softmax"]


def test_runs_are_those_beside_the_settings_the_newest_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert proposed("search", "--run") == ["none"]
    for name in ("first", "second"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "config.json").touch()
    (tmp_path / "runs" / "empty").mkdir()
    assert set(proposed("eval", "--run")) == {"none", "runs/first", "runs/second"}
    assert proposed("search", "--run", incomplete="runs/f") == ["runs/first"]


def test_the_shell_asks_and_no_torch_is_loaded(tmp_path: Path) -> None:
    code = (
        "import sys\nsys.argv = ['vtr']\nfrom vtrcli.__main__ import main\n"
        "try:\n    main()\nfinally:\n    print('torch' in sys.modules, file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={
            "_VTR_COMPLETE": "complete_bash",
            "COMP_WORDS": "vtr search --method ",
            "COMP_CWORD": "3",
            "HOME": str(tmp_path),
            "PATH": "",
        },
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert (done.stdout.split(), done.stderr.split()[-1:]) == (
        ["dsl", "inverted-softmax", "nnn", "csls"],
        ["False"],
    )


def test_tab_lists_commands_with_their_lines_and_imports_none(tmp_path: Path) -> None:
    code = (
        "import sys\nsys.argv = ['vtr']\nfrom vtrcli.__main__ import main\n"
        "try:\n    main()\nfinally:\n    print('vtrcli.cli.search' in sys.modules, file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"_VTR_COMPLETE": "complete_zsh", "_TYPER_COMPLETE_ARGS": "vtr se", "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.stdout.split("((")[1].splitlines()[:2] == [
        '"search":"Rank the videos of a store by what they..."',
        '"serve":"Serve a page to search in, and a JSON API,..."))\'',
    ]
    assert done.stderr.split()[-1:] == ["False"]
