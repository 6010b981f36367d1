"""What is handed out: the wheel is typed and whole, the source distribution holds what explains and checks it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

PROJECT = Path(__file__).parent.parent
NOT_SOURCES = (
    ".venv",
    ".git",
    "__pycache__",
    "demo",
    "runs",
    "build",
    "dist",
    "*.egg-info",
    ".*_cache",
    ".hypothesis",
)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a source distribution and a wheel."""
    pytest.importorskip("setuptools", minversion="77")
    folder = tmp_path_factory.mktemp("built")
    shutil.copytree(PROJECT, folder / "tree", ignore=ignored)
    build = "from setuptools import build_meta as b; b.build_sdist('..'); b.build_wheel('..')"
    subprocess.run([sys.executable, "-c", build], cwd=folder / "tree", check=True, capture_output=True)
    return folder


def ignored(folder: str, names: list[str]) -> set[str]:
    """`demo` at the top is what `make demo` left; vtrcli/demo is a room."""
    found = shutil.ignore_patterns(*NOT_SOURCES)(folder, names)
    return found - {"demo"} if Path(folder) != PROJECT else found


@pytest.mark.slow
def test_the_source_distribution_holds_docs_examples_tests_and_benchmarks(built: Path) -> None:
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    tracked = [
        path.relative_to(built / "tree").as_posix()
        for room in ("docs", "examples", "tests", "tools", "benchmarks", "vtrcli")
        for path in (built / "tree" / room).rglob("*")
        if path.is_file() and path.suffix in (".py", ".md", ".sh", ".safetensors", ".typed", ".css")
    ]
    assert [name for name in tracked if name not in names] == []
    assert {
        "README.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "LICENSE",
        "Makefile",
        "constraints.txt",
        ".ci/run",
    } <= names


@pytest.mark.slow
def test_the_wheel_is_typed_and_holds_the_demos_weights_and_nothing_else(built: Path) -> None:
    with zipfile.ZipFile(next(built.glob("*.whl"))) as archive:
        names = set(archive.namelist())
    assert {"vtrcli/py.typed", "vtrcli/demo/demo_clip.safetensors"} <= names
    styles = {path.relative_to(PROJECT).as_posix() for path in (PROJECT / "vtrcli").rglob("*.css")}
    assert styles and styles <= names
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"vtrcli"}


def as_numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def test_every_pin_stands_within_the_range_that_pyproject_allows() -> None:
    """A constraint that pyproject forbids would make the installation fail on that Python alone."""
    pins = dict(re.findall(r"^([\w-]+)==([\d.]+)", (PROJECT / "constraints.txt").read_text(), flags=re.M))
    floors = re.findall(r'"([\w-]+)>=([\d.]+)', (PROJECT / "pyproject.toml").read_text())
    for name, floor in floors:
        if name in pins:
            assert as_numbers(pins[name]) >= as_numbers(floor), name
