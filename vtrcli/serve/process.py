"""What the process of a server asks of its C libraries, before they are loaded and before it has threads.

A server has 64 threads where a command has one, and runs for months. Two defaults are made for the other case:

- OpenBLAS multiplies on every core and its threads wait by spinning: beside other threads that costs several times the
  processor time of the product. Each thread of the server multiplies by itself.
- glibc gives threads heaps of their own, up to eight a core, and each comes to hold the most that any of its threads
  ever needed: the server's own memory grew for as long as it was asked (docs/experiments.md). Here there are two heaps,
  and a large array is the system's again once it is freed. Smaller ones are not: a page given back is a page filled
  with zeros when it comes again, 10 ms of processor time a query where that began at 1 MB.

What the user has set in the environment stays. Nothing that loads NumPy may be imported here.
"""

from __future__ import annotations

import ctypes
import os
import sys

BLAS_THREADS = "OPENBLAS_NUM_THREADS"  # `model.text_tower` looks at it, too
NUM_HEAPS = 2
LARGE_BYTES = 16 << 20
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # malloc.h of glibc


def settle() -> None:
    """Set both for this process. Elsewhere than with glibc the second is left as it is."""
    os.environ.setdefault(BLAS_THREADS, "1")
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None or "MALLOC_ARENA_MAX" in os.environ:
        return
    for option, value in (
        (_M_ARENA_MAX, NUM_HEAPS),
        (_M_MMAP_THRESHOLD, LARGE_BYTES),
        (_M_TRIM_THRESHOLD, 4 * LARGE_BYTES),
    ):
        mallopt(option, value)
