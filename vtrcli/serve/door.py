"""Where a server answers `vtr search` of the same user: `vtrcli.serve.client` has the other end, and what is said."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from vtrcli import __version__
from vtrcli.model.runs import newest_fitting_run
from vtrcli.searching.query import Query, SearchSettings
from vtrcli.searching.results import SearchResult
from vtrcli.searching.run import run_key
from vtrcli.searching.several import StoresSearcher
from vtrcli.serve.client import (
    MAX_SOCKET_PATH,
    MISUNDERSTOOD,
    SILENCE_SECONDS,
    Greeting,
    Welcome,
    made,
    packed,
    require_own_peer,
    require_private,
    socket_path,
)
from vtrcli.serve.library import Library, OpenedStore
from vtrcli.store.state import store_state

MAX_CLIENTS = 32  # at once; others work alone
MAX_SEARCHES = 4
MAX_QUESTION_BYTES = 1 << 21
IDLE_SECONDS = 600.0  # between two queries of `vtr search --queries -`
WRITE_SECONDS = 30.0
SIGN_OF_LIFE_SECONDS = SILENCE_SECONDS / 4

_T = TypeVar("_T")
Answer = Callable[[Query, SearchSettings], SearchResult]


class Refused(ValueError):
    """Why a client has to work alone."""


@contextlib.contextmanager
def open_door(library: Library) -> Iterator[Door]:
    """Answer `vtr search` until the block ends."""
    door = Door(library)
    try:
        yield door
    finally:
        door.close()


class Door:
    """Sockets for the stores of a library, and a thread that answers there. A store for which another server answers
    already, or for which no socket can be made, is left out.

    Attributes:
        paths: of the sockets.
        num_answers: how many queries were answered.
    """

    def __init__(self, library: Library) -> None:
        self.paths: list[Path] = []
        self.num_answers = 0
        self._library = library
        self._pool = ThreadPoolExecutor(MAX_SEARCHES, "vtr-door")
        self._together: tuple[tuple[str, ...], StoresSearcher] | None = None
        self._num_clients = 0
        self._is_ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        if hasattr(socket, "AF_UNIX"):
            self._thread.start()
            self._is_ready.wait()

    def close(self) -> None:
        """Answer no more; who waits is hung up on."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._end.set)
            self._thread.join()
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _serve(self) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        async with contextlib.AsyncExitStack() as stack:
            try:
                for store in self._library.paths.values():
                    with contextlib.suppress(OSError):
                        path = socket_path(store)
                        bound = stack.enter_context(_bound(path))
                        server = await asyncio.start_unix_server(
                            self._met, sock=bound, limit=MAX_QUESTION_BYTES
                        )
                        stack.callback(server.close)
                        self.paths.append(path)
            finally:  # whatever it is: nobody waits for a door that stays shut
                self._is_ready.set()
            await self._end.wait()

    async def _met(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client, from its greeting on."""
        self._num_clients += 1
        try:
            if self._num_clients > MAX_CLIENTS:
                return
            require_own_peer(writer.get_extra_info("socket"))
            greeting: Greeting = made(Greeting, await _question(reader))
            answer, welcome = await self._working(writer, lambda: self._welcome(greeting))
            await _say(writer, welcome)
            while True:
                asked = await _question(reader)
                query, settings = made(Query, asked["query"]), made(SearchSettings, asked["settings"])
                if greeting.folder != os.getcwd() and not all(map(os.path.isabs, query.like)):
                    raise Refused("a video is named from another folder")
                result = await self._working(writer, partial(answer, query, settings))
                self.num_answers += 1
                await _say(writer, result)
        except (*MISUNDERSTOOD, asyncio.CancelledError):
            pass  # hung up on, it works alone and tells its user itself what is wrong
        finally:
            self._num_clients -= 1
            writer.close()

    async def _working(self, writer: asyncio.StreamWriter, work: Callable[[], _T]) -> _T:
        """What some work gives, done in a thread; the client hears meanwhile that it has not been forgotten."""
        result = self._loop.run_in_executor(self._pool, work)
        while not (await asyncio.wait([result], timeout=SIGN_OF_LIFE_SECONDS))[0]:
            await _send(writer, b"\n")
        return result.result()

    def _welcome(self, greeting: Greeting) -> tuple[Answer, Welcome]:
        """What answers. Raises Refused where a client alone might answer otherwise."""
        if greeting.version != __version__ or greeting.device != self._library.device:
            raise Refused("another version or device")
        if greeting.zone != os.environ.get("TZ"):
            raise Refused("dates are told otherwise")
        opened = [self._opened(store) for store in greeting.stores]
        states = tuple(store.state for store in opened)
        if states != greeting.states:
            raise Refused("a store is in another state")
        run, note = self._run(greeting, opened[0])
        for store in opened:
            ranks = store.searcher.run
            if (None if ranks is None else ranks.key) != (None if run is None else run_key(Path(run))):
                raise Refused("another run ranks")
        welcome = Welcome(version=__version__, states=states, run=run, note=note)
        if len(opened) == 1:
            return opened[0].searcher.search, welcome
        return self._of_several(opened).search, welcome

    def _run(self, greeting: Greeting, opened: OpenedStore) -> tuple[str | None, str | None]:
        """The run that is to rank, and why a newer one does not."""
        if greeting.run is not None:
            return (None if greeting.run == "none" else greeting.run), None
        backbone = opened.catalog.config.backbone
        run, why = newest_fitting_run(Path(greeting.runs), Path(greeting.stores[0]), backbone)
        return (None if run is None else str(run)), why

    def _of_several(self, opened: list[OpenedStore]) -> StoresSearcher:
        """The last one is kept."""
        states = tuple(store.state for store in opened)
        if self._together is None or self._together[0] != states:
            searcher = StoresSearcher(
                [store.path for store in opened],
                run=opened[0].searcher.run,
                device=self._library.device,
                towers=self._library.towers,
            )
            if tuple(store_state(store.path) for store in opened) != states:
                raise Refused("a store has just changed")
            self._together = states, searcher
        return self._together[1]

    def _opened(self, path: str) -> OpenedStore:
        real = os.path.realpath(path)
        for name, known in self._library.paths.items():
            if os.path.realpath(known) == real:
                return self._library.store(name)
        raise Refused("a store is not served")


async def _question(reader: asyncio.StreamReader) -> Any:
    """The next thing that a client says. Raises OSError or ValueError for silence, the end, or what is no JSON."""
    line = await asyncio.wait_for(reader.readline(), IDLE_SECONDS)
    if not line.endswith(b"\n"):
        raise ConnectionResetError
    return json.loads(line)


async def _say(writer: asyncio.StreamWriter, words: object) -> None:
    await _send(writer, packed(words))


async def _send(writer: asyncio.StreamWriter, body: bytes) -> None:
    """Raises OSError where the client is gone or does not read."""
    writer.write(body)
    await asyncio.wait_for(writer.drain(), WRITE_SECONDS)


@contextlib.contextmanager
def _bound(path: Path) -> Iterator[socket.socket]:
    """A socket at a path, which is taken away afterwards unless it is another's by then.

    Raises:
        OSError: another server answers there, or it cannot be made.
    """
    if len(os.fsencode(path)) > MAX_SOCKET_PATH - len(".12345678"):
        raise OSError(f"{path} is too long for a socket")
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    require_private(path.parent, stat.S_ISDIR)
    if _answers(path):
        raise FileExistsError(path)
    aside = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(os.fspath(aside))
        try:
            os.chmod(aside, 0o600)
            made_here = os.stat(aside).st_ino
            os.replace(aside, path)  # over what a killed server left
        except OSError:
            os.unlink(aside)
            raise
        try:
            yield bound
        finally:
            with contextlib.suppress(OSError):
                if os.lstat(path).st_ino == made_here:
                    os.unlink(path)


def _answers(path: Path) -> bool:
    """Whether somebody listens there."""
    with socket.socket(socket.AF_UNIX) as asking:
        asking.settimeout(SILENCE_SECONDS)
        try:
            asking.connect(os.fspath(path))
        except OSError:
            return False
        return True
