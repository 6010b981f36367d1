"""Shared fixtures: where the test data lies, and tiny real videos made with recorded ffmpeg calls."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

# Models in tests are tiny: a second thread costs more than it brings, ten times more on a busy machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from vtrcli.store.reader import FeatureStore

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
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny CLIP's random weights, a file for `--backbone`. Nothing may write to it."""
    from tests.model.tiny_clip import write_tiny_clip

    return str(write_tiny_clip(tmp_path_factory.mktemp("weights") / "tiny.safetensors"))


@pytest.fixture
def tiny_store(weights: str, tmp_path: Path) -> FeatureStore:
    """store/ with the two frames of videos/a.mp4 by these weights, and the frames themselves."""
    from tests.video_files import make_video
    from vtrcli.extraction.extract import extract
    from vtrcli.store.reader import FeatureStore
    from vtrcli.video.sampling import Uniform

    (tmp_path / "videos").mkdir()
    make_video(tmp_path / "videos" / "a.mp4", seconds=0.5)
    extract(
        [tmp_path / "videos"],
        store=tmp_path / "store",
        backbone=weights,
        sampling=Uniform(num_frames=2),
        device="cpu",
        keep_frames=True,
    )
    return FeatureStore(tmp_path / "store")


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small demo folder: 24 drawn clips, a store with kept frames, a run of two epochs, captions.csv. What is changed
    in it must be put back."""
    from vtrcli.demo.demo import run_demo

    folder = tmp_path_factory.mktemp("demo")
    run_demo(folder, num_videos=24, epochs=2, num_workers=1)
    return folder


@pytest.fixture
def own_demo(demo: Path, tmp_path: Path) -> Path:
    """A copy of the store and the run, without what was derived. The videos stay where they are."""
    for name in ("store", "runs"):
        shutil.copytree(demo / name, tmp_path / name, ignore=shutil.ignore_patterns("index"))
    return tmp_path


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No VTR_* setting of the machine reaches a test, and no test the user's cache folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
    for name in list(os.environ):
        if name.startswith("VTR_") and name != "VTR_TEST_DATA":
            monkeypatch.delenv(name)
