"""Where `vtr train` writes, and what signals do to it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.cli.runner import run
from vtrcli.cli.train import new_folder, run_folder, stop_on_signal
from vtrcli.errors import WeightsError
from vtrcli.model.runs import METRICS
from vtrcli.training.record import read_metrics


def test_two_runs_in_one_second_have_their_own_folders(tmp_path: Path) -> None:
    names = [new_folder(tmp_path / "runs", "now").name for _ in range(3)]
    assert names == ["now", "now-2", "now-3"]


def test_a_folder_that_nothing_was_written_into_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with run_folder(None, resume=False) as empty:
        assert empty.is_dir() and empty.parent == tmp_path / "runs"
    assert not empty.exists()
    with run_folder(None, resume=False) as folder:
        (folder / "config.json").touch()
    assert (folder / "config.json").exists()


def test_a_place_where_no_folder_can_be_made_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "runs").touch()
    with pytest.raises(WeightsError, match="^cannot make a run folder in .*; choose another with --out$"):
        new_folder(tmp_path / "runs", "now")


def test_a_seed_has_bounds() -> None:
    assert run("train", "--seed", "-1").exit_code == 2


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_the_first_signal_asks_a_run_to_save_and_the_second_ends_it(name: str) -> None:
    number = getattr(signal, name)
    before = signal.getsignal(number)
    signal.signal(number, signal.default_int_handler)
    try:
        with stop_on_signal() as asked:
            assert not asked()
            os.kill(os.getpid(), number)
            assert asked()
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), number)
        assert signal.getsignal(number) is signal.default_int_handler
    finally:
        signal.signal(number, before)


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_a_run_under_nohup_goes_on_when_its_terminal_is_gone() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_on_signal() as asked:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not asked()
    finally:
        signal.signal(signal.SIGHUP, before)


def test_damaged_lines_of_the_metrics_cost_themselves_only(tmp_path: Path) -> None:
    lines = [
        b'{"epoch": 0, "step": 1}',
        b'{"epoch": \xff\xc3}',
        b'{"epoch": 1e999}',
        b"[1]",
        b'{"epoch": 1}',
        b'{"ep',
    ]
    (tmp_path / METRICS).write_bytes(b"\n".join(lines))
    assert [row["epoch"] for row in read_metrics(tmp_path)] == [0, 1]
