"""The connection to a Milvus server or to a local milvus-lite file: opened, called and closed; every failure told.

pymilvus is an extra and takes half a second to import, so it is imported when a connection is made.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit, urlunsplit

from vtrcli.errors import StoreError, UsageError

TIMEOUT_SECONDS = 10.0
# Loading a collection into the memory of a cluster, or building milvus-lite's index, is waited for this much longer.
LOAD_TIMES_TIMEOUT = 30
LOCAL_SUFFIX = ".db"
MAX_REASON_CHARACTERS = 300
# "pymilvus" and two of its children have handlers of their own that write to stderr; what milvus-lite and the gRPC
# server that it runs in this process report ends up there too.
_LOGGERS = ("pymilvus", "pymilvus.milvus_client", "pymilvus.bulk_writer", "milvus_lite", "grpc._server")
_ADDRESSES = f"http://host:19530, https://host, or a local file that ends in {LOCAL_SUFFIX}"


class MilvusServer:
    """An open connection. `client` is a pymilvus.MilvusClient; calls go through `calling`, which names failures.

    Args:
        must_exist: refuse a local file that is not there yet instead of making it.
        timeout_seconds: bound of the connection and of each call.

    Raises:
        UsageError: pymilvus, or milvus-lite for a local file, is not installed.
        StoreError: a wrong address, nobody there, or a token that is not accepted.
    """

    def __init__(
        self,
        uri: str,
        *,
        token: str | None = None,
        must_exist: bool,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> None:
        self.name = shown(uri)
        self.is_local = not _is_address(uri)
        self.timeout_seconds = timeout_seconds
        self.load_timeout_seconds = timeout_seconds * LOAD_TIMES_TIMEOUT
        if self.is_local:
            _require_local(uri, must_exist=must_exist)
        else:
            _require_address(uri, self.name)
        pymilvus = import_pymilvus(local=self.is_local)
        # A proxy must not come between this process and its own milvus-lite.
        options = {"grpc_options": {"grpc.enable_http_proxy": 0}} if self.is_local else {}
        try:
            self.client: Any = pymilvus.MilvusClient(
                uri, token=token or "", timeout=timeout_seconds, dedicated=True, **options
            )
        except Exception as cause:  # pymilvus lets ValueError, gRPC's and its own errors through
            self._refuse_connection(cause)

    @contextlib.contextmanager
    def calling(self, doing: str) -> Iterator[Any]:
        """The client, for one call. `doing` completes "while": "searching"."""
        import grpc
        from pymilvus.exceptions import MilvusException

        try:
            yield self.client
        except (MilvusException, grpc.RpcError, grpc.FutureTimeoutError, ValueError, OSError) as cause:
            if _is_denied(cause):
                raise self._denied() from cause
            raise StoreError(
                f"Milvus at {self.name} failed while {doing}: {_reason(cause)}",
                allowed=f"a server that answers within {self.timeout_seconds:g} s",
                to_do="see that the server runs and is reachable, then run the command again",
            ) from cause

    def close(self) -> None:
        """Close the connection. A milvus-lite stays open until the process ends; it is started once per file."""
        with contextlib.suppress(Exception):
            self.client.close()

    def _refuse_connection(self, cause: Exception) -> NoReturn:
        if _is_denied(cause):
            raise self._denied() from cause
        if self.is_local:
            raise StoreError(
                f"cannot open {self.name} with milvus-lite: {_reason(cause)}",
                allowed="a database of milvus-lite 3 that no other process has open, in a writable folder",
                to_do="end the other process, or choose another file with --milvus",
            ) from cause
        raise StoreError(
            f"no Milvus server answers at {self.name} ({_reason(cause)})",
            allowed=f"an address where Milvus answers within {self.timeout_seconds:g} s",
            to_do="start the server, or correct --milvus",
        ) from cause

    def _denied(self) -> StoreError:
        return StoreError(
            f"Milvus at {self.name} does not accept the token",
            allowed="a token user:password, or an API key, of a user who may read and write the collections",
            to_do="correct the token, or ask whoever runs the server",
        )


def import_pymilvus(*, local: bool) -> Any:
    """The module pymilvus, silenced: no warnings while it is imported, no log lines on stderr.

    Raises:
        UsageError: it, or milvus-lite where `local`, is not installed or cannot be imported.
    """
    # gRPC's core writes to stderr by itself; it reads this once, when it is loaded.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    missing = "pymilvus"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import pymilvus

            if local:
                missing = "milvus-lite"
                import milvus_lite.server_manager  # noqa: F401
    except Exception as cause:  # ImportError, or what a damaged or mismatched installation raises
        detail = "is not installed" if isinstance(cause, ModuleNotFoundError) else f"cannot be used ({cause})"
        raise UsageError(
            f"--milvus needs {missing}, which {detail}",
            allowed="pymilvus, and milvus-lite for a local file",
            to_do='pip install "vtrcli[milvus]"',
        ) from cause
    for name in _LOGGERS:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    return pymilvus


def shown(uri: str) -> str:
    """The address as messages show it: without a password."""
    try:
        parts = urlsplit(uri)
    except ValueError:
        return uri
    if not parts.scheme or "@" not in parts.netloc:
        return uri
    return urlunsplit(parts._replace(netloc="…@" + parts.netloc.rpartition("@")[2]))


def _is_address(uri: str) -> bool:
    return "://" in uri or uri.startswith("unix:")


def _require_address(uri: str, name: str) -> None:
    try:
        parts = urlsplit(uri)
        fits = parts.scheme == "unix" or bool(parts.scheme in ("http", "https", "tcp") and parts.hostname)
        _ = parts.port  # ValueError where it is no port
    except ValueError:
        fits = False
    if not fits:
        raise StoreError(
            f"{name!r} is no address of a Milvus server", allowed=_ADDRESSES, to_do="correct --milvus"
        )


def _require_local(uri: str, *, must_exist: bool) -> None:
    path = Path(uri)
    if not uri.endswith(LOCAL_SUFFIX):
        raise StoreError(
            f"{uri!r} is no address of a Milvus server", allowed=_ADDRESSES, to_do="correct --milvus"
        )
    if not path.parent.is_dir():
        raise StoreError(
            f"the folder {path.parent} of the Milvus file {path.name} does not exist",
            allowed="a file in an existing folder",
            to_do="make the folder, or choose another file with --milvus",
        )
    if must_exist and not path.exists():
        raise StoreError(
            f"no Milvus file at {path}",
            allowed="a file that `vtr milvus push` made",
            to_do=f"make it with `vtr milvus push --milvus {path}`",
        )


def _is_denied(cause: BaseException) -> bool:
    """Whether the server refused who we are; pymilvus hides gRPC's code behind a cause."""
    import grpc

    denied = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)
    codes = [
        error.code()
        for error in _causes(cause)
        if isinstance(error, grpc.RpcError) and hasattr(error, "code")
    ]
    return any(code in denied for code in codes) or "auth check failure" in str(cause)


def _reason(cause: BaseException) -> str:
    """What went wrong, on one line: gRPC's reason where there is one, without the dump that pymilvus appends."""
    import grpc

    details = [
        str(error.details() or "")
        for error in _causes(cause)
        if isinstance(error, grpc.RpcError) and hasattr(error, "details")
    ]
    text = (
        next(filter(None, details), "") or str(getattr(cause, "message", "") or cause) or type(cause).__name__
    )
    text = re.sub(r"\s+", " ", text).strip()
    # Of "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:9: …" the rest says what happened.
    text = re.sub(r"^.*last error: \w+: (ipv[46]:\S+: )?", "", text)
    return text if len(text) <= MAX_REASON_CHARACTERS else text[:MAX_REASON_CHARACTERS] + "…"


def _causes(error: BaseException | None) -> list[BaseException]:
    """An exception, its cause, the cause of that, …; pymilvus raises some from themselves."""
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__
    return found
