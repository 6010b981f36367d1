"""Shared fixtures: where the test data lies, and tiny real videos made with recorded ffmpeg calls."""

from __future__ import annotations

import os
from pathlib import Path

# Models in tests are tiny: a second thread costs more than it brings, ten times more on a busy machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from hypothesis import settings

# No test is right or wrong by its speed: a busy machine takes any of them past hypothesis' 200 ms.
settings.register_profile("vtr", deadline=None)
settings.load_profile("vtr")


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of real videos, annotations and matrices; the test is skipped (and counted) without it."""
    value = os.environ.get("VTR_TEST_DATA")
    if not value:
        pytest.skip("VTR_TEST_DATA is not set")
    return Path(value)


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small demo folder: 24 drawn clips, a store with kept frames, a run of two epochs, captions.csv. What is changed
    in it must be put back."""
    from vtrcli.demo.demo import run_demo

    folder = tmp_path_factory.mktemp("demo")
    run_demo(folder, num_videos=24, epochs=2, num_workers=1)
    return folder


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No VTR_* setting of the machine reaches a test, and no test the user's cache folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
    for name in list(os.environ):
        if name.startswith("VTR_") and name != "VTR_TEST_DATA":
            monkeypatch.delenv(name)
