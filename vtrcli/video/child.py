"""One ffmpeg child process: started alone in its group, limited, timed, read and killed. Knows nothing of video."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import IO, Any

from vtrcli.errors import InputError, VideoError

# ffmpeg may take this much address space. Measured with four threads each: twelve 1080p decoders 1.1 GiB, one 8K
# decoder 1.1 GiB; a picture of the most pixels that are allowed has 0.2 GiB, and a decoder keeps up to 17.
MEMORY_BYTES = 4 << 30
# Of what ffmpeg says only the beginning (where causes stand) and the end are kept.
_LOG_BYTES = 64 << 10
_PIPE_BYTES = 1 << 20
# Not a session of its own where that can be avoided: Linux schedules each session as one (autogroup), which made a
# 0.09 s decode take 0.14 s on a busy machine.
_OWN_GROUP: dict[str, Any] = (
    {"process_group": 0} if sys.version_info >= (3, 11) else {"start_new_session": True}
)


class Patience:
    """How much longer a video may keep us waiting. Time in which ffmpeg waits for us does not count."""

    def __init__(self, seconds: float) -> None:
        self.limit_seconds = seconds
        self._used_seconds = 0.0
        self._waiting_since: float | None = None

    @property
    def left_seconds(self) -> float:
        """What is left, 0 or less when a wait was (or is to be) cut short."""
        since = self._waiting_since
        now_waiting = 0.0 if since is None else time.monotonic() - since
        return self.limit_seconds - self._used_seconds - now_waiting

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Counts the time inside."""
        self._waiting_since = started = time.monotonic()
        try:
            yield
        finally:
            self._used_seconds += time.monotonic() - started
            self._waiting_since = None

    def watch(self, over: threading.Event, on_timeout: Callable[[], None]) -> None:
        """Calls `on_timeout` when nothing is left, unless `over` is set before. Runs in a thread of its own.

        What is left never shrinks faster than the clock runs, so sleeping that long cannot miss the moment.
        """
        while (left := self.left_seconds) > 0:
            if over.wait(left):
                return
        on_timeout()


class Child:
    """A running ffmpeg. `read` takes its standard output; its standard error is drained by a thread.

    Lines of standard error that match `record_pattern` are collected in `records` (one tuple of groups each),
    everything else goes into a log of bounded length. On Linux no file that it writes may grow beyond
    `max_file_bytes`: the default is that it writes none. There it also gives way to other programs, by `niceness`.
    `memory_bytes`: of addresses; None: MEMORY_BYTES. With `maps_device`, of data alone: CUDA reserves addresses for all
    memory that it could ever use, and touches none of it.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        patience: Patience,
        record_pattern: re.Pattern[bytes] | None = None,
        max_file_bytes: int = 0,
        niceness: int = 0,
        memory_bytes: int | None = None,
        maps_device: bool = False,
    ) -> None:
        self.records: list[tuple[bytes, ...]] = []
        self._patience = patience
        self._pattern = record_pattern
        self._head = bytearray()
        self._tail = bytearray()
        self._news = threading.Condition()
        self._drained = False
        # FFREPORT would make ffmpeg write a file; threads must not each reserve an arena of address space.
        environment = {key: value for key, value in os.environ.items() if key != "FFREPORT"}
        environment["MALLOC_ARENA_MAX"] = "2"
        try:
            self._process, self._life = _started(command, environment)
        except OSError as cause:
            raise InputError(
                f"ffmpeg cannot be started: {cause.strerror or cause}",
                allowed="as many processes, open files and as much memory as the workers need",
                to_do="use fewer --workers, or raise the limits (`ulimit -a` shows them), then run it again",
            ) from cause
        _limit(
            self._process.pid,
            max_file_bytes=max_file_bytes,
            niceness=niceness,
            memory_bytes=MEMORY_BYTES if memory_bytes is None else memory_bytes,
            maps_device=maps_device,
        )
        _widen(self._process.stdout)
        self._drain_thread = threading.Thread(target=self._drain, daemon=True, name="ffmpeg-stderr")
        self._drain_thread.start()
        self._over = threading.Event()
        watch = threading.Thread(target=patience.watch, args=(self._over, self.kill), daemon=True)
        watch.start()

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self.kill()
        self._process.wait()
        self._drain_thread.join()
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()
        os.close(self._life)

    @property
    def log(self) -> bytes:
        """What ffmpeg said, without the records, cut in the middle where it is long."""
        with self._news:
            return bytes(self._head + self._tail)

    def read_into(self, buffer: memoryview) -> int:
        """Fills `buffer` from standard output; fewer bytes only at its end or when time ran out."""
        stream = self._process.stdout
        filled = 0
        with self._patience.waiting():
            while filled < len(buffer) and stream is not None:
                count = stream.readinto(buffer[filled:])  # type: ignore[attr-defined]
                if not count:
                    break
                filled += count
        return filled

    def read_some(self, limit_bytes: int) -> bytes:
        """What standard output has now, up to `limit_bytes`; waits for it, and is empty only at the end."""
        stream = self._process.stdout
        with self._patience.waiting():
            return b"" if stream is None else stream.read(limit_bytes) or b""

    def read_all(self, limit_bytes: int) -> bytes:
        """Standard output to its end, kept up to `limit_bytes`."""
        buffer = memoryview(bytearray(limit_bytes))
        filled = self.read_into(buffer)
        return bytes(buffer[:filled])

    def wait(self) -> int:
        """Exit status, negative for a signal, after all of standard error has been read."""
        with self._patience.waiting():
            status = self._process.wait()
            self._drain_thread.join()
        return status

    def record(self, index: int) -> tuple[bytes, ...] | None:
        """Record number `index`, waiting for it; None when standard error ended without it."""
        if len(self.records) > index:
            return self.records[index]
        with self._patience.waiting(), self._news:
            self._news.wait_for(lambda: len(self.records) > index or self._drained)
            return self.records[index] if len(self.records) > index else None

    def kill(self) -> None:
        """Ends the child and whatever it started. Safe from any thread and more than once."""
        if self._process.poll() is not None:
            return
        if sys.platform == "win32":
            self._process.kill()
            return
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return

    def _drain(self) -> None:
        rest = b""
        stream = self._process.stderr
        while stream is not None:
            chunk = stream.read(65536)
            *lines, rest = (rest + chunk).split(b"\n")
            if rest and (not chunk or len(rest) > _LOG_BYTES):
                lines, rest = [*lines, rest], b""
            with self._news:
                for line in lines:
                    self._take(line + b"\n")
                self._drained = not chunk
                self._news.notify_all()
            if not chunk:
                return

    def _take(self, line: bytes) -> None:
        match = self._pattern.search(line) if self._pattern else None
        if match:
            # ffmpeg writes a log line in several pieces: a record can stand in the middle of one.
            self.records.append(match.groups())
            line = line[: match.start()] + line[match.end() :].lstrip(b"\n")
        room = _LOG_BYTES - len(self._head)
        self._head += line[:room]
        self._tail += line[room:] if room > 0 else line
        del self._tail[:-_LOG_BYTES]


class Session:
    """The children of one video, one at a time: they share its patience, and `close` ends them all.

    `sessions`: whose closing closes this one too.
    """

    def __init__(
        self, path: str | os.PathLike[str], patience: Patience, *, sessions: Sessions | None = None
    ) -> None:
        self.patience = patience
        self._path = os.fspath(path)
        self._lock = threading.Lock()
        self._child: Child | None = None
        self._closed = False
        if sessions is not None:
            sessions.add(self)

    @contextmanager
    def run(
        self,
        command: Sequence[str],
        *,
        record_pattern: re.Pattern[bytes] | None = None,
        max_file_bytes: int = 0,
        niceness: int = 0,
        maps_device: bool = False,
    ) -> Iterator[Child]:
        """Starts a child and sees to its end. Raises ValueError after `close`."""
        with self._lock:
            self.check_open()
            self._child = Child(
                command,
                patience=self.patience,
                record_pattern=record_pattern,
                max_file_bytes=max_file_bytes,
                niceness=niceness,
                maps_device=maps_device,
            )
        try:
            with self._child as child:
                yield child
        finally:
            with self._lock:
                self._child = None

    def check_open(self) -> None:
        """Raises ValueError after `close`, as reading from a closed file does."""
        if self._closed:
            raise ValueError("the video was closed while it was read")

    def check_time(self) -> None:
        """Raises VideoError("timeout") when the last wait was cut short, ValueError after `close`."""
        self.check_open()
        if self.patience.left_seconds <= 0:
            raise VideoError(
                "timeout", f"ffmpeg took over {self.patience.limit_seconds:g} s", path=self._path
            )

    def close(self) -> None:
        """Kills the running child, if any; no other can be started. Safe from any thread and more than once."""
        with self._lock:
            self._closed = True
            if self._child is not None:
                self._child.kill()


class Sessions:
    """Those of several videos, in several threads: `close` ends all, and every later one as it begins."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: weakref.WeakSet[Session] = weakref.WeakSet()
        self._closed = False

    def add(self, session: Session) -> None:
        """Called by each session of these."""
        with self._lock:
            self._open.add(session)
            is_late = self._closed
        if is_late:
            session.close()

    def close(self) -> None:
        """Safe from any thread and more than once."""
        with self._lock:
            self._closed = True
            begun = list(self._open)
        for session in begun:
            session.close()


def _widen(pipe: IO[bytes] | None) -> None:
    """Room for several frames, so that ffmpeg is not woken for every 64 KiB that we take."""
    if sys.platform != "linux" or pipe is None:
        return
    import fcntl

    try:
        fcntl.fcntl(pipe.fileno(), fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    except OSError:
        return  # the user's share of pipe memory is used up


def _started(command: Sequence[str], environment: dict[str, str]) -> tuple[subprocess.Popen[bytes], int]:
    """The process, and the end of a pipe to hold as long as it may live: nothing ever comes through it."""
    lifeline, life = os.pipe()
    try:
        process = subprocess.Popen(
            command,
            stdin=lifeline,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            env=environment,
            **_OWN_GROUP,
        )
        _end_with_us(process.pid, lifeline)
    except BaseException:
        os.close(life)
        raise
    finally:
        os.close(lifeline)
    return process, life


def _end_with_us(pid: int, lifeline: int) -> None:
    """Have the system signal the child's group when the other end of its pipe closes, even if by our SIGKILL.

    A decode with nothing to write yet would go on for minutes before SIGPIPE ends it. The signal is SIGIO, which ends
    what does not expect it; unlike Linux's parent-death signal it is set from outside, and outlives our threads.
    """
    if sys.platform == "win32":
        return
    import fcntl

    with suppress(OSError):  # it is over already
        fcntl.fcntl(lifeline, fcntl.F_SETOWN, -pid)
        fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)


def _limit(pid: int, *, max_file_bytes: int, niceness: int, memory_bytes: int, maps_device: bool) -> None:
    """Memory, size of files, no core dump, how far it gives way; set from outside, because code between fork and exec
    is not thread-safe.
    """
    if sys.platform != "linux":
        return
    import resource

    limits = (
        (resource.RLIMIT_DATA if maps_device else resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_FSIZE, max_file_bytes),
        (resource.RLIMIT_CORE, 0),
    )
    for kind, value in limits:
        try:
            resource.prlimit(pid, kind, (value, value))
        except (ProcessLookupError, ValueError, PermissionError):
            continue  # already over, or a stricter limit is inherited
    if niceness:
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, pid, os.getpriority(os.PRIO_PROCESS, 0) + niceness)
