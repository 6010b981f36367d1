"""A server's process keeps its memory and its processor time bounded, unless its user has said otherwise."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from vtrcli.serve.process import NUM_HEAPS

SETTLED = """
import os, sys
import vtrcli.cli.app, vtrcli.cli.mcp, vtrcli.cli.serve  # what runs before `settle`
from vtrcli.serve.process import settle
assert "numpy" not in sys.modules, "it is too late to speak to BLAS"
settle()
print(os.environ["OPENBLAS_NUM_THREADS"])
"""
# 32 threads that hold memory at the same time, and how many heaps glibc made for them.
HEAPS = """
import ctypes, sys, threading
if sys.argv[1] == "settled":
    from vtrcli.serve.process import settle
    settle()
import numpy as np
meet = threading.Barrier(32)

def work():
    held = np.ones(50_000)
    meet.wait()

threads = [threading.Thread(target=work) for _ in range(32)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
libc = ctypes.CDLL(None)
libc.fopen.restype, libc.fopen.argtypes = ctypes.c_void_p, [ctypes.c_char_p, ctypes.c_char_p]
libc.malloc_info.argtypes, libc.fclose.argtypes = [ctypes.c_int, ctypes.c_void_p], [ctypes.c_void_p]
file = libc.fopen(b"/dev/stdout", b"w")
libc.malloc_info(0, file)
libc.fclose(file)
"""


def run(code: str, *arguments: str, **environment: str) -> str:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "OPENBLAS_"))}
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(
        command, env={**inherited, **environment}, check=True, capture_output=True, text=True
    ).stdout.strip()


def test_blas_has_one_thread_unless_the_user_says_otherwise() -> None:
    assert run(SETTLED) == "1"
    assert run(SETTLED, OPENBLAS_NUM_THREADS="3") == "3"


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc makes heaps for threads")
def test_many_threads_share_two_heaps() -> None:
    def num_heaps(*arguments: str, **environment: str) -> int:
        return run(HEAPS, *arguments, **environment).count("<heap nr=")

    assert num_heaps("settled") <= NUM_HEAPS < num_heaps("as it comes")
    assert num_heaps("settled", MALLOC_ARENA_MAX="5") == 5  # what the user has set stays
