"""The program as a person runs it: the demo in a new process, then the bare commands in the folder that it leaves."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

NUM_VIDEOS = 24


def vtr(*arguments: str, folder: Path, exit_code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "vtrcli", *arguments], cwd=folder, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == exit_code, done.stderr
    return done


def vtr_json(*arguments: str, folder: Path, exit_code: int = 0) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(vtr(*arguments, "--json", folder=folder, exit_code=exit_code).stdout)
    assert body["schema"] == 1
    return body


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("end-to-end")
    report = vtr_json(
        "demo", "--out", "demo", "--num-videos", str(NUM_VIDEOS), "--epochs", "2", folder=folder
    )
    assert report["num_videos"] == NUM_VIDEOS and report["num_failed"] == 0
    assert report["findings"][0]["R@1"] > 30
    return folder / "demo"


@pytest.mark.slow
def test_the_bare_commands_work_in_the_folder_that_the_demo_leaves(demo: Path) -> None:
    again = vtr_json("extract", folder=demo)
    assert (again["command"], again["num_found"], again["num_skipped"]) == ("extract", NUM_VIDEOS, NUM_VIDEOS)
    found = vtr_json("search", "a red circle", folder=demo)
    assert found.keys() >= {"schema", "command", "query", "store", "num_videos", "results"}
    first = found["results"][0]
    assert first.keys() >= {
        "rank",
        "video_id",
        "path",
        "score",
        "start_seconds",
        "end_seconds",
        "peak_seconds",
    }
    assert first["rank"] == 1 and first["start_seconds"] <= first["peak_seconds"] <= first["end_seconds"]
    assert Path(first["path"]).is_file()
    trained = vtr_json("train", "--epochs", "1", folder=demo)
    assert trained.keys() >= {"schema", "command", "run", "epochs", "best_epoch", "seconds", "val"}
    evaluated = vtr_json("eval", "--dsl", folder=demo)
    assert [row["method"] for row in evaluated["results"]] == ["none", "none", "dsl", "dsl"]
    assert (evaluated["num_texts"], evaluated["num_videos"]) == (24, 8)


def test_results_go_to_stdout_and_all_else_to_stderr(demo: Path) -> None:
    done = vtr("search", "a red circle", "-k", "2", folder=demo)
    assert len(done.stdout.splitlines()) == 2
    assert done.stderr.startswith("ranked by runs/") and done.stderr.count("\n") == 1
    (demo / "broken.mp4").write_bytes(b"no video")
    try:
        done = vtr("extract", "broken.mp4", folder=demo, exit_code=5)
        assert done.stdout.startswith("0 done, 1 could not be read (vtr store failures)")
        assert "broken.mp4: not-a-video" in done.stderr
    finally:
        (demo / "broken.mp4").unlink()


@pytest.mark.slow
def test_a_list_of_paths_comes_from_stdin(demo: Path) -> None:
    present = sorted(path.name for path in (demo / "videos").glob("*.mp4"))[:2]
    names = "\0".join([*present, "absent.mp4"])
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "vtrcli",
            "extract",
            "-",
            "--store",
            "../listed",
            "--backbone",
            "demo",
            "--json",
        ],
        cwd=demo / "videos",
        input=names.encode(),
        capture_output=True,
    )
    body = json.loads(done.stdout)
    assert done.returncode == 5
    assert (body["num_extracted"], [row["reason"] for row in body["failures"]]) == (2, ["not-found"])


@pytest.mark.slow
def test_watching_extracts_what_comes_until_it_is_told_to_stop(demo: Path, tmp_path: Path) -> None:
    folder, source = tmp_path / "videos", sorted((demo / "videos").glob("*.mp4"))
    folder.mkdir()
    command = [sys.executable, "-m", "vtrcli", "extract", str(folder), "--store", str(tmp_path / "store")]
    command += ["--backbone", "demo", "--watch", "--json", "--quiet"]
    before = signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # a job in the background would not hear it
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    signal.signal(signal.SIGINT, before)
    with process:
        try:
            assert process.stdout is not None
            assert json.loads(process.stdout.readline())["num_found"] == 0
            shutil.copy(source[0], folder)  # perhaps before it watches: it must be found all the same
            assert json.loads(process.stdout.readline())["num_extracted"] == 1
            shutil.copy(source[1], folder)
            (folder / "broken.mp4").write_bytes(b"no video")
            body = json.loads(process.stdout.readline())
            assert (body["num_extracted"], body["num_failed"]) == (1, 1)
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=20) == 0
        finally:
            process.kill()
