"""How far an extraction is can be read by others, and ends with its process, however that ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from vtrcli.store import progress
from vtrcli.store.progress import ExtractProgress, ProgressFile, process_start, running_extract


def test_runs_that_go_on_are_summed_and_leave_nothing(tmp_path: Path) -> None:
    files = [ProgressFile(tmp_path), ProgressFile(tmp_path)]
    for number, file in enumerate(files, start=1):
        file.tell(number, 10, 1)
    assert running_extract(tmp_path) == ExtractProgress(3, 20, 2)
    for file in files:
        file.end()
    assert running_extract(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_it_is_renewed_once_a_second_at_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = ProgressFile(tmp_path)
    for number in range(5):
        file.tell(number, 10, 0)
    assert running_extract(tmp_path) == ExtractProgress(0, 10, 0)
    monkeypatch.setattr(progress, "RENEW_SECONDS", 0.0)
    file = ProgressFile(tmp_path)
    for number in range(5):
        file.tell(number, 10, 0)
    assert running_extract(tmp_path) == ExtractProgress(4, 20, 0)


@pytest.mark.skipif(process_start(os.getpid()) is None, reason="processes cannot be looked at here")
def test_a_run_that_was_killed_is_over_and_swept_by_the_next(tmp_path: Path) -> None:
    code = "import os, sys, pathlib; from vtrcli.store.progress import ProgressFile;"
    code += "ProgressFile(pathlib.Path(sys.argv[1])).tell(1, 2, 0); os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    [left] = tmp_path.iterdir()
    assert running_extract(tmp_path) is None
    # Its number went to another process.
    left.write_text(json.dumps({**json.loads(left.read_text()), "pid": os.getpid()}))
    assert running_extract(tmp_path) is None
    (tmp_path / f"{progress.PREFIX}0.tmp").write_text("{")  # killed while it wrote
    ProgressFile(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_of_another_machine_only_the_time_tells(tmp_path: Path) -> None:
    file = ProgressFile(tmp_path)
    file.tell(1, 2, 0)
    [path] = tmp_path.iterdir()
    path.write_text(json.dumps({**json.loads(path.read_text()), "host": "another", "pid": 1}))
    assert running_extract(tmp_path) == ExtractProgress(1, 2, 0)
    os.utime(path, (1, 1))
    assert running_extract(tmp_path) is None


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"num_done": -1, "num_total": 1, "num_failed": 0}', b"\xff", b"[" * 4000]
)
def test_what_is_no_such_file_tells_nothing(tmp_path: Path, body: bytes) -> None:
    (tmp_path / f"{progress.PREFIX}0.json").write_bytes(body)
    assert running_extract(tmp_path) is None
    assert running_extract(tmp_path / "none") is None
