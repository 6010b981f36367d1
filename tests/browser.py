"""Opens a page in a real browser, headless and in a fresh profile, and says what happened there."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
TIMEOUT_SECONDS = 60
FLAGS = (
    "--headless",
    "--no-sandbox",  # the tests may run as root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--enable-logging=stderr",
    "--v=0",
    # Nothing leaves this machine, not what the browser itself would like to ask for either.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)
# The browser's own requests have no page that asked for them.
_NO_PAGE = "not an origin"


@dataclass(frozen=True)
class OpenedPage:
    """`dom` after loading; `screenshot` a PNG; `console` all its messages, errors and violations of the page's
    content security policy among them; `requested` the URLs that the page asked for (data: and file: not counted)."""

    dom: str
    screenshot: bytes
    console: tuple[str, ...]
    requested: tuple[str, ...]


def open_page(url: str, *, width: int = 1280, height: int = 900, dark: bool = False) -> OpenedPage:
    """Open a file:// or http://127.0.0.1 page; the test is skipped where there is no browser."""
    browser = next(filter(None, map(shutil.which, NAMES)), None)
    if browser is None:
        pytest.skip(f"no browser ({', '.join(NAMES)}) on this machine")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        picture, network = Path(folder, "page.png"), Path(folder, "network.json")
        command = [
            browser,
            *FLAGS,
            *(["--force-dark-mode"] if dark else []),
            f"--user-data-dir={folder}/profile",
            f"--window-size={width},{height}",
            f"--log-net-log={network}",
            f"--screenshot={picture}",
            "--dump-dom",
            url,
        ]
        done = subprocess.run(
            command,
            capture_output=True,
            timeout=TIMEOUT_SECONDS,
            check=True,
            env={**os.environ, "HOME": folder},
        )
        return OpenedPage(
            dom=done.stdout.decode("utf-8"),
            screenshot=picture.read_bytes(),
            console=_console(done.stderr.decode("utf-8", "replace")),
            requested=_requested(json.loads(network.read_text("utf-8"))),
        )


def _console(log: str) -> tuple[str, ...]:
    # A message may go over several lines; the next entry begins with a bracket.
    return tuple(
        re.findall(r"^\[[^\]\n]*:CONSOLE[:(]\d+\)?\] (.*?), source: [^\n]*$", log, re.DOTALL | re.MULTILINE)
    )


def _requested(log: dict[str, object]) -> tuple[str, ...]:
    events: list[dict[str, dict[str, str]]] = log["events"]  # type: ignore[assignment]
    params = [event.get("params", {}) for event in events]
    asked = [each["url"] for each in params if "url" in each and each.get("initiator", _NO_PAGE) != _NO_PAGE]
    return tuple(dict.fromkeys(asked))
