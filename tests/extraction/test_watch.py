"""Watching tells of files that came, changed or went, once they are quiet, and of nothing else."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from vtrcli.errors import UsageError
from vtrcli.extraction import watch
from vtrcli.extraction.watch import settled_changes


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "SETTLE_SECONDS", 0.3)


class Watching:
    """A watch in a thread; `told` are the numbers of changed files, the first 0: from then on nothing is missed."""

    def __init__(self, folder: Path, store: Path) -> None:
        self.told: list[int] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(folder, store), daemon=True)
        self._thread.start()
        self.wait_for(1)  # the system watches

    def _run(self, folder: Path, store: Path) -> None:
        for number in settled_changes([folder], store=store, should_stop=self._over.is_set):
            self.told.append(number)

    def wait_for(self, num_told: int) -> None:
        for _ in range(100):
            if len(self.told) >= num_told:
                return
            time.sleep(0.05)

    def stop(self) -> list[int]:
        self._over.set()
        self._thread.join(timeout=10)
        return self.told


def test_a_file_that_grows_is_told_once_when_it_is_quiet(tmp_path: Path) -> None:
    watching = Watching(tmp_path, tmp_path / "store")
    for _ in range(5):
        with open(tmp_path / "new.mp4", "ab") as file:
            file.write(b"x" * 100)
        time.sleep(0.1)
    assert watching.told == [0]
    watching.wait_for(2)
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "another.mp4").write_bytes(b"y")
    watching.wait_for(3)
    told = watching.stop()
    assert told[:2] == [0, 1] and len(told) == 3


def test_the_store_and_hidden_files_do_not_count(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / ".hidden").mkdir()
    watching = Watching(tmp_path, tmp_path / "store")
    (tmp_path / "store" / "shard.safetensors").write_bytes(b"x")
    (tmp_path / ".hidden" / "clip.mp4").write_bytes(b"x")
    (tmp_path / ".clip.mp4.part").write_bytes(b"x")
    time.sleep(1.0)
    assert watching.stop() == [0]


def test_a_path_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="^cannot watch .*nowhere: "):
        next(settled_changes([tmp_path / "nowhere"], store=tmp_path))
