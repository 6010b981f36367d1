"""The demo's store behind the application, without a network; without the extra `serve`, skipped aloud."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from vtrcli.serve.library import Library

if TYPE_CHECKING:
    from starlette.testclient import TestClient


class ServeModule(pytest.Module):
    """Skipped before it is imported where the extra is missing; a skip in this file would end pytest itself."""

    def collect(self) -> Iterable[pytest.Item | pytest.Collector]:
        """Its tests."""
        pytest.importorskip("starlette", reason="vtr serve needs the extra serve")
        return super().collect()


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module:
    """Of all tests of this room."""
    module: pytest.Module = ServeModule.from_parent(parent, path=module_path)
    return module


@pytest.fixture(scope="session")
def library(demo: Path) -> Library:
    """The demo's store, ranked by plain CLIP."""
    return Library([demo / "store"], device="cpu")


@pytest.fixture
def client(library: Library) -> Iterator[TestClient]:
    """Asks the application as its page does; a bug is an answer with status 500."""
    from starlette.testclient import TestClient

    from vtrcli.serve.access import access_at
    from vtrcli.serve.app import make_app

    access = access_at("127.0.0.1")
    with TestClient(
        make_app(library, access=access),
        base_url="http://127.0.0.1:8765",
        headers={"x-vtr-secret": access.secret},
        raise_server_exceptions=False,
    ) as asked:
        yield asked
