"""Watching tells of files that came, changed or went, once they are quiet, and of nothing else."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from vtrcli.errors import UsageError
from vtrcli.extraction import watch
from vtrcli.extraction.watch import Changes, Quiet, settled_changes


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
        for changes in settled_changes([folder], store=store, should_stop=self._over.is_set):
            self.told.append(changes.num_settled)

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


@pytest.mark.slow
def test_the_store_hidden_files_and_downloads_do_not_count(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / ".hidden").mkdir()
    watching = Watching(tmp_path, tmp_path / "store")
    (tmp_path / "store" / "shard.safetensors").write_bytes(b"x")
    (tmp_path / ".hidden" / "clip.mp4").write_bytes(b"x")
    (tmp_path / ".clip.mp4.part").write_bytes(b"x")
    (tmp_path / "film.mkv.crdownload").write_bytes(b"x")
    time.sleep(1.0)
    assert watching.stop() == [0]


def test_a_path_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="^cannot watch .*nowhere: "):
        next(settled_changes([tmp_path / "nowhere"], store=tmp_path))


@pytest.mark.slow
def test_a_download_that_grows_keeps_nobody_waiting_and_counts_under_its_final_name(tmp_path: Path) -> None:
    watching = Watching(tmp_path, tmp_path / "store")
    part = tmp_path / "film.mkv.part"
    (tmp_path / "whole.mp4").write_bytes(b"x")
    for _ in range(12):
        with open(part, "ab") as file:
            file.write(b"x" * 100)
        time.sleep(0.1)
    assert watching.told == [0, 1]
    part.rename(tmp_path / "film.mkv")
    watching.wait_for(3)
    assert watching.stop() == [0, 1, 1]


A, B = Path("a.mp4"), Path("b.mp4")


def test_files_of_one_burst_are_told_together() -> None:
    quiet = Quiet(settle_seconds=2, longest_wait_seconds=10)
    quiet.note([A], 0.0)
    quiet.note([B], 1.0)
    assert quiet.take(2.5) is None
    assert quiet.take(3.0) == Changes(2, frozenset()) and quiet.take(9.0) is None


def test_a_file_that_never_stops_growing_starves_nobody_and_is_left_out() -> None:
    quiet = Quiet(settle_seconds=2, longest_wait_seconds=10)
    quiet.note([A], 0.0)
    told = []
    for second in range(30):
        quiet.note([B], float(second))
        told.append(quiet.take(float(second)))
    assert told[12] == Changes(1, frozenset([B])) and sum(item is not None for item in told) == 1
    assert quiet.take(32.0) == Changes(1, frozenset())


def test_a_file_that_changes_again_is_told_again() -> None:
    quiet = Quiet(settle_seconds=2, longest_wait_seconds=10)
    for start in (0.0, 5.0):
        quiet.note([A], start)
        assert quiet.take(start + 1) is None and quiet.take(start + 2) == Changes(1, frozenset())
