"""What is served, also of stores that cannot be opened, and how far an extraction is."""

from __future__ import annotations

from pathlib import Path

from starlette.testclient import TestClient

from vtrcli.serve.app import make_app
from vtrcli.serve.library import Library
from vtrcli.store.progress import ProgressFile


def test_health(client: TestClient, demo: Path) -> None:
    body = client.get("/api/health").json()
    assert (body["status"], body["num_videos"], body["stores"]) == (
        "ok",
        24,
        [
            {
                "name": "store",
                "store": str(demo / "store"),
                "num_videos": 24,
                "num_frames": 288,
                "backbone": "demo",
                "run": None,
                "has_bank": False,
                "kept_frames": True,
                "is_extracting": False,
                "progress": None,
                "error": None,
            }
        ],
    )


def test_a_store_that_cannot_be_opened_is_a_tab_that_says_why(demo: Path, tmp_path: Path) -> None:
    library = Library([demo / "store", tmp_path / "films"], device="cpu")
    with TestClient(make_app(library), base_url="http://127.0.0.1") as client:
        body = client.get("/api/health").json()
        assert (body["status"], [store["name"] for store in body["stores"]]) == (
            "degraded",
            ["store", "films"],
        )
        error = body["stores"][1]["error"]
        assert str(tmp_path / "films") in error["came_in"] and "vtr extract" in error["to_do"]
        answer = client.get("/api/search?q=a&store=films")
        assert (answer.status_code, answer.json()["error"]) == (409, error)
        assert client.get("/api/search?q=a").status_code == 200


def test_a_running_extraction_is_told(client: TestClient, demo: Path) -> None:
    file = ProgressFile(demo / "store")
    file.tell(3, 10, 1)
    try:
        store = client.get("/api/health").json()["stores"][0]
        assert store["is_extracting"]
        assert store["progress"] == {"num_done": 3, "num_total": 10, "num_failed": 1}
    finally:
        file.end()
    assert not client.get("/api/health").json()["stores"][0]["is_extracting"]
