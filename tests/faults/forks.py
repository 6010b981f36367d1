"""`Forks`: `vtr` commands with a fault at a chosen system call; skipped where there is no Linux or no C compiler."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from vtrcli.files import TEMPORARY_PREFIX

SHIM_SOURCE = Path(__file__).with_name("shim.c")
KILL, FAIL_ONCE, FAIL_ON = 1, 2, 3
NEED_ROOM = ("write", "create", "link", "mkdir", "rename")
_VARYING = re.compile(r"[0-9a-f]{8,}|\d+")

Kind = Literal["kill", "ENOSPC", "EIO"]


@dataclass(frozen=True)
class Call:
    """One system call that changes a file: its number from 1, what it was and on which path."""

    number: int
    name: str
    path: str


@dataclass(frozen=True)
class Outcome:
    """How a command ended: exit code (negative for a signal) and what it printed."""

    code: int
    stdout: str
    stderr: str


def compile_shim(folder: Path) -> Path:
    """The shared library of shim.c; the test is skipped where that cannot be had."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if sys.platform != "linux" or compiler is None:
        pytest.skip("faults need Linux and a C compiler (cc)")
    shim = folder / "shim.so"
    subprocess.run(
        [compiler, "-O1", "-shared", "-fPIC", "-o", str(shim), str(SHIM_SOURCE), "-ldl"], check=True
    )
    return shim


class Forks:
    """A process that has imported everything; each command runs in a fork of it, so that it starts in no time."""

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._shim = compile_shim(scratch)
        environment = {**os.environ, "LD_PRELOAD": str(self._shim), "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.driver"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        assert self._answer() == "ready"

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the driver died"
        return json.loads(line)

    def close(self) -> None:
        """End the process."""
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
        self._process.wait()

    def run(
        self,
        arguments: list[str],
        folder: Path,
        *,
        kind: Kind | None = None,
        at: int = 0,
        root: Path | None = None,
        program: str = "",
        environment: dict[str, str] | None = None,
    ) -> Outcome:
        """Run a command in `folder`; with `kind`, the fault happens at call number `at` below `root` (the folder).

        Args:
            program: make it happen in a program that the command starts ("ffmpeg"), not in the command itself.
        """
        out, err = self._scratch / "stdout", self._scratch / "stderr"
        how = {"kill": (KILL, 0), "ENOSPC": (FAIL_ON, errno.ENOSPC), "EIO": (FAIL_ONCE, errno.EIO)}
        mode, number = how[kind] if kind else (KILL, 0)
        log = self._scratch / "calls.log"
        log.unlink(missing_ok=True)
        root = root or folder
        variables = {
            "HOME": str(folder / "home"),
            "XDG_CACHE_HOME": str(folder / "home/.cache"),
            "XDG_DATA_HOME": str(folder / "home/.local/share"),
            **(environment or {}),
        }
        fault: dict[str, Any] | None = {"log": str(log), "at": at, "mode": mode, "errno": number}
        if program:
            fault = None
            variables |= {
                "FAULT_ROOT": str(root),
                "FAULT_LOG": str(log),
                "FAULT_AT": str(at),
                "FAULT_MODE": str(mode),
                "FAULT_ERRNO": str(number),
                "FAULT_PROGRAM": program,
            }
        request = {
            "arguments": arguments,
            "folder": str(folder),
            "environment": variables,
            "shim": str(self._shim),
            "stdout": str(out),
            "stderr": str(err),
            "root": str(root),
            "fault": fault,
        }
        assert self._process.stdin is not None
        print(json.dumps(request), file=self._process.stdin, flush=True)
        code = self._answer()
        return Outcome(code, out.read_text(errors="replace"), err.read_text(errors="replace"))

    def calls(self) -> list[Call]:
        """The calls that the last command made."""
        log = self._scratch / "calls.log"
        rows = [line.split("\t", 2) for line in log.read_text().splitlines()] if log.exists() else []
        return [Call(int(number), name, path) for number, name, path in rows]


def worth_a_fault(calls: list[Call], kind: Kind) -> list[Call]:
    """All calls but those in the middle of many writes to one file, which leave what their neighbours leave, the
    attempts to delete a temporary file that was renamed already, and for a full disk those that need no room.

    Of many calls alike on files of a kind (whose names differ in numbers) the first, the middle one and the last.
    """
    kept: list[Call] = []
    for before, call, after in zip([None, *calls], calls, [*calls[1:], None], strict=False):
        same_before = before is not None and (before.name, before.path) == (call.name, call.path)
        same_after = after is not None and (after.name, after.path) == (call.name, call.path)
        if not (call.name == "write" and same_before and same_after) and not is_idle(call):
            kept.append(call)
    alike: dict[tuple[str, str], list[Call]] = {}
    for call in kept:
        if kind != "ENOSPC" or call.name in NEED_ROOM:
            alike.setdefault((call.name, _VARYING.sub("#", call.path)), []).append(call)
    chosen = {calls[at].number for calls in alike.values() for at in (0, len(calls) // 2, -1)}
    return [call for call in kept if call.number in chosen]


def is_idle(call: Call) -> bool:
    """Whether the call is only the clean-up that follows each rename."""
    return call.name == "unlink" and TEMPORARY_PREFIX in call.path


def changes_what_is_there(call: Call | None) -> bool:
    """Whether a kill behind this call leaves other files, temporary ones apart, than a kill in front of it."""
    if call is None:
        return True
    is_kept = TEMPORARY_PREFIX not in call.path
    return call.name == "rename" or (is_kept and call.name in ("write", "create", "link", "unlink", "mkdir"))
