"""Stores and runs that a test may change."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest


@pytest.fixture
def own_demo(demo: Path, tmp_path: Path) -> Path:
    """A copy of the store and the run, without what was derived. The videos stay where they are."""
    for name in ("store", "runs"):
        shutil.copytree(demo / name, tmp_path / name, ignore=shutil.ignore_patterns("index"))
    return tmp_path
