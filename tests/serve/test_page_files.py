"""The page's files keep the rules that the content security policy enforces, and some that it cannot."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

import vtrcli

PAGE = Path(vtrcli.__file__).parent / "serve" / "page"
SCRIPTS = sorted((PAGE / "js").glob("*.js"))
FILES = sorted(path for path in PAGE.rglob("*") if path.suffix in (".html", ".css", ".js", ".svg"))
# Ways from a text to markup or to code.
MARKUP = (
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|createContextualFragment"
    r"|\beval\(|new Function"
)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_nothing_comes_from_elsewhere_and_no_text_becomes_markup(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not re.findall(r"(?:https?:)?//(?!www\.w3\.org/)[a-z0-9-]+\.[a-z]{2,}", text)
    assert not re.findall(MARKUP, text)
    if path.suffix == ".html":
        assert not re.findall(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", text)


def test_every_module_that_is_named_is_there() -> None:
    for path in SCRIPTS:
        for name in re.findall(r'from "(\./[^"]+)"', path.read_text(encoding="utf-8")):
            assert (path.parent / name).is_file(), f"{path.name} imports {name}"
    for name in re.findall(
        r'(?:href|src)="/page/([^"]+)"', (PAGE / "index.html").read_text(encoding="utf-8")
    ):
        assert (PAGE / name).is_file(), name


@pytest.mark.slow
@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_well_formed(path: Path) -> None:
    if shutil.which("node") is None:
        pytest.skip("node --check needs node, which is not on this machine")
    subprocess.run(["node", "--check", str(path)], check=True)
