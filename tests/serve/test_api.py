"""What the API answers is what `vtr search --json` prints, and what is wrong is told in three parts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

import vtrcli as vtr
from vtrcli.searching.results import Hit
from vtrcli.serve.api import word_of
from vtrcli.serve.app import make_app
from vtrcli.serve.library import Library

NUM_VIDEOS = 24


def alone(demo: Path, query: Any, **how: Any) -> dict[str, Any]:
    return vtr.search(query, demo / "store", device="cpu", **how).to_json()


def test_search_answers_what_the_library_answers(client: TestClient, demo: Path) -> None:
    body = client.get("/api/search", params={"q": "a red circle", "top_k": 3}).json()
    expected = alone(demo, "a red circle", top_k=3)
    rows = expected.pop("results")
    assert expected.items() <= body.items()
    assert [row.items() <= shown.items() for row, shown in zip(rows, body["results"], strict=True)] == [
        True
    ] * 3
    assert (body["schema"], body["command"]) == (1, "search")
    first = body["results"][0]
    at = f"/api/videos/{first['video_id']}"
    assert first["video"] == f"{at}?store=store"
    assert first["thumbnail"] == f"{at}/thumbnail?t={first['peak_seconds']:g}&store=store"


QUERIES: list[tuple[dict[str, Any], Any, dict[str, Any]]] = [
    ({"q": "a red circle", "moments": 1, "per_video": 1}, "a red circle", {"moments": True, "per_video": 1}),
    (
        {"q": "a circle", "plus": ["red", "blue"], "not": "a square", "weights": "1,2,0.5,1"},
        vtr.Query(text="a circle", plus=("red", "blue"), minus=("a square",), weights=(1, 2, 0.5, 1)),
        {},
    ),
    (
        {"q": "a red circle", "then": ["a circle"], "within": 2.5},
        vtr.Query(text="a red circle", then=("a circle",), within_seconds=2.5),
        {},
    ),
    (
        {"q": "a circle", "path": ["slide*", "jump*"], "min_duration": "0:01", "max_size": "1MB"},
        "a circle",
        {"filters": vtr.Filters(paths=("slide*", "jump*"), min_duration_seconds=1, max_bytes=1_000_000)},
    ),
    ({"q": "a circle", "score": "mean"}, "a circle", {"score": "mean"}),
]


@pytest.mark.parametrize(("parameters", "query", "how"), QUERIES)
def test_each_parameter_means_what_the_option_means(
    client: TestClient, demo: Path, parameters: dict[str, Any], query: Any, how: dict[str, Any]
) -> None:
    body = client.get("/api/search", params=parameters).json()
    expected = alone(demo, query, **how)
    assert body["query"] == expected["query"]
    assert body["num_videos"] == expected["num_videos"]
    assert [(row["video_id"], row["score"], row["start_seconds"]) for row in body["results"]] == [
        (row["video_id"], row["score"], row["start_seconds"]) for row in expected["results"]
    ]


def test_a_body_in_json_takes_the_same(client: TestClient) -> None:
    parameters = {"q": "a circle", "not": ["a square"], "weights": [2, 1], "moments": True, "top_k": 4}
    by_body = client.post("/api/search", json=parameters)
    by_address = client.get("/api/search", params={**parameters, "weights": "2,1"})
    assert by_body.json()["results"] == by_address.json()["results"]


def test_what_looks_like_a_place_in_a_video(client: TestClient, demo: Path) -> None:
    some = client.get("/api/videos", params={"top_k": 1}).json()["videos"][0]["video_id"]
    body = client.get("/api/similar", params={"id": some, "t": 1.0, "top_k": 4}).json()
    expected = alone(demo, vtr.Query(like=(f"{some}@1.0",)), top_k=4)
    assert [row["video_id"] for row in body["results"]] == [row["video_id"] for row in expected["results"]]
    assert client.get("/api/similar", params={"id": "nothing"}).status_code == 404


def test_strips_are_the_score_over_the_whole_length(client: TestClient) -> None:
    body = client.get("/api/search", params={"q": "a red circle", "top_k": 5, "strips": 1}).json()
    strips = [row["strip"] for row in body["results"]]
    assert max(map(max, strips)) == 100 and min(map(min, strips)) == 0
    for row, strip in zip(body["results"], strips, strict=True):
        assert 1 <= len(strip) <= 120
        # The hottest part holds the moment's peak.
        part = int(row["peak_seconds"] / row["duration_seconds"] * len(strip))
        assert strip[min(part, len(strip) - 1)] == max(strip)
    assert "strip" not in client.get("/api/search?q=a").json()["results"][0]


@pytest.mark.parametrize(
    ("relevance", "word"),
    [
        (None, None),
        (4.0, "strong"),
        (3.9, "good"),
        (3.0, "good"),
        (2.5, "fair"),
        (2.4, "weak"),
        (-1.0, "weak"),
    ],
)
def test_a_word_for_a_score_needs_a_bank(relevance: float | None, word: str | None) -> None:
    hit = Hit(rank=1, video_id="a", path="", score=0.3, moments=(), is_missing=False, relevance=relevance)
    assert word_of(hit) == word


def all_pages(client: TestClient, parameters: dict[str, Any], *, most: int = 60) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    token = None
    for _ in range(most):
        body = client.get(
            "/api/search", params={**parameters, **({"page_token": token} if token else {})}
        ).json()
        rows += body["results"]
        token = body["next_page_token"]
        if token is None:
            return rows
    raise AssertionError("there is no end")


@settings(max_examples=10)
@given(
    text=st.sampled_from(["a red circle", "a square jumps", "nothing at all"]),
    top_k=st.integers(3, 30),
    kind=st.sampled_from([{}, {"moments": 1}, {"moments": 1, "per_video": 1}, {"then": "a circle"}]),
)
def test_all_pages_together_are_the_long_answer(
    text: str, top_k: int, kind: dict[str, Any], library: Library
) -> None:
    with TestClient(make_app(library), base_url="http://127.0.0.1:8765") as client:
        rows = all_pages(client, {"q": text, "top_k": top_k, **kind})
        whole = client.get("/api/search", params={"q": text, "top_k": 200, **kind}).json()
    assert rows == whole["results"]
    assert whole["next_page_token"] is None


def test_a_token_belongs_to_its_search(client: TestClient) -> None:
    body = client.get("/api/search", params={"q": "a circle", "top_k": 2}).json()
    token = body["next_page_token"]
    for parameters in ({"q": "a square", "top_k": 2}, {"q": "a circle", "top_k": 3}):
        answer = client.get("/api/search", params={**parameters, "page_token": token})
        assert answer.status_code == 400
        assert answer.json()["error"]["came_in"] == "a page_token of another search"
    for wrong in ("", "x", token[:-4], "WzFd"):
        answer = client.get("/api/search", params={"q": "a circle", "top_k": 2, "page_token": wrong})
        assert answer.json()["error"]["came_in"] == "a page_token that is none", wrong


WRONG: list[tuple[str, int, dict[str, str]]] = [
    (
        "/api/health?topk=3",
        400,
        {"came_in": "topk is no parameter here", "allowed": "no parameters", "to_do": "leave it out"},
    ),
    (
        "/api/search?q=a&top_k=500",
        400,
        {
            "came_in": "top_k is 500",
            "allowed": "less than or equal to 200",
            "to_do": "correct it; /api/openapi.json describes every parameter",
        },
    ),
    (
        "/api/search?q=a&q=b",
        400,
        {"came_in": "q comes twice", "allowed": "it has one value", "to_do": "keep one"},
    ),
    (
        "/api/search?q=a&min_size=large",
        400,
        {
            "came_in": "min_size 'large'",
            "allowed": "bytes, or a number with kB, MB, GB or TB",
            "to_do": "write `min_size 20MB`",
        },
    ),
    (
        "/api/search?q=a&store=films",
        404,
        {"came_in": "no store 'films' here", "allowed": "store", "to_do": "name one of these"},
    ),
    (
        "/api/nothing",
        404,
        {
            "came_in": "GET /api/nothing: not found",
            "allowed": "the addresses and methods of /api/openapi.json",
            "to_do": "correct the address",
        },
    ),
]


@pytest.mark.parametrize(("address", "status", "error"), WRONG)
def test_what_is_wrong_is_told_in_three_parts(
    client: TestClient, address: str, status: int, error: dict[str, str]
) -> None:
    answer = client.get(address)
    assert (answer.status_code, answer.json()) == (status, {"schema": 1, "error": error})


def test_a_near_miss_is_named(client: TestClient) -> None:
    assert client.get("/api/search?q=a&topk=3").json()["error"]["to_do"] == "did you mean top_k?"


def test_a_correction_without_a_bank_is_no_fault_of_the_server(client: TestClient) -> None:
    answer = client.get("/api/search?q=a&method=nnn")
    assert answer.status_code == 409
    assert "vtr bank build" in answer.json()["error"]["to_do"]


@pytest.mark.parametrize("kind", [{}, {"moments": 1}, {"then": "a circle"}])
def test_pages_of_a_run_are_its_long_answer_too(demo: Path, kind: dict[str, Any]) -> None:
    library = Library([demo / "store"], choose_run=lambda path: next((demo / "runs").iterdir()), device="cpu")
    with TestClient(make_app(library), base_url="http://127.0.0.1:8765") as client:
        rows = all_pages(client, {"q": "a red circle", "top_k": 5, **kind})
        whole = client.get("/api/search", params={"q": "a red circle", "top_k": 200, **kind}).json()
    assert whole["run"] == str(next((demo / "runs").iterdir()))
    assert rows == whole["results"]
