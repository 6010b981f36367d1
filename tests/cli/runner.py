"""Running a command inside the test process, stdout and stderr apart."""

from __future__ import annotations

import json
import os
import re
import struct
import subprocess
import sys
from typing import Any

from typer.testing import CliRunner, Result

from vtrcli.cli.app import app


def run(*arguments: str, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(app, list(arguments), input=stdin)


def run_json(*arguments: str, exit_code: int = 0) -> dict[str, Any]:
    result = run(*arguments, "--json")
    assert result.exit_code == exit_code, result.output
    body: dict[str, Any] = json.loads(result.stdout)
    return body


def run_on_terminal(*arguments: str, columns: int = 80, **environment: str) -> tuple[int, str]:
    """Exit code and what a terminal of that width got from stdout and stderr, with its colours."""
    import fcntl
    import pty
    import termios

    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    given = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS")}
    process = subprocess.Popen(
        [sys.executable, "-m", "vtrcli", *arguments],
        stdin=follower,
        stdout=follower,
        stderr=follower,
        env={**given, "TERM": "xterm-256color", **environment},
    )
    os.close(follower)
    shown = b""
    with open(leader, "rb", buffering=0) as screen:
        while True:
            try:
                piece = screen.read(65536)
            except OSError:  # Linux says so when the last writer is gone
                break
            if not piece:
                break
            shown += piece
    return process.wait(), shown.decode().replace("\r\n", "\n")


def plain(text: str) -> str:
    """Without colours and links."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\]8;[^\x1b]*\x1b\\", "", text)
