"""Names come from other people: they are shown as they are, never read as markup or as a terminal's command."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.cli.runner import run
from tests.store.stores import make_config
from vtrcli.cli.output import say, stdout
from vtrcli.store.config import create_config
from vtrcli.store.failures import append_failure, make_failure
from vtrcli.video.sampling import Uniform

NAMES = ("Title [dQw4w9WgXcQ].mp4", "[/b].mp4", "[red].mp4", ":smile:.mp4")


def test_failures_show_every_name_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    create_config(tmp_path, make_config())
    for name in (*NAMES, "\x1b[31mred\n.mp4"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).touch()  # a failure stands as long as its file is there
        append_failure(tmp_path, make_failure(Path(name), "corrupt", f"about {name}", state=None))
    result = run("store", "failures", "--store", str(tmp_path))
    assert result.exit_code == 0, result.output
    for name in (*NAMES, "\\x1b[31mred\\n.mp4"):
        assert f" {name} " in result.stdout and f"about {name}" in result.stdout
    assert "\x1b" not in result.stdout


@pytest.mark.parametrize("name", NAMES)
def test_config_and_results_show_every_name_whole(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VTR_STORE", name)
    result = run("config")
    assert result.exit_code == 0, result.output
    assert f" {name} " in result.stdout
    stdout().print(f"trained 1 epoch · {name}", soft_wrap=True)
    assert capsys.readouterr().out == f"trained 1 epoch · {name}\n"


def test_a_store_cannot_steer_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = make_config(name="\x1b]0;title\x07\nmine")
    create_config(tmp_path, replace(config, sampling=Uniform(num_frames=3).to_json()))
    shown = run("store", "info", "--store", str(tmp_path))
    assert shown.exit_code == 0, shown.output
    assert "\\x1b]0;title\\x07\\nmine" in shown.stdout and "\x1b" not in shown.stdout
    say("from \x1b[2J\nthere")
    assert capsys.readouterr().err == "from \\x1b[2J\\nthere\n"


def test_an_error_is_one_line_whatever_it_names(tmp_path: Path) -> None:
    result = run("search", "a dog", "--store", str(tmp_path / "a\n\x1b[31m"))
    assert result.exit_code == 4
    assert result.stderr.count("\n") == 1 and "\x1b" not in result.stderr
    assert "a\\n\\x1b[31m; " in result.stderr
