"""`vtr serve` as people start it: warm before it says so, seen with what is added meanwhile, ended cleanly."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

import vtrcli as vtr
from tests.cli.runner import run
from vtrcli.cli import serve

pytest.importorskip("starlette", reason="vtr serve needs the extra serve")


class Served:
    """A server in a process of its own."""

    def __init__(self, folder: Path, *options: str) -> None:
        command = [sys.executable, "-m", "vtrcli", "serve", "--device", "cpu", "--no-open", *options]
        self.process = subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True)
        self.said: list[str] = []
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said.append(line.rstrip("\n"))
            if found := re.search(r"ready in \d+\.\d s: (http://\S+/)", line):
                self.address = found[1]
                return
        self.process.communicate()
        raise AssertionError(self.said)

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(self.address.rstrip("/") + path, timeout=30) as answer:
            return json.load(answer)

    def end(self, number: int) -> int:
        self.process.send_signal(number)
        _, rest = self.process.communicate(timeout=30)
        self.said += rest.splitlines()
        return self.process.returncode


@pytest.fixture
def own(demo: Path, tmp_path: Path) -> Path:
    """A folder as `vtr demo` leaves it, with four of its videos."""
    (tmp_path / "videos").mkdir()
    for path in sorted((demo / "videos").glob("*.mp4"))[:4]:
        shutil.copy(path, tmp_path / "videos")
    vtr.extract(tmp_path / "videos", tmp_path / "store", backbone="demo", frames=12, device="cpu")
    shutil.copytree(demo / "runs", tmp_path / "runs")
    (tmp_path / "vtr.toml").write_text('store = "store"\nvideos = "videos"\n')
    return tmp_path


@pytest.mark.slow
def test_bare_in_the_demo_it_serves_the_newest_run_and_what_is_added(demo: Path, own: Path) -> None:
    served = Served(own, "--port", "0")
    try:
        assert served.said[0].startswith("store: 4 videos · demo · run runs/demo · ")
        assert served.get("/api/health")["stores"][0]["run"].endswith("runs/demo")
        assert served.get("/api/search?q=a%20red%20circle")["num_videos"] == 4
        shutil.copy(sorted((demo / "videos").glob("*.mp4"))[4], own / "videos")
        extract = [sys.executable, "-m", "vtrcli", "extract", "videos", "--device", "cpu", "--quiet"]
        subprocess.run(extract, cwd=own, check=True)
        end = time.monotonic() + 30
        while served.get("/api/search?q=a%20red%20circle")["num_videos"] < 5:
            assert time.monotonic() < end
            time.sleep(0.2)
        assert served.get("/api/openapi.json")["openapi"] == "3.1.0"
    finally:
        code = served.end(signal.SIGINT)
    assert (code, served.said[-1]) == (0, "no longer serving")


@pytest.mark.slow
def test_sigterm_ends_it_as_well_and_two_serve_one_store(own: Path) -> None:
    first = Served(own, "--port", "0", "--run", "none")
    second = Served(own, "--port", "0", "--run", "none")
    try:
        found = [each.get("/api/search?q=a%20circle")["results"] for each in (first, second)]
        assert found[0] == found[1]
    finally:
        codes = [each.end(signal.SIGTERM) for each in (first, second)]
    assert codes == [0, 0]


def test_no_store_at_all_is_an_error(tmp_path: Path) -> None:
    done = run("serve", "--store", str(tmp_path / "films"), "--port", "0")
    assert done.exit_code == 4
    assert "vtr extract FOLDER --store" in done.stderr


def test_the_browser_is_opened_at_a_desktop_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert serve.wants_page(True) and not serve.wants_page(False)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    for name in ("SSH_CONNECTION", "SSH_TTY", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    assert not serve.wants_page(None)
    monkeypatch.setenv("DISPLAY", ":0")
    assert serve.wants_page(None)
    monkeypatch.setenv("SSH_CONNECTION", "1 2 3 4")
    assert not serve.wants_page(None)
