"""Parts of files, read when they are asked for, without holding more descriptors than a process may have.

Only what is scanned again and again is mapped: a mapped file that is cut short under its reader ends the process
(SIGBUS), and some file systems map nothing. Everything else is read into memory, part by part.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from vtrcli.errors import StoreError
from vtrcli.files import unreadable

# Of the descriptors that a process may have, the other half is left to pipes, decoders and whoever else opens files.
SHARE_HELD = 0.5
MAX_LISTINGS = 10
MAX_GAP_ROWS = 64
BFLOAT16 = np.dtype([("bfloat16", "<u2")])  # of weights; NumPy computes in none
# Not blocking: a pipe under the name of a shard must not keep anybody waiting.
READ_FLAGS = (
    os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)
)

_T = TypeVar("_T")


class PartFile:
    """A file of which parts are read. It stays readable when its name goes, as long as descriptors are not scarce.

    Raises:
        StoreError: it cannot be opened; its cause is the OSError.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._held: int | None = None
        descriptor = _opened(path)
        status = os.fstat(descriptor)
        self.num_bytes, self.mtime_ns = status.st_size, status.st_mtime_ns
        # Windows deletes no file that somebody holds.
        if os.name != "nt" and descriptor < most_descriptors() * SHARE_HELD:
            self._held = descriptor
            weakref.finalize(self, os.close, descriptor)
        else:
            os.close(descriptor)

    def read(self, start: int, num_bytes: int) -> np.ndarray:
        """uint8 [num_bytes]. Raises StoreError when the file is shorter now, or cannot be read."""
        body = np.empty(num_bytes, np.uint8)
        with self._descriptor() as descriptor:
            try:
                have = _read_into(descriptor, body, start)
            except OSError as cause:
                raise unreadable(self.path, cause) from cause
        if have != num_bytes:
            raise cut_short(self.path)
        return body

    def mapped(self) -> mmap.mmap | None:
        """The whole file mapped; None where the system maps no such file, or no more of them."""
        with self._descriptor() as descriptor:
            if descriptor >= most_descriptors() * SHARE_HELD:  # a mapping holds one
                return None
            with contextlib.suppress(OSError, ValueError):
                return mmap.mmap(descriptor, self.num_bytes, access=mmap.ACCESS_READ)
        return None

    @contextlib.contextmanager
    def _descriptor(self) -> Any:
        if self._held is not None:
            yield self._held
            return
        descriptor = _opened(self.path)
        try:
            yield descriptor
        finally:
            os.close(descriptor)


class Rows:
    """A tensor [num_rows, ...] in a file; slices of rows become arrays when they are taken.

    Args:
        file: where it lies, from byte `start` on.
        is_mapped: for what is scanned again and again. The size is looked at before each slice.
    """

    def __init__(
        self,
        file: PartFile,
        dtype: np.dtype[Any],
        shape: tuple[int, ...],
        start: int,
        *,
        is_mapped: bool = False,
    ) -> None:
        self._file, self.dtype, self.shape, self._start = file, dtype, shape, start
        self._row_bytes = dtype.itemsize * int(np.prod(shape[1:], dtype=np.int64))
        self._map = file.mapped() if is_mapped and shape[0] and self._row_bytes else None
        if self._map is not None:
            count = shape[0] * self._row_bytes // dtype.itemsize
            self._view = np.frombuffer(self._map, dtype, count=count, offset=start).reshape(shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | int) -> np.ndarray:
        """Rows, read-only. Raises StoreError when the file has become shorter, or cannot be read."""
        if not isinstance(rows, slice):
            one: np.ndarray = self[rows : rows + 1][0]
            return one
        first, stop, step = rows.indices(len(self))
        if step != 1:
            raise ValueError("rows are taken one after the other")
        stop = max(first, stop)
        if self._map is not None:
            if self._map.size() < self._file.num_bytes:
                raise cut_short(self._file.path)
            return self._view[first:stop]
        body = self._file.read(self._start + first * self._row_bytes, (stop - first) * self._row_bytes)
        found = body.view(self.dtype).reshape(stop - first, *self.shape[1:])
        found.flags.writeable = False
        return found

    def take(self, rows: np.ndarray) -> np.ndarray:
        """The given rows, int64 [num_wanted], in any order; what lies between neighbours is read with them."""
        found = np.empty((len(rows), *self.shape[1:]), self.dtype)
        order = np.argsort(rows, kind="stable")
        for group in np.split(order, np.flatnonzero(np.diff(rows[order]) > MAX_GAP_ROWS) + 1):
            if len(group):
                first = int(rows[group[0]])
                found[group] = self[first : int(rows[group[-1]]) + 1][rows[group] - first]
        return found

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype)


def again_if_gone(look: Callable[[], _T]) -> _T:
    """What `look` returns; it is called again when a file that it had just listed is gone (`vtr store compact`)."""
    for _ in range(MAX_LISTINGS - 1):
        try:
            return look()
        except StoreError as error:
            if not isinstance(error.__cause__, FileNotFoundError):
                raise
    return look()


def allow_open_files(num_files: int) -> None:
    """Raise this process's own limit of open files as far as the system lets it, so that `num_files` can be held."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    wanted = int(num_files / SHARE_HELD) + 256
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with contextlib.suppress(ValueError, OSError):  # macOS has a lower limit than it says
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def most_descriptors() -> int:
    """How many descriptors this process may have."""
    try:
        import resource
    except ImportError:
        return 2048  # what Windows' C library gives at most
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 1 << 20 if soft == resource.RLIM_INFINITY else soft


def cut_short(path: Path) -> StoreError:
    """The error for a file that was whole when it was opened."""
    return StoreError(
        f"{path} became shorter while it was read",
        allowed="files of a store that nobody writes into",
        to_do="run `vtr store verify`, then the same command again",
    )


def _opened(path: Path) -> int:
    try:
        return os.open(path, READ_FLAGS)
    except OSError as cause:
        raise unreadable(path, cause) from cause


def _read_into(descriptor: int, body: np.ndarray, start: int) -> int:
    """Bytes read, fewer than `body` has where the file ends."""
    have = 0
    while have < len(body):
        if hasattr(os, "preadv"):
            got = os.preadv(descriptor, [body[have:].data], start + have)
        elif hasattr(os, "pread"):  # macOS before Python 3.12 has no preadv
            part = os.pread(descriptor, len(body) - have, start + have)
            got = len(part)
            body[have : have + got] = np.frombuffer(part, np.uint8)
        else:  # Windows; readers there share no descriptor between threads
            os.lseek(descriptor, start + have, os.SEEK_SET)
            part = os.read(descriptor, len(body) - have)
            got = len(part)
            body[have : have + got] = np.frombuffer(part, np.uint8)
        if not got:
            break
        have += got
    return have
