"""A port of this machine to listen at: the wanted one, or the next that is free."""

from __future__ import annotations

import errno
import os
import socket

from vtrcli.errors import UsageError

PORT = 8765
NUM_TRIED = 50  # ports above the first
_TAKEN = (errno.EADDRINUSE, errno.EACCES)


def listen(host: str, port: int | None) -> socket.socket:
    """A socket that is bound; without a `port` at PORT or the next one that is free, with 0 at any.

    Raises:
        UsageError: the port that was asked for is in use, or may not be used; no such address here.
    """
    family, address = _address(host)
    first = PORT if port is None else port
    bound = _bound(family, address, first)
    if bound is not None:
        return bound
    following = range(first + 1, min(first + NUM_TRIED, 65535) + 1)
    free = next((found for number in following if (found := _bound(family, address, number))), None)
    if free is not None and port is None:
        return free
    offer = (
        f"use --port {free.getsockname()[1]}, the next free one" if free else "use --port 0 for any free one"
    )
    if free is not None:
        free.close()
    raise UsageError(
        f"port {first} at {host} is in use"
        if first >= 1024
        else f"port {first} at {host} is in use or not allowed",
        allowed="a free port",
        to_do=offer,
    )


def _address(host: str) -> tuple[socket.AddressFamily, str]:
    try:
        family, _, _, _, where = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError) as cause:
        raise _no_address(host) from cause
    return family, str(where[0])


def _bound(family: socket.AddressFamily, address: str, port: int) -> socket.socket | None:
    """None where the port is taken. Raises UsageError where the address is not of this machine."""
    found = socket.socket(family, socket.SOCK_STREAM)
    if os.name != "nt":  # there it would share the port with another server
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((address, port))
        found.listen()  # two sockets may be bound to a port as long as none listens
        return found
    except OSError as cause:
        found.close()
        if cause.errno in _TAKEN:
            return None
        raise _no_address(address) from cause


def _no_address(host: str) -> UsageError:
    return UsageError(
        f"--host {host}: no address of this machine",
        allowed="127.0.0.1 for this machine alone, 0.0.0.0 for all its addresses, or one of them",
        to_do="correct --host",
    )
