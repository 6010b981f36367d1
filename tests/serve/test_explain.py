"""`/api/explain` tells what `searching.explain` finds, and what is wrong in three parts."""

from __future__ import annotations

from pathlib import Path

import pytest
from starlette.testclient import TestClient

from vtrcli.serve.app import make_app
from vtrcli.serve.library import Library


def test_with_a_run_the_parts_add_up_to_the_score_of_the_api(demo: Path) -> None:
    run = next(path.parent for path in (demo / "runs").glob("*/config.json"))
    library = Library([demo / "store"], choose_run=lambda store: run, device="cpu")
    client = TestClient(make_app(library), base_url="http://127.0.0.1:8765")
    query = "a red circle moves right"
    best = client.get("/api/search", params={"q": query}).json()["results"][0]
    body = client.get("/api/explain", params={"q": query, "id": best["video_id"]}).json()
    assert (body["schema"], body["command"], body["store"]) == (1, "explain", "store")
    assert body["score"] == pytest.approx(best["score"], abs=1e-4)
    assert sum(expert["contribution"] for expert in body["experts"]) == pytest.approx(best["score"], abs=2e-4)
    assert [word["stream"] for word in body["words"]] == [None, None, "entity", "action", None]


def test_without_a_run_and_what_is_wrong(client: TestClient) -> None:
    best = client.get("/api/search?q=a+red+circle").json()["results"][0]
    body = client.get("/api/explain", params={"q": "a red circle", "id": best["video_id"]}).json()
    assert body["experts"] == [] and max(body["frame_scores"]) == pytest.approx(best["score"], abs=1e-4)
    assert client.get("/api/explain?q=a&id=nothing").status_code == 404
    assert client.get("/api/explain?q=a").json()["error"]["came_in"] == "id is missing"
    empty = client.get("/api/explain", params={"q": " ", "id": best["video_id"]})
    assert empty.status_code == 400 and empty.json()["error"]["came_in"] == "a query of 0 characters"
