"""The list of videos goes on where it stopped, and a video's facts are those of the store."""

from __future__ import annotations

from urllib.parse import quote

from starlette.testclient import TestClient

from vtrcli.serve.library import Library


def test_the_list_is_whole_page_by_page(client: TestClient, library: Library) -> None:
    found, token = [], None
    while True:
        body = client.get(
            "/api/videos", params={"top_k": 7, **({"page_token": token} if token else {})}
        ).json()
        found += body["videos"]
        token = body["next_page_token"]
        if token is None:
            break
    assert [row["video_id"] for row in found] == sorted(library.store().catalog.ids.all())
    assert body["num_videos"] == len(found) == 24
    assert found[0]["num_frames"] == 12 and found[0]["num_bytes"] > 0


def test_a_video_has_its_facts_and_with_a_query_its_moments(client: TestClient) -> None:
    best = client.get("/api/search?q=a red circle&top_k=1").json()["results"][0]
    plain = client.get(best["video"]).json()
    assert (plain["width"], plain["height"], plain["codec"], plain["state"]) == (128, 128, "h264", "there")
    assert (plain["moments"], plain["strip"], plain["path"]) == ([], None, best["path"])
    # A search's address may be used as it is.
    asked = client.get(f"{best['video']}&q=a red circle&top_k=3&strips=1&moments=1").json()
    assert asked["moments"][: len(best["moments"])] == best["moments"]
    assert max(asked["strip"]) == 100


def test_an_id_may_hold_anything(client: TestClient) -> None:
    for strange in ("no such", "a/b", "../../etc/passwd", "ü\n", "%", "a?b"):
        answer = client.get(f"/api/videos/{quote(strange, safe='')}")
        assert answer.status_code == 404
        assert answer.json()["error"]["came_in"] == f"no video {strange!r} in store store"
