"""Two hosts on one machine: network namespaces joined by a cable, each with mounts of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest


@dataclass
class Host:
    """Where processes see a loopback of their own, and the other host by its address."""

    name: str
    address: str
    environment: dict[str, str] = field(default_factory=dict)
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def start(self, *command: str | Path, **options: Any) -> subprocess.Popen[str]:
        """A process of this host."""
        process = subprocess.Popen(
            ["ip", "netns", "exec", self.name, *map(str, command)],
            env={**os.environ, **self.environment},
            text=True,
            **options,
        )
        self.started.append(process)
        return process

    def processes(self) -> list[int]:
        listed = subprocess.run(["ip", "netns", "pids", self.name], capture_output=True, text=True)
        return [int(line) for line in listed.stdout.split()]

    def fail(self) -> None:
        """All of its processes end at once, as when the power goes."""
        while processes := self.processes():
            for process in processes:
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
            time.sleep(0.05)
        while self.started:
            process = self.started.pop()
            process.wait()
            for stream in (process.stdout, process.stderr):
                if stream is not None:
                    stream.close()

    def lose(self, folder: Path) -> None:
        """The folder is empty for all that runs there now, as where a mount went away."""
        for namespace in {
            os.readlink(f"/proc/{process}/ns/mnt"): process for process in self.processes()
        }.values():
            subprocess.run(
                [
                    "nsenter",
                    "--target",
                    str(namespace),
                    "--mount",
                    "mount",
                    "-t",
                    "tmpfs",
                    "none",
                    str(folder),
                ],
                check=True,
            )


@contextmanager
def two_hosts() -> Iterator[tuple[Host, Host]]:
    """Skips the test where namespaces cannot be made."""
    if not shutil.which("ip") or not shutil.which("nsenter") or os.geteuid():
        pytest.skip("two hosts need root, iproute2 and nsenter")
    number = os.getpid() % 250
    hosts = [
        Host(f"vtr{os.getpid()}{name}", f"10.117.{number}.{last}") for name, last in (("a", 1), ("b", 2))
    ]
    try:
        for host in hosts:
            made = subprocess.run(["ip", "netns", "add", host.name], capture_output=True, text=True)
            if made.returncode:
                pytest.skip(f"no network namespace can be made here: {made.stderr.strip()}")
        first, second = (host.name for host in hosts)
        _ip("-n", first, "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", second)
        for host in hosts:
            _ip("-n", host.name, "address", "add", f"{host.address}/24", "dev", "cable")
            for link in ("lo", "cable"):
                _ip("-n", host.name, "link", "set", link, "up")
        yield hosts[0], hosts[1]
    finally:
        for host in hosts:
            host.fail()
            subprocess.run(["ip", "netns", "delete", host.name], capture_output=True)


def wait_until(is_so: Callable[[], object], *, seconds: float = 90.0) -> None:
    """Raises AssertionError where it does not come."""
    until = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < until, "it did not come"
        time.sleep(0.02)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)
