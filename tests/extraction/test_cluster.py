"""`vtr extract --ray`: worker processes of a real cluster on this machine, killed, or killed by what they read."""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.extraction.test_kill import contents
from tests.store.stores import make_config
from tests.video_files import make_video
from vtrcli.errors import UsageError, VideoError, WeightsError
from vtrcli.extraction.cluster import (
    Cluster,
    RemoteWorker,
    Seats,
    Terms,
    _without_a_file,
    installed_versions,
)
from vtrcli.extraction.extract import extract
from vtrcli.extraction.pipeline import DecodeSettings, Job
from vtrcli.extraction.settings import store_config
from vtrcli.extraction.worker import Assignment, Outcome
from vtrcli.model.families import describe_backbone
from vtrcli.store.config import create_config
from vtrcli.store.failures import read_failures
from vtrcli.store.reader import FeatureStore
from vtrcli.store.records import FileState
from vtrcli.store.verify import verify
from vtrcli.video.ffmpeg import ffmpeg_binary
from vtrcli.video.sampling import Uniform

SAMPLING = Uniform(num_frames=4)
LOCAL_RAY = ("--ray", "local", "--quiet")
MARK = "VTR_TEST_OF_CLUSTER"


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cluster") / "videos"
    folder.mkdir()
    for number in range(24):
        make_video(folder / f"clip{number:02d}.mp4", seconds=2.0, hue=15 * number, size="320x240", fps=25)
    (folder / "broken.mp4").write_bytes(b"this is no video")
    return folder


@pytest.fixture
def assignment(tmp_path: Path) -> Assignment:
    """That of a store of the demo's backbone."""
    described = describe_backbone("demo")
    config = store_config(described, SAMPLING)
    create_config(tmp_path / "store", config)
    return Assignment(
        store=tmp_path / "store",
        config=config,
        backbone="demo",
        device="cpu",
        precision="float32",
        decoding=DecodeSettings(
            sampling=SAMPLING,
            input_size=described.preprocessing,
            num_workers=1,
            timeout_seconds=None,
            keep_size=None,
        ),
        batch_size=None,
        usual_precision=None,
    )


def command(videos: Path, store: Path, *options: str, device: str = "cpu") -> list[str]:
    words = (
        sys.executable,
        "-m",
        "vtrcli",
        "extract",
        str(videos),
        "--store",
        str(store),
        "--backbone",
        "demo",
    )
    settled = ("--device", device, "--precision", "float32", "--fps", "12", "--workers", "1")
    return [*words, *settled, *options]


def workers_of(mark: str) -> Iterator[int]:
    """Process ids of the workers of the run whose environment holds the mark."""
    for process in Path("/proc").iterdir():
        try:
            is_worker = process.name.isdecimal() and b"RemoteWorker" in (process / "cmdline").read_bytes()
            if is_worker and f"{MARK}={mark}".encode() in (process / "environ").read_bytes():
                yield int(process.name)
        except OSError:
            continue


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds processes by /proc")
def test_two_workers_one_killed_in_the_middle_make_the_store_of_one_run(videos: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="the extra ray is not installed")
    subprocess.run(command(videos, tmp_path / "one", "--quiet"))
    store, mark = tmp_path / "two", str(tmp_path)
    with subprocess.Popen(
        command(videos, store, *LOCAL_RAY, "--json"), env={**os.environ, MARK: mark}, stdout=subprocess.PIPE
    ) as run:
        while not list((store / "shards").glob("*")):
            assert run.poll() is None, "it ended before a worker could be killed"
            time.sleep(0.02)
        first = sorted(workers_of(mark))
        assert len(first) == 2
        os.kill(first[0], signal.SIGKILL)
        printed, _ = run.communicate(timeout=180)
    assert run.returncode == 5  # broken.mp4
    assert json.loads(printed)["num_extracted"] == 24
    assert contents(store) == contents(tmp_path / "one")
    assert verify(store).problems == ()
    assert [failure.reason for failure in read_failures(store, ()).values()] == ["not-a-video"]


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="needs a shell script as ffmpeg")
def test_a_video_that_kills_its_worker_costs_that_video(videos: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="the extra ray is not installed")
    deadly = tmp_path / "ffmpeg"
    deadly.write_text(
        f'#!/bin/sh\ncase "$*" in *clip07*) kill -9 $PPID;; esac\nexec "{ffmpeg_binary()}" "$@"\n'
    )
    deadly.chmod(0o755)
    environment = {**os.environ, "VTR_FFMPEG": str(deadly)}
    run = subprocess.run(command(videos, tmp_path / "store", *LOCAL_RAY), env=environment, timeout=180)
    assert run.returncode == 5
    failures = {Path(path).name: failure for path, failure in read_failures(tmp_path / "store", ()).items()}
    assert {name: failure.reason for name, failure in failures.items()} == {
        "broken.mp4": "not-a-video",
        "clip07.mp4": "worker-died",
    }
    assert failures["clip07.mp4"].detail.startswith("3 workers died at it: ")
    assert len(FeatureStore(tmp_path / "store").videos) == 23


@pytest.mark.slow
def test_what_ends_a_worker_ends_the_run_in_its_own_words(videos: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="the extra ray is not installed")
    environment = {**os.environ, "VTR_FFMPEG": str(tmp_path / "no-ffmpeg")}
    run = subprocess.run(
        command(videos, tmp_path / "store", *LOCAL_RAY),
        env=environment,
        timeout=180,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 3
    assert f"{tmp_path / 'no-ffmpeg'}" in run.stderr and "Traceback" not in run.stderr


def refused(assignment: Assignment, terms: Terms) -> str:
    """What a worker answers to these terms."""
    with pytest.raises(UsageError) as caught:
        RemoteWorker(assignment, terms).start()
    return str(caught.value).replace(f" on {platform.node()}", " on HERE")


@pytest.fixture
def terms(assignment: Assignment) -> Terms:
    return Terms.of_run(assignment.store, [], {})


@pytest.mark.parametrize("name", ["vtr", "torch"])
def test_a_worker_of_another_version_is_refused(assignment: Assignment, terms: Terms, name: str) -> None:
    there = replace(terms, versions={**terms.versions, name: "0.0.9"})
    assert refused(assignment, there) == (
        f"{name} {installed_versions()[name]} on HERE, {name} 0.0.9 where the run was started; "
        "one version in the whole cluster; install it there"
    )


def test_a_worker_that_does_not_see_the_store_is_refused(assignment: Assignment, terms: Terms) -> None:
    not_the_store = (
        f"{assignment.store} on HERE is not the store of this run; videos and a store that every machine sees under "
        "the same paths; mount them there"
    )
    assert refused(assignment, replace(terms, store_mtime=1)) == not_the_store  # one of its own, made alike
    (assignment.store / "store.json").unlink()
    assert refused(assignment, terms) == not_the_store


def test_a_worker_that_does_not_see_the_videos_is_refused(
    assignment: Assignment, terms: Terms, tmp_path: Path
) -> None:
    clip = tmp_path / "clip.mp4"
    unseen = (
        f"{clip} is not there on HERE, or another file; videos and a store that every machine sees under the same "
        "paths; mount them there"
    )
    asked = replace(terms, witnesses=((clip, 7),))
    assert refused(assignment, asked) == unseen
    clip.write_bytes(b"another film")
    assert refused(assignment, asked) == unseen
    # A stat that ends in another error than that it is not there, as of a broken mount.
    long = tmp_path / ("x" * 300)
    assert refused(assignment, replace(terms, witnesses=((long, 7),))) == unseen.replace(str(clip), str(long))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_worker_that_may_read_no_video_is_refused_and_one_closed_file_is_that_files_trouble(
    assignment: Assignment, terms: Terms, tmp_path: Path
) -> None:
    paths = [tmp_path / "closed.mp4", tmp_path / "open.mp4"]
    for path in paths:
        path.write_bytes(b"a film")
    paths[0].chmod(0)
    assert refused(assignment, replace(terms, witnesses=((paths[0], 6),))) == (
        f"{paths[0]} and others cannot be read on HERE; videos that workers may read, too; "
        "start Ray there as a user who may"
    )
    replace(terms, witnesses=tuple((path, 6) for path in paths)).require(assignment)


def test_whatever_is_said_of_a_file_on_a_broken_mount_it_is_not_there(tmp_path: Path) -> None:
    state = FileState(num_bytes=1, mtime_ns=0, fingerprint="")
    broken = Job(path=tmp_path / ("x" * 300), video_id="x", state=state)
    told = _without_a_file(Outcome(job=broken, error=VideoError("corrupt", "", path="x")))
    assert told.error is not None and told.error.reason == "not-found"


def test_videos_from_all_over_the_list_are_witnesses(assignment: Assignment) -> None:
    state = FileState(num_bytes=1, mtime_ns=0, fingerprint="")
    jobs = [Job(path=Path(f"/{number}.mp4"), video_id=str(number), state=state) for number in range(1000)]
    terms = Terms.of_run(assignment.store, jobs, {})
    assert [path.stem for path, _ in terms.witnesses] == [
        "0",
        "125",
        "250",
        "375",
        "500",
        "625",
        "750",
        "875",
    ]


def test_a_worker_with_other_weights_is_refused(assignment: Assignment, tmp_path: Path) -> None:
    other = make_config(dim=128)
    create_config(tmp_path / "other", other)
    with pytest.raises(WeightsError) as caught:
        RemoteWorker(
            replace(assignment, store=tmp_path / "other", config=other),
            Terms.of_run(tmp_path / "other", [], {}),
        ).start()
    assert str(caught.value).endswith("; the same weights on every machine; copy the file there")


@pytest.mark.parametrize(
    ("nodes", "device", "num_decoders", "expected"),
    [
        ([{"CPU": 8.0}, {"CPU": 6.0}], "auto", None, (3, 4, 0)),
        ([{"CPU": 2.0}], "cpu", None, (1, 2, 0)),
        ([{"CPU": 2.0}, {"CPU": 2.0}], "cpu", 1, (4, 1, 0)),
        ([{"CPU": 0.0}, {"CPU": 16.0, "GPU": 4.0}], "auto", None, (4, 4, 1)),
        ([{"CPU": 64.0}, {"CPU": 16.0, "GPU": 8.0}], "auto", None, (8, 2, 1)),  # the other machine has no GPU
        ([{"CPU": 32.0, "GPU": 2.0}, {"CPU": 8.0, "GPU": 4.0}], "cuda", None, (6, 2, 1)),
        ([{"CPU": 16.0, "GPU": 4.0}], "cuda", 8, (2, 8, 1)),
        ([{"CPU": 16.0, "GPU": 4.0}], "cpu", None, (4, 4, 0)),
        ([{"CPU": 1.0, "GPU": 4.0}], "cuda", None, (1, 1, 1)),
        ([{"CPU": 0.0}], "cpu", None, (0, 1, 0)),
    ],
)
def test_each_gpu_or_else_every_few_processors_have_a_worker(
    nodes: list[dict[str, float]], device: str, num_decoders: int | None, expected: tuple[int, int, int]
) -> None:
    seats = Seats.of(nodes, device=device, num_decoders=num_decoders, num_jobs=8)
    assert seats == Seats(*expected)
    few = Seats.of(nodes, device=device, num_decoders=num_decoders, num_jobs=2)  # each loads a backbone
    assert few == replace(seats, num_workers=min(2, seats.num_workers))


def test_one_gpu_cannot_be_named_for_all_workers(assignment: Assignment) -> None:
    with pytest.raises(UsageError) as caught:
        Cluster("auto", replace(assignment, device="cuda:1"), {}, [])
    assert str(caught.value) == (
        "--device cuda:1 with --ray; auto, cpu or cuda: Ray gives each worker a GPU of its own; use --device cuda"
    )


def test_without_ray_the_extra_is_named(assignment: Assignment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError) as caught:
        Cluster("auto", assignment, {}, [])
    assert (
        str(caught.value)
        == '--ray auto without Ray; the extra of that name; install it: pip install "vtrcli[ray]"'
    )


def test_where_nothing_listens_nobody_waits_for_minutes(videos: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="the extra ray is not installed")
    with pytest.raises(UsageError) as caught:
        extract(
            [videos],
            store=tmp_path / "s",
            backbone="demo",
            sampling=SAMPLING,
            device="cpu",
            ray="127.0.0.1:1",
        )
    assert str(caught.value) == (
        "--ray 127.0.0.1:1: [Errno 111] Connection refused; auto, HOST:PORT, ray://HOST:PORT, or local for this "
        "machine alone; start a cluster with `ray start --head`, and name its address"
    )
    assert not (tmp_path / "s").exists()
