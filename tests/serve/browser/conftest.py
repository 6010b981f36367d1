"""Chromium by Playwright, before the demo's store as `vtr serve` serves it; without either, skipped aloud."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser import FLAGS, NAMES
from tests.serve.browser.served import HTML_NAME, Served, Visit, serving, visiting

if TYPE_CHECKING:
    from playwright.sync_api import Browser


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of them take more than a few seconds."""
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One for a module; each visit has a profile of its own. While it is open its event loop runs in this thread, so
    it may not outlive the module: whatever else runs one there would fail."""
    api = pytest.importorskip("playwright.sync_api", reason="the page's tests need playwright")
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip(f"no browser ({', '.join(NAMES)}) on this machine")
    with api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=program, args=list(FLAGS))
        yield opened
        opened.close()


@pytest.fixture(scope="session")
def served(demo: Path) -> Iterator[Served]:
    """The demo's store. Nothing may stop it: a test that needs to has its own."""
    with serving(demo / "store") as one:
        yield one


@pytest.fixture
def visit(browser: Browser, served: Served) -> Iterator[Visit]:
    """The page at its start, 1280 x 800, light."""
    with visiting(browser, served.url) as one:
        yield one.go()


@pytest.fixture(scope="session")
def several(demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The demo, a store whose one video has HTML for a name, and an empty one."""
    from vtrcli.api import extract
    from vtrcli.store.config import create_config, read_config

    folder = tmp_path_factory.mktemp("several")
    (folder / "videos").mkdir()
    shutil.copy(next((demo / "videos").glob("*.mp4")), folder / "videos" / HTML_NAME)
    extract([folder / "videos"], store=folder / "names", backbone="demo", device="cpu")
    create_config(folder / "empty", read_config(demo / "store"))
    with serving(demo / "store", folder / "names", folder / "empty") as one:
        yield one
