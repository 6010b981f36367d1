"""Few descriptors, little memory, no home, signals, several writers: the real program, in processes of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.video.clips import run_ffmpeg
from tests.video_files import make_video
from vtrcli.store.reader import FeatureStore
from vtrcli.store.verify import verify

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
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Half an hour twice: a bare stream, of which already the length is found by decoding all, and a transport stream,
    which is decoded from its start to each wanted time. Neither lets ffmpeg write anything for seconds."""
    folder = tmp_path_factory.mktemp("film")
    part = make_video(folder / "part.mp4", hue=0, seconds=10, size="640x360", fps=30)
    for name, container in (("film.h264", "h264"), ("film.ts", "mpegts")):
        run_ffmpeg("-stream_loop", "180", "-i", str(part), "-c", "copy", "-f", container, str(folder / name))
    return folder


@pytest.fixture(scope="module")
def film(films: Path) -> Path:
    return films / "film.h264"


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


def test_32_descriptors_are_enough_and_18_are_told(videos: Path, tmp_path: Path) -> None:
    done = limited(extract(videos, tmp_path / "a", "--workers", "4"), "-n 32")
    assert done.returncode == 0, done.stderr
    assert len(FeatureStore(tmp_path / "a").videos) == NUM_VIDEOS
    done = limited(extract(videos, tmp_path / "b", "--workers", "4"), "-n 18")
    assert done.returncode in (0, 3, 4) and "Traceback" not in done.stderr, done.stderr
    if (tmp_path / "b" / "store.json").exists():
        assert verify(tmp_path / "b").problems == ()


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


@contextmanager
def started(command: list[str]) -> Iterator[subprocess.Popen[str]]:
    """A running command that hears SIGINT (a shell's job in the background would not), ended at last by force."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        running = subprocess.Popen(command, start_new_session=True, stderr=subprocess.PIPE, text=True)
    finally:
        signal.signal(signal.SIGINT, before)
    try:
        yield running
    finally:
        running.kill()
        running.wait()


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP"])
@pytest.mark.parametrize("film_name", ["film.h264", "film.ts"])
def test_signals_end_it_and_its_ffmpeg(film_name: str, name: str, films: Path, tmp_path: Path) -> None:
    """Also while a video is only measured."""
    path = films / film_name
    with started(extract(path, tmp_path / "store")) as running:
        wait_for_ffmpeg(path)
        running.send_signal(getattr(signal, name))
        _, said = running.communicate(timeout=60)
        assert running.returncode == 130, (running.returncode, said)
        assert "interrupted; what was finished is kept" in said and "Traceback" not in said
        assert not (tmp_path / "store").exists()  # it did not end by itself
        require_no_ffmpeg(path, seconds=3)


@pytest.mark.parametrize("pause_seconds", [0.0, 0.05, 0.5])
def test_ctrl_c_twice_ends_at_once_without_a_traceback(
    pause_seconds: float, film: Path, tmp_path: Path
) -> None:
    with started(extract(film, tmp_path / "store")) as running:
        wait_for_ffmpeg(film)
        for _ in range(2):
            running.send_signal(signal.SIGINT)
            time.sleep(pause_seconds)
        _, said = running.communicate(timeout=60)
        assert running.returncode in (130, -signal.SIGINT), (running.returncode, said)
        assert "Traceback" not in said, said
        require_no_ffmpeg(film, seconds=3)


@pytest.mark.parametrize("after_seconds", [0.05, 0.1, 0.2, 0.4, 0.8])
def test_ctrl_c_while_it_starts_shows_no_traceback(after_seconds: float, tmp_path: Path) -> None:
    """From when our code runs on; what Python does before that is Python's."""
    code = (
        "import os, signal, threading\n"
        f"timer = threading.Timer({after_seconds}, os.kill, (os.getpid(), signal.SIGINT))\n"
        "timer.daemon = True  # Python must not wait for it where the command was faster\n"
        "timer.start()\n"
        "from vtrcli.__main__ import main\n"
        f"main()"
    )
    with started([sys.executable, "-c", code, "models", "list"]) as running:
        _, said = running.communicate(timeout=60)
        assert running.returncode in (0, 130, -signal.SIGINT) and "Traceback" not in said, said


def test_stop_and_continue_costs_nothing(videos: Path, tmp_path: Path) -> None:
    running = subprocess.Popen(extract(videos, tmp_path / "store"), start_new_session=True)
    for _ in range(5):
        time.sleep(0.5)
        running.send_signal(signal.SIGSTOP)
        time.sleep(0.2)
        running.send_signal(signal.SIGCONT)
    assert running.wait(timeout=120) == 0
    assert len(FeatureStore(tmp_path / "store").videos) == NUM_VIDEOS


@pytest.mark.parametrize("num_writers", [2, 4])
def test_several_writers_and_readers_at_once(num_writers: int, videos: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    assert subprocess.run(extract(videos / "0.mp4", store)).returncode == 0
    writers = [subprocess.Popen(extract(videos, store, "--keep-frames")) for _ in range(num_writers)]
    num_reads = 0
    while any(writer.poll() is None for writer in writers):
        done = subprocess.run(
            [*VTR, "search", "red", "--store", str(store), "--device", "cpu"], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        num_reads += 1
    assert [writer.wait() for writer in writers] == [0] * num_writers
    assert num_reads > 0 and verify(store).problems == ()
    assert {at.record.path for at in FeatureStore(store).videos.values()} == {
        str(path) for path in videos.iterdir()
    }
