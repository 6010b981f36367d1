"""`vtr extract --ray` on two hosts: one of them dies, does not see the videos, or is not set up."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.extraction.test_cluster import command
from tests.extraction.test_kill import contents
from tests.hosts import Host, two_hosts, wait_until
from tests.video_files import make_video
from vtrcli.store.failures import read_failures
from vtrcli.store.reader import FeatureStore
from vtrcli.store.verify import verify

pytestmark = pytest.mark.slow
RAY_PORT = 6379
NUM_VIDEOS = 40


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hosts") / "videos"
    folder.mkdir()
    for number in range(NUM_VIDEOS):
        make_video(folder / f"clip{number:02d}.mp4", seconds=2.0, hue=9 * number, size="320x240", fps=25)
    return folder


@pytest.fixture(scope="module")
def alone(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[bytes, bytes]]:
    """What the store of one process holds."""
    store = tmp_path_factory.mktemp("alone") / "store"
    subprocess.run(command(videos, store, "--json"), check=True, stdout=subprocess.DEVNULL)
    return contents(store)


@pytest.fixture
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Host, Host]]:
    """A cluster of one worker for each of two hosts, of which the first one also starts the runs."""
    pytest.importorskip("ray", reason="the extra ray is not installed")
    token = tmp_path_factory.mktemp("token") / "token"
    token.write_text("0123456789abcdef" * 4)
    with two_hosts() as (first, second):
        for host in (first, second):
            host.environment = {
                "RAY_USAGE_STATS_ENABLED": "0",
                "PYTHONWARNINGS": "ignore",
                "RAY_AUTH_TOKEN_PATH": str(token),
                "RAY_AUTH_MODE": "token",
            }
        head = ("--head", f"--port={RAY_PORT}", "--include-dashboard=false")
        join(first, *head)
        yield first, second


def join(host: Host, *options: str, before: str = "true") -> None:
    """Ray on a host, with room for one worker. `before`: what the host's shell does first."""
    ray = Path(sys.executable).with_name("ray")
    line = f'{before} && exec "$0" start --num-cpus=1 --object-store-memory=80000000 "$@"'
    joined = host.start(
        "sh", "-c", line, ray, *options, f"--node-ip-address={host.address}", stdout=subprocess.DEVNULL
    )
    assert joined.wait(timeout=120) == 0


def join_second(hosts: tuple[Host, Host], *options: str, before: str = "true") -> None:
    join(hosts[1], f"--address={hosts[0].address}:{RAY_PORT}", *options, before=before)


def run(hosts: tuple[Host, Host], videos: Path, store: Path, *, device: str = "cpu") -> subprocess.Popen[str]:
    """A run that is not told of the token."""
    first, _ = hosts
    ray = ("--ray", f"{first.address}:{RAY_PORT}")
    words = ("env", "-u", "RAY_AUTH_MODE", *command(videos, store, "--json", *ray, device=device))
    return first.start(*words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=store.parent)


def ended(process: subprocess.Popen[str]) -> tuple[int, dict[str, Any], str]:
    """Exit code, JSON and what was said of a run."""
    printed, said = process.communicate(timeout=240)
    return process.returncode, json.loads(printed or "{}"), said


def shards(store: Path) -> list[Path]:
    return list((store / "shards").glob("*.safetensors"))


def test_a_host_that_dies_in_the_middle_takes_nothing_along(
    hosts: tuple[Host, Host], videos: Path, alone: dict[str, tuple[bytes, bytes]], tmp_path: Path
) -> None:
    join_second(hosts)
    process = run(hosts, videos, tmp_path / "store")
    wait_until(lambda: shards(tmp_path / "store"))
    hosts[1].fail()
    exit_code, result, said = ended(process)
    assert (exit_code, result["num_extracted"], result["failures"]) == (0, NUM_VIDEOS, []), said
    assert contents(tmp_path / "store") == alone
    assert verify(tmp_path / "store").problems == ()


def test_a_host_that_loses_the_videos_is_given_up_and_no_video_fails(
    hosts: tuple[Host, Host], videos: Path, alone: dict[str, tuple[bytes, bytes]], tmp_path: Path
) -> None:
    join_second(hosts)
    process = run(hosts, videos, tmp_path / "store")
    wait_until(lambda: shards(tmp_path / "store"))
    hosts[1].lose(videos)
    exit_code, result, said = ended(process)
    assert (exit_code, result["num_extracted"], result["failures"]) == (0, NUM_VIDEOS, []), said
    [note] = [each for each in result["warnings"] if "worker of Ray" in each]
    assert note.startswith("went on without one worker of Ray: ") and ": not-found: " in note
    assert contents(tmp_path / "store") == alone


def test_a_host_that_does_not_see_the_videos_ends_the_run_before_it_begins(
    hosts: tuple[Host, Host], videos: Path, tmp_path: Path
) -> None:
    join_second(hosts, before=f"mount -t tmpfs none '{videos}'")
    exit_code, _, said = ended(run(hosts, videos, tmp_path / "store"))
    assert exit_code == 2
    assert "clip00.mp4 is not there on " in said.replace("\n", "")
    assert "mount them there" in said and "Traceback" not in said
    assert not (tmp_path / "store").exists()


def test_a_host_without_vtr_ends_the_run_before_it_begins(
    hosts: tuple[Host, Host], videos: Path, tmp_path: Path
) -> None:
    (tmp_path / "other" / "vtrcli").mkdir(parents=True)
    (tmp_path / "other" / "vtrcli" / "__init__.py").write_text("raise ImportError('no vtr here')")
    hosts[1].environment["PYTHONPATH"] = str(tmp_path / "other")
    join_second(hosts)
    exit_code, _, said = ended(run(hosts, videos, tmp_path / "store"))
    assert exit_code == 2
    assert "a worker of Ray did not start: " in said and "Traceback" not in said
    assert "install it there" in said


def test_ctrl_c_and_a_killed_run_keep_what_is_finished_and_leave_no_worker(
    hosts: tuple[Host, Host], videos: Path, alone: dict[str, tuple[bytes, bytes]], tmp_path: Path
) -> None:
    join_second(hosts)
    store, num_kept = tmp_path / "store", [0]
    for sent, exit_code in ((signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)):
        num_shards = len(shards(store))
        process = run(hosts, videos, store)
        wait_until(lambda: len(shards(store)) > num_shards)  # noqa: B023
        process.send_signal(sent)  # `ip netns exec` became the run
        assert ended(process)[0] == exit_code
        wait_until(lambda: not [each for host in hosts for each in host.processes() if is_worker(each)])
        assert verify(store).problems == ()
        num_kept.append(len(FeatureStore(store).videos))
    assert 0 < num_kept[1] < num_kept[2] < NUM_VIDEOS
    exit_code, result, said = ended(run(hosts, videos, store))
    assert (exit_code, result["num_skipped"]) == (0, num_kept[2]), said
    assert contents(store) == alone
    assert read_failures(store, ()) == {}


def is_worker(process: int) -> bool:
    try:
        return b"RemoteWorker" in Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return False


def test_every_gpu_has_a_worker(hosts: tuple[Host, Host], videos: Path, tmp_path: Path) -> None:
    """Ray counts what it is told to count: two GPUs that are none, and the host without them is left alone."""
    join_second(hosts, "--num-gpus=2", "--num-cpus=2")
    process = run(hosts, videos, tmp_path / "store", device="auto")
    wait_until(lambda: sum(map(is_worker, hosts[1].processes())) == 2)
    assert not any(map(is_worker, hosts[0].processes()))
    exit_code, _, said = ended(process)
    assert exit_code == 0, said
    assert len(FeatureStore(tmp_path / "store").videos) == NUM_VIDEOS
