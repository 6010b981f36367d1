"""Searches on threads of their own, so that those of many clients meet and share their work.

Three parts, each simple. The event loop, one thread, reads requests and writes answers and never computes. The guard
lets so many requests in, lets as many wait in the order in which they came, and answers 503 to the rest
(`guard.Limits`). A search then has a thread from its beginning to its end: it is the same search as everywhere, with
its own filters, corrections, pictures and errors. Where threads want the same thing, a text through the tower or a pass
over the frames, one of them does it for all that wait (`searching.scores.Together`); the first never waits for company.

A search whose client has left is not begun, and one that only has its vector is not compared with the frames.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

import anyio
from anyio.to_thread import run_sync
from starlette.responses import Response
from starlette.types import Receive

from vtrcli.searching.query import Query, QueryVectors
from vtrcli.searching.searcher import Searcher

# As many as the guard lets in: a file that is sent or a picture that is made has threads elsewhere.
NUM_THREADS = 64
CLOSED = 499  # what servers write into their logs for a client that closed the request

_T = TypeVar("_T")


class HasLeftError(Exception):
    """The client closed the connection: nobody waits for the answer."""


class Client:
    """Who asked, as the thread of its search sees it."""

    has_left = False

    def require(self) -> None:
        """Raises HasLeftError where nobody waits any more."""
        if self.has_left:
            raise HasLeftError


class Searches:
    """The threads of the searches of one server."""

    def __init__(self, *, num_threads: int = NUM_THREADS) -> None:
        self._threads = anyio.CapacityLimiter(num_threads)

    async def run(self, work: Callable[[Client], _T], receive: Receive) -> _T | Response:
        """What `work` returns, on a thread; raises what it raises. To who has left, an empty answer that nobody reads.

        Args:
            work: looks at its client where what comes next is worth a look.
            receive: of the request, whose body was read.
        """
        client = Client()
        watch = asyncio.create_task(_watch(client, receive))

        def begun() -> _T:
            client.require()
            return work(client)

        try:
            return await run_sync(begun, limiter=self._threads)
        except HasLeftError:
            return Response(status_code=CLOSED)
        finally:
            watch.cancel()


async def _watch(client: Client, receive: Receive) -> None:
    """After its body only a client's leaving can come."""
    while (await receive())["type"] != "http.disconnect":
        pass
    client.has_left = True


def encode_for(client: Client, searcher: Searcher, query: Query) -> QueryVectors:
    """`Searcher.encode` for a client that may leave: looked at between the tower and the frames."""
    vectors = searcher.encode(query)
    client.require()
    return vectors
