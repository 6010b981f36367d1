"""What the API answers is what `vtr search --json` prints, and what is wrong is told in three parts."""

from __future__ import annotations

from pathlib import Path

from starlette.testclient import TestClient

import vtrcli as vtr


def test_search_answers_what_the_library_answers(client: TestClient, demo: Path) -> None:
    body = client.get("/api/search", params={"q": "a red circle", "top_k": 3}).json()
    alone = vtr.search("a red circle", demo / "store", top_k=3, device="cpu").to_json()
    assert {key: body[key] for key in alone if key != "results"} == {
        key: value for key, value in alone.items() if key != "results"
    }
    assert [{key: row[key] for key in alone["results"][0]} for row in body["results"]] == alone["results"]
    assert body["schema"] == 1 and body["command"] == "search"
    assert body == client.post("/api/search", json={"q": "a red circle", "top_k": 3}).json() | {
        "seconds": body["seconds"]
    }


def test_what_is_wrong_is_told_in_three_parts(client: TestClient) -> None:
    answer = client.get("/api/search", params={"q": "a red circle", "topk": 3})
    assert answer.status_code == 400
    assert answer.json() == {
        "schema": 1,
        "error": {
            "came_in": "topk is no parameter here",
            "allowed": "image, like, method, min_relevance, missing, moments, not, per_video, plus, q, store, then, "
            "top_k, within",
            "to_do": "did you mean top_k?",
        },
    }
    assert client.get("/api/search?q=a&top_k=500").json()["error"]["came_in"] == "top_k is 500"
    assert client.get("/api/search?q=a&store=b").status_code == 404
    assert client.get("/api/nothing").status_code == 404
    assert client.post("/api/health").status_code == 405


def test_health(client: TestClient, demo: Path) -> None:
    body = client.get("/api/health").json()
    assert body["status"] == "ok" and body["num_videos"] == 24
    assert body["stores"][0]["name"] == "store"
    assert body["stores"][0]["store"] == str(demo / "store")
