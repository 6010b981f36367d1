"""`vtr demo` and settings that lie in its folder already."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.cli.runner import run, run_json
from vtrcli.cli.demo import program, refuse_foreign_settings, write_settings


@pytest.mark.parametrize("text", ["", 'store = "mine"\n', "# Settings of vtr for this folder\n"])
def test_settings_of_ones_own_are_never_replaced(tmp_path: Path, text: str) -> None:
    (tmp_path / "vtr.toml").write_text(text)
    result = run("demo", "--out", str(tmp_path))
    assert result.exit_code == 2
    assert result.stderr == (
        f"vtr: {tmp_path / 'vtr.toml'} is there already, and is not the demo's; "
        "a folder without settings of your own; choose another folder with --out\n"
    )
    assert (tmp_path / "vtr.toml").read_text() == text
    assert [path.name for path in tmp_path.iterdir()] == ["vtr.toml"]


def test_its_own_settings_hold_and_keep_what_was_added(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_settings(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert run_json("config")["settings"] == str(tmp_path / "vtr.toml")
    text = (tmp_path / "vtr.toml").read_text() + "[extract]\nframes = 4\n"
    (tmp_path / "vtr.toml").write_text(text)
    refuse_foreign_settings(tmp_path)
    write_settings(tmp_path)
    assert (tmp_path / "vtr.toml").read_text() == text


def test_the_next_commands_call_this_vtr_from_the_demos_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    script = tmp_path / ".venv" / "bin" / "vtr"
    script.parent.mkdir(parents=True)
    script.touch(mode=0o755)
    monkeypatch.setattr(sys, "argv", [".venv/bin/vtr"])
    monkeypatch.setenv("PATH", "/nowhere")
    assert program(Path("demo")) == "../.venv/bin/vtr"  # `make demo`
    monkeypatch.setattr(sys, "argv", [str(script)])
    assert program(Path("demo")) == str(script)
    monkeypatch.setenv("PATH", str(script.parent))
    assert program(Path("demo")) == "vtr"
    monkeypatch.setattr(sys, "argv", ["/x/vtrcli/__main__.py"])
    assert program(Path("demo")) == f"{sys.executable} -m vtrcli"
