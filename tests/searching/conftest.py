"""A small demo folder: 24 drawn clips, a store with kept frames, a run of two epochs, captions.csv."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from vtrcli.demo.run import run_demo


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Read it only; what changes it takes `own_demo`."""
    folder = tmp_path_factory.mktemp("demo")
    run_demo(folder, num_videos=24, epochs=2, num_workers=1)
    return folder


@pytest.fixture
def own_demo(demo: Path, tmp_path: Path) -> Path:
    """A copy of the store and the run, without what was derived. The videos stay where they are."""
    for name in ("store", "runs"):
        shutil.copytree(demo / name, tmp_path / name, ignore=shutil.ignore_patterns("index"))
    return tmp_path
