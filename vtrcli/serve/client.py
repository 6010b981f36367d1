"""How `vtr search` asks a server that runs for the same store, and what both ends say to each other.

Internal, and no part of the API. The server listens at a Unix socket in the user's cache folder, in a folder that
nobody else can enter; its name is made of this machine and the store's real path. One JSON object a line: a greeting,
in which both tell what they are, then queries. Whoever finds anything amiss hangs up, and `vtr search` works alone.
No NumPy, no HTTP: a search by a server must cost less than they do.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import stat
import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from vtrcli import __version__
from vtrcli.errors import VtrError
from vtrcli.searching.query import Query, SearchSettings
from vtrcli.searching.results import SearchResult
from vtrcli.store.state import store_state

SILENCE_SECONDS = 1.0  # a server that works says so in between; one that says nothing hangs
LONGEST_SECONDS = 120.0  # for one answer, however often it says so
MAX_LINE_BYTES = 1 << 26
MAX_SOCKET_PATH = 103  # bytes, on macOS; Linux takes a few more
# What reading another's answer can raise: half a line, another type, a number that is none.
MISUNDERSTOOD = (OSError, ValueError, KeyError, TypeError, RecursionError, VtrError)


@dataclass(frozen=True, kw_only=True)
class Greeting:
    """What a client is and wants: `stores` as they were named, with their states.

    Attributes:
        run: the path of the run that is to rank, "none", or None for the newest of `runs` that fits.
        runs: the folder of runs.
        device: as it was asked for.
        folder: the working folder, from which names of videos are meant; `zone`: where dates are told.
    """

    version: str
    stores: tuple[str, ...]
    states: tuple[str, ...]
    run: str | None
    runs: str
    device: str
    folder: str
    zone: str | None


@dataclass(frozen=True, kw_only=True)
class Welcome:
    """What a server is. `states` are those that its answers rest on, `run` the path of the run that ranks; `note` says
    why a newer one does not."""

    version: str
    states: tuple[str, ...]
    run: str | None
    note: str | None


def greet(
    stores: Sequence[Path], *, run: str | None, runs: Path, device: str, silence: float = SILENCE_SECONDS
) -> Server | None:
    """A server of this user that answers for these stores as they are now; None where there is none, whyever."""
    try:
        states = tuple(store_state(store) for store in stores)
        connection = _connected(socket_path(stores[0]), silence)
    except OSError:
        return None
    greeting = Greeting(
        version=__version__,
        stores=tuple(map(str, stores)),
        states=states,
        run=None if run is None else run if run == "none" else os.path.abspath(run),
        runs=str(runs),
        device=device,
        folder=os.getcwd(),
        zone=os.environ.get("TZ"),
    )
    server = Server(connection, greeting, named_run=run)
    try:
        welcome: Welcome = made(Welcome, server.told(greeting))
        if welcome.version != __version__ or welcome.states != states:
            raise ValueError("another version, or another state of the store")
    except MISUNDERSTOOD:
        server.close()
        return None
    server.welcome = welcome
    return server


class Server:
    """An open connection to a server that answers for the stores of a greeting."""

    welcome: Welcome

    def __init__(self, connection: socket.socket, greeting: Greeting, *, named_run: str | None) -> None:
        self._connection, self._greeting, self._named_run = connection, greeting, named_run
        self._lines = Lines(connection)

    def search(self, query: Query, settings: SearchSettings) -> SearchResult | None:
        """What this process would find alone; None where the server cannot say, and after that always."""
        if self._lines.is_closed:
            return None
        try:
            images = tuple(_real_file(path) for path in query.images)
            body = self.told({"query": replace(query, images=images), "settings": settings})
            result: SearchResult = made(SearchResult, body)
            return self._as_named(result, query)
        except MISUNDERSTOOD:
            self.close()
            return None

    def told(self, words: object) -> Any:
        """Say something and wait for the answer. Raises one of MISUNDERSTOOD."""
        self._lines.write(words)
        return self._lines.read(time.monotonic() + LONGEST_SECONDS)

    def close(self) -> None:
        """Hang up."""
        self._lines.close()

    def _as_named(self, result: SearchResult, query: Query) -> SearchResult:
        """With the names that stores, run and pictures have here. Raises ValueError or KeyError where it cannot be."""
        names = dict(zip(result.stores, self._greeting.stores, strict=True))
        others = [there for there, here in names.items() if there != here]
        if any(there in note for there in others for note in result.notes):
            raise ValueError("a remark speaks of the store by another name")
        if not all(hit.moments for hit in result.hits):
            raise ValueError("a result without a moment")
        run = self.welcome.run
        return replace(
            result,
            query=query.describe(),
            stores=self._greeting.stores,
            run=run if run is None or self._named_run is None else self._named_run,
            hits=tuple(replace(hit, store=names[hit.store]) for hit in result.hits),
        )


class Lines:
    """JSON objects over a connection, one a line. An empty line says that somebody still works."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection, self._rest = connection, bytearray()
        self.is_closed = False

    def write(self, words: object) -> None:
        """Raises OSError."""
        self._connection.sendall(packed(words))

    def read(self, until: float) -> Any:
        """The next object; waits until a moment of `time.monotonic`, and between two bytes as long as the socket does.

        Raises:
            OSError: nothing came in time, or the other end hung up.
            ValueError: no JSON, or too much of it.
        """
        while True:
            end = self._rest.find(b"\n")
            if end > 0:
                line = bytes(self._rest[:end])
                del self._rest[: end + 1]
                return json.loads(line)
            if end == 0:
                del self._rest[:1]
                continue
            if len(self._rest) > MAX_LINE_BYTES:
                raise ValueError("a line without an end")
            if time.monotonic() > until:
                raise TimeoutError
            piece = self._connection.recv(1 << 20)
            if not piece:
                raise ConnectionResetError
            self._rest += piece

    def close(self) -> None:
        """Hang up."""
        self.is_closed = True
        self._connection.close()


def socket_path(store: Path) -> Path:
    """Where a server of this user listens for questions to a store."""
    import platformdirs

    # The home folder may be shared by machines; a socket is of one.
    place = json.dumps([socket.gethostname(), os.path.realpath(store)])
    name = hashlib.sha256(place.encode()).hexdigest()[:16]
    return platformdirs.user_cache_path("vtr", appauthor=False) / "servers" / f"{name}.sock"


def require_private(path: Path, is_kind: Callable[[int], bool]) -> None:
    """Raises PermissionError for a file that is of another kind, another user's, or open to others."""
    status = os.lstat(path)
    if not is_kind(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o077:
        raise PermissionError(f"{path} is not this user's alone")


def require_own_peer(connection: socket.socket) -> None:
    """Raises PermissionError where the system says that the other end is another user."""
    if hasattr(socket, "SO_PEERCRED"):
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        if struct.unpack("3i", credentials)[1] != os.geteuid():
            raise PermissionError("the other end is another user")


def _connected(path: Path, silence: float) -> socket.socket:
    """Raises OSError where nobody answers, or somebody who might be another user."""
    if not hasattr(socket, "AF_UNIX"):
        raise OSError("this system has no Unix sockets")
    require_private(path.parent, stat.S_ISDIR)
    require_private(path, stat.S_ISSOCK)
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.settimeout(silence)
        connection.connect(os.fspath(path))
        require_own_peer(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _real_file(path: Path) -> Path:
    """Where a picture lies, for another process. Raises OSError for a pipe or what only this process can open."""
    real = os.path.realpath(path)
    if not os.path.isfile(real) or real.startswith(("/proc/", "/dev/")):
        raise OSError(f"{path} is no regular file")
    return Path(real)


def packed(words: object) -> bytes:
    """A line of JSON in ASCII; floats and names lose nothing."""
    return json.dumps(words, default=_plain).encode("ascii") + b"\n"


def _plain(value: Any) -> Any:
    """What JSON does not know: a dataclass as its fields, a path as its text."""
    return os.fspath(value) if isinstance(value, os.PathLike) else vars(value)


def made(kind: Any, value: Any) -> Any:
    """A JSON value as what a field is declared to be: the reverse of `packed`.

    Raises:
        TypeError, KeyError, VtrError: it is something else, or has other fields.
    """
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        [other] = (each for each in inner if each is not type(None))
        return None if value is None else made(other, value)
    if origin is tuple and type(value) is list:
        return tuple(made(inner[0], each) for each in value)
    if origin is Literal and value in inner:
        return value
    if kind is Path and type(value) is str:
        return Path(value)
    if type(value) is dict and (fields := _fields(kind)).keys() == value.keys():
        return kind(**{name: made(hint, value[name]) for name, hint in fields.items()})
    if kind in (str, int, bool) and type(value) is kind:
        return value
    if kind is float and type(value) in (int, float):
        return value
    raise TypeError(f"{type(value).__name__} instead of {kind}")


@lru_cache
def _fields(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)
