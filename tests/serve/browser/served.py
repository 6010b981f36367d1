"""A server in a child process, as people start it, and a visit to its page that notes all that goes wrong there."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, Request

START_SECONDS = 60
HTML_NAME = "<img src=x onerror=alert(1)><b>bold.mp4"  # of a video
WAIT_MILLISECONDS = 20_000  # a busy machine takes its time


@dataclass
class Served:
    """`vtr serve` over some stores at one address, that can be stopped and started again."""

    stores: Sequence[Path]
    options: Sequence[str] = ("--run", "none", "--device", "cpu")
    port: int = 0
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def start(self) -> None:
        self.port = self.port or free_port()
        stores = [part for store in self.stores for part in ("--store", str(store))]
        command = [sys.executable, "-m", "vtrcli", "serve", *stores, "--port", str(self.port), *self.options]
        self.process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})
        end = time.monotonic() + START_SECONDS
        while True:
            try:
                urllib.request.urlopen(f"{self.url}api/health", timeout=5).close()
                return
            except OSError:
                assert self.process.poll() is None, "vtr serve ended"
                assert time.monotonic() < end, "vtr serve does not answer"
                time.sleep(0.1)

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(30)
            self.process = None


@contextmanager
def serving(*stores: Path) -> Iterator[Served]:
    served = Served(stores)
    served.start()
    try:
        yield served
    finally:
        served.stop()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Visit:
    """A page in a browser, and what went wrong in it: console errors (violations of its content security policy among
    them), exceptions, requests to elsewhere. `expected` are patterns of what a test brings about by itself."""

    page: Page
    url: str
    problems: list[str] = field(default_factory=list)
    expected: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.set_default_timeout(WAIT_MILLISECONDS)
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.problems.append(f"exception: {error}"))
        self.page.on("request", self._request)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.problems.append(f"{message.type}: {message.text} {message.location.get('url', '')}")

    def _request(self, request: Request) -> None:
        if not request.url.startswith((self.url, "blob:", "data:")):
            self.problems.append(f"elsewhere: {request.url}")

    def go(self, address: str = "") -> Visit:
        """Open `?q=…`, or the start."""
        self.page.goto(f"{self.url}{address}")
        return self

    @property
    def search(self) -> Locator:
        return self.page.get_by_role("searchbox")

    @property
    def cards(self) -> Locator:
        return self.page.locator("#results .card")

    @property
    def address(self) -> str:
        return self.page.url.removeprefix(self.url)

    def ask(self, text: str) -> None:
        """Type into the search field, key by key, and wait for what is found."""
        self.search.fill("")
        self.search.press_sequentially(text)
        self.wait_for_title(text)
        self.settle()

    def settle(self) -> None:
        """Until nothing is asked any more."""
        self.until("document.querySelector('#results').getAttribute('aria-busy') === 'false'")

    def until(self, condition: str, argument: object = None) -> None:
        """Until this JavaScript is true. (Playwright's own wait_for_function evaluates texts in the page, which the
        page's policy forbids.)"""
        end = time.monotonic() + WAIT_MILLISECONDS / 1000
        while not self.page.evaluate(condition, argument):
            assert time.monotonic() < end, f"not in time: {condition} {argument or ''}"
            self.page.wait_for_timeout(20)

    def wait_for_title(self, words: str) -> None:
        self.until("words => document.title.replaceAll(/\\s+/g, ' ').startsWith(words)", words)

    def names(self) -> list[str]:
        return self.page.locator("#results .card .name").all_inner_texts()

    def check(self) -> None:
        unexpected = [
            text for text in self.problems if not any(re.search(known, text) for known in self.expected)
        ]
        assert not unexpected, "\n".join(unexpected)


@contextmanager
def visiting(browser: Browser, url: str, **context: Any) -> Iterator[Visit]:
    """A fresh profile; what went wrong unexpectedly fails the test at its end."""
    opened = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **context})
    try:
        visit = Visit(opened.new_page(), url)
        yield visit
        visit.check()
    finally:
        opened.close()
