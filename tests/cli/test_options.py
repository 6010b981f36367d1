"""Tab completes what the commands would take, from the same tables; sizes, lengths and dates are read as written."""

from __future__ import annotations

import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest
import typer

from vtrcli.cli.app import app
from vtrcli.cli.options import to_bytes, to_seconds, to_timestamp
from vtrcli.datasets.registry import DATASETS
from vtrcli.errors import UsageError
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


def test_nothing_is_no_bound() -> None:
    assert (
        to_bytes(None, option="-") is to_seconds(None, option="-") is to_timestamp(None, option="-") is None
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [("500", 500), ("20MB", 20_000_000), ("1.5g", 1_500_000_000), ("3 kB", 3000), ("7B", 7)],
)
def test_sizes(text: str, expected: int) -> None:
    assert to_bytes(text, option="--min-size") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2019", datetime(2019, 1, 1)),
        ("2019-06", datetime(2019, 6, 1)),
        ("2019-06-30", datetime(2019, 6, 30)),
        ("2019-06-30T12:05", datetime(2019, 6, 30, 12, 5)),
    ],
)
def test_dates_are_the_beginning_of_what_they_name(text: str, expected: datetime) -> None:
    assert to_timestamp(text, option="--after") == expected.timestamp()


def test_what_cannot_be_read_is_told_with_an_example() -> None:
    with pytest.raises(UsageError) as caught:
        to_bytes("large", option="--min-size")
    assert str(caught.value) == (
        "--min-size 'large'; bytes, or a number with kB, MB, GB or TB; write `--min-size 20MB`"
    )
    with pytest.raises(UsageError) as caught:
        to_seconds("soon", option="--min-duration")
    assert str(caught.value) == (
        "--min-duration 'soon'; seconds, M:SS or H:MM:SS; write `--min-duration 90` or `--min-duration 1:30`"
    )
    with pytest.raises(UsageError, match="^--after '30.6.2019'; a date: 2019, 2019-06, 2019-06-30 or "):
        to_timestamp("30.6.2019", option="--after")
