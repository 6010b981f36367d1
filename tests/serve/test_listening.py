"""The next free port is taken where none was asked for, and offered where one was."""

from __future__ import annotations

import socket

import pytest

from vtrcli.errors import UsageError
from vtrcli.serve import listening
from vtrcli.serve.listening import listen


@pytest.fixture
def taken() -> socket.socket:
    return listen("127.0.0.1", 0)


def test_a_port_in_use_is_an_error_that_offers_the_next_free_one(taken: socket.socket) -> None:
    port = taken.getsockname()[1]
    with taken, pytest.raises(UsageError) as caught:
        listen("127.0.0.1", port)
    offered = int(caught.value.to_do.split()[2].rstrip(","))
    assert str(caught.value) == (
        f"port {port} at 127.0.0.1 is in use; a free port; use --port {offered}, the next free one"
    )
    assert offered > port
    listen("127.0.0.1", offered).close()


def test_without_a_port_the_next_free_one_is_taken(
    taken: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listening, "PORT", taken.getsockname()[1])
    with taken, listen("127.0.0.1", None) as other:
        assert other.getsockname()[1] > taken.getsockname()[1]


@pytest.mark.parametrize("host", ["192.0.2.1", "no such host", "x" * 70])
def test_a_host_that_is_not_here(host: str) -> None:
    with pytest.raises(UsageError, match="no address of this machine"):
        listen(host, 0)
