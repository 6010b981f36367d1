"""The demo's store behind the application, without a network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("starlette", reason="vtr serve needs the extra serve")

from starlette.testclient import TestClient

from vtrcli.serve.access import access_at
from vtrcli.serve.app import make_app
from vtrcli.serve.library import Library


@pytest.fixture(scope="session")
def library(demo: Path) -> Library:
    """The demo's store, ranked by plain CLIP."""
    return Library([demo / "store"], device="cpu")


@pytest.fixture
def client(library: Library) -> Iterator[TestClient]:
    """Asks the application as its page does; a bug is an answer with status 500."""
    access = access_at("127.0.0.1")
    with TestClient(
        make_app(library, access=access),
        base_url="http://127.0.0.1:8765",
        headers={"x-vtr-secret": access.secret},
        raise_server_exceptions=False,
    ) as asked:
        yield asked
