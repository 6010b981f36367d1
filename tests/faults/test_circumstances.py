"""Few descriptors, little memory, no home, kills, stop and continue: the real program, in processes of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.video.clips import run_ffmpeg
from tests.video_files import make_video
from vtrcli.store.reader import FeatureStore

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, sets limits"),
]

VTR = [sys.executable, "-m", "vtrcli"]
NUM_VIDEOS = 8


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    for number in range(NUM_VIDEOS):
        make_video(folder / f"{number}.mp4", hue=40 * number, seconds=0.5)
    return folder


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Half an hour whose decoding takes many seconds and gives two frames: ffmpeg writes nothing for a long time."""
    folder = tmp_path_factory.mktemp("film")
    part = make_video(folder / "part.mp4", hue=0, seconds=10, size="640x360", fps=30)
    run_ffmpeg("-stream_loop", "180", "-i", str(part), "-c", "copy", "-f", "h264", str(folder / "film.h264"))
    part.unlink()
    return folder / "film.h264"


def extract(source: Path, store: Path, *options: str) -> list[str]:
    command = [*VTR, "extract", str(source), "--store", str(store), "--backbone", "demo", "--frames", "2"]
    return [*command, "--device", "cpu", "--quiet", *options]


def limited(command: list[str], *limits: str) -> subprocess.CompletedProcess[str]:
    script = "".join(f"ulimit {limit} && " for limit in limits) + 'exec "$@"'
    return subprocess.run(["/bin/sh", "-c", script, "sh", *command], capture_output=True, text=True)


def ffmpegs_of(path: Path) -> list[int]:
    """The processes that have this path on their command line, vtr itself apart."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                words = (process / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"file:" + os.fsencode(path) in words:
                found.append(int(process.name))
    return found


def wait_for_ffmpeg(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not ffmpegs_of(path):
        assert time.monotonic() < deadline, "no ffmpeg was started"
        time.sleep(0.02)
    time.sleep(0.3)


def require_no_ffmpeg(path: Path, *, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while ffmpegs_of(path):
        assert time.monotonic() < deadline, "ffmpeg lives on"
        time.sleep(0.02)


def test_32_descriptors_are_enough(videos: Path, tmp_path: Path) -> None:
    done = limited(extract(videos, tmp_path / "a", "--workers", "4"), "-n 32")
    assert done.returncode == 0, done.stderr
    assert len(FeatureStore(tmp_path / "a").videos) == NUM_VIDEOS


def test_a_gigabyte_of_address_space_is_enough_for_small_videos(videos: Path, tmp_path: Path) -> None:
    done = limited(extract(videos, tmp_path / "a"), "-v 1500000")
    assert done.returncode == 0, done.stderr


def test_neither_a_home_nor_a_temporary_folder_is_needed(videos: Path, tmp_path: Path) -> None:
    bare = {"PATH": os.environ["PATH"], "TMPDIR": "/nonexistent", "HOME": "/nonexistent"}
    for variables in (bare, {key: value for key, value in bare.items() if key != "HOME"}):
        store = tmp_path / f"store{len(variables)}"
        for command in (
            extract(videos, store),
            [*VTR, "search", "red", "--store", str(store), "--device", "cpu"],
        ):
            done = subprocess.run(command, env=variables, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("whole_group", [False, True])
def test_no_ffmpeg_outlives_a_killed_vtr(whole_group: bool, film: Path, tmp_path: Path) -> None:
    running = subprocess.Popen(extract(film, tmp_path / "store"), start_new_session=True)
    wait_for_ffmpeg(film)
    (os.killpg if whole_group else os.kill)(running.pid, signal.SIGKILL)
    running.wait()
    require_no_ffmpeg(film, seconds=3)


def test_stop_and_continue_costs_nothing(videos: Path, tmp_path: Path) -> None:
    running = subprocess.Popen(extract(videos, tmp_path / "store"), start_new_session=True)
    for _ in range(5):
        time.sleep(0.5)
        running.send_signal(signal.SIGSTOP)
        time.sleep(0.2)
        running.send_signal(signal.SIGCONT)
    assert running.wait(timeout=120) == 0
    assert len(FeatureStore(tmp_path / "store").videos) == NUM_VIDEOS
