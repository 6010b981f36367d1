"""Searches of many clients share their work, and have the answers of one client alone."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.responses import Response
from starlette.testclient import TestClient
from starlette.types import Message

from vtrcli.searching.query import Query
from vtrcli.serve.batching import CLOSED, Client, HasLeftError, Searches, encode_for
from vtrcli.serve.library import Library


async def stays() -> Message:
    await asyncio.Event().wait()
    raise AssertionError("never")


async def leaves() -> Message:
    return {"type": "http.disconnect"}


def test_many_clients_at_once_get_what_one_alone_gets(client: TestClient) -> None:
    asked: list[dict[str, Any]] = [{"q": f"a shape that is {number} metres large"} for number in range(24)]
    asked[3] |= {"then": "a green arrow", "within": 5}
    asked[5] |= {"moments": 1, "top_k": 2}
    asked[7] |= {"not": "a circle"}
    asked[9] = {"q": "a circle", "like": "none.mp4"}  # no such video
    asked[11] = {"q": "a circle", "method": "dsl"}  # no bank
    with ThreadPoolExecutor(len(asked)) as pool:
        together = list(pool.map(lambda params: client.get("/api/search", params=params), asked))
    for params, answer in zip(asked, together, strict=True):
        alone = client.get("/api/search", params=params)
        assert answer.status_code == alone.status_code
        assert answer.json() | {"seconds": 0} == alone.json() | {"seconds": 0}
    failed = {number: answer for number, answer in enumerate(together) if answer.status_code != 200}
    assert {number: answer.status_code for number, answer in failed.items()} == {9: 400, 11: 409}


def test_a_search_whose_client_left_while_it_waited_is_not_begun() -> None:
    begun: list[str] = []

    async def run() -> list[str | Response]:
        searches, go = Searches(num_threads=1), threading.Event()

        def first(client: Client) -> str:
            begun.append("first")
            go.wait(10)
            return "found"

        def second(client: Client) -> str:
            begun.append("second")
            return "found"

        waiting = [
            asyncio.create_task(searches.run(first, stays)),
            asyncio.create_task(searches.run(second, leaves)),
        ]
        await asyncio.sleep(0.05)
        go.set()
        return await asyncio.gather(*waiting)

    found, left = asyncio.run(run())
    assert found == "found" and begun == ["first"]
    assert isinstance(left, Response) and left.status_code == CLOSED


def test_a_search_whose_client_leaves_meanwhile_goes_no_further_than_its_vector(library: Library) -> None:
    searcher = library.store().searcher
    client = Client()
    query = Query(text="a red circle")
    assert np.array_equal(encode_for(client, searcher, query).clip, searcher.encode(query).clip)
    client.has_left = True
    with pytest.raises(HasLeftError):
        encode_for(client, searcher, query)


def test_an_error_of_a_search_is_that_of_its_client() -> None:
    def broken(client: Client) -> str:
        raise ValueError("mine")

    async def run() -> str | Response:
        return await Searches().run(broken, stays)

    with pytest.raises(ValueError, match="mine"):
        asyncio.run(run())


@pytest.mark.parametrize("has_run", [False, True])
def test_a_warm_library_has_its_tower_and_its_run_before_the_first_query(
    own_demo: Path, has_run: bool
) -> None:
    run = next((own_demo / "runs").iterdir()) if has_run else None
    library = Library([own_demo / "store", own_demo / "none"], choose_run=lambda path: run, device="cpu")
    library.warm()  # the second store is none: that is told when it is asked
    towers = library.towers._loaded
    assert [tower for _, tower, _ in towers] == ["query"]
    searcher = library.store("store").searcher
    assert has_run == (searcher.run is not None and "heads" in vars(searcher.run))
    kept = own_demo / "store" / "index" / "queries"
    assert not kept.exists()  # nobody asked
    searcher.search("a red circle")
    assert len(towers) == 1
