"""`vtr extract --ray`: the same work on each video, in processes of a Ray cluster that all see videos and store.

The process that was started plans, hands out chunks of jobs and notes how they ended; workers decode, encode and write
shards of their own. A chunk is reported when all of it is written, so a worker that is killed takes nothing along but
the chunk in its hands, which is done again elsewhere.
"""

from __future__ import annotations

import importlib.metadata
import math
import os
import platform
import socket
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, closing, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vtrcli import __version__
from vtrcli.errors import StoreError, UsageError, VideoError, VtrError, WeightsError, brief
from vtrcli.extraction.pipeline import Job
from vtrcli.extraction.worker import Assignment, Keeper, Outcome, Worker, require_unchanged
from vtrcli.store.config import CONFIG_NAME, is_store, read_config

LOCAL = "local"  # the address that starts a cluster on this machine
DECODERS = 4  # of a worker without a GPU
ANSWER_SECONDS = 10.0  # for a cluster to take a connection
READY_SECONDS = 60.0  # for all workers to load their backbone; who needs longer joins later
LOST_SECONDS = 600.0  # without any worker, before the run gives up
FAREWELL_SECONDS = 10.0  # for workers to write what is finished when the run is interrupted
MAX_ATTEMPTS = 3  # at a video whose worker died
FIRST_CHUNK, MAX_CHUNK = 4, 1024  # videos
PIECES = 16  # that a chunk whose worker died is cut into
# A kill costs at most this much work of one worker: 5 s at first, later 5 % of the run, so that shards are few.
MIN_CHUNK_SECONDS, MAX_CHUNK_SECONDS, CHUNK_SHARE = 5.0, 120.0, 0.05
NUM_WITNESSES = 8  # videos that a worker must see before it begins
UNSEEN = ("not-found", "changed")  # what a worker says of a file that it does not see as this process does
_SAME_PLACE = "videos and a store that every machine sees under the same paths"


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What must hold where a worker runs, as it is where the run was started.

    Attributes:
        versions: of the programs that make the features, by name.
        store_mtime: whole seconds; tells this store from another one at the same path.
        witnesses: some of the videos, with their bytes.
        root_names: as of `Keeper`.
    """

    versions: Mapping[str, str]
    store_mtime: int
    witnesses: tuple[tuple[Path, int], ...]
    root_names: Mapping[str, str]

    @classmethod
    def of_run(cls, store: Path, jobs: Sequence[Job], root_names: Mapping[str, str]) -> Terms:
        """Those of this process."""
        some = jobs[:: max(1, len(jobs) // NUM_WITNESSES)][:NUM_WITNESSES]
        return cls(
            versions=installed_versions(),
            store_mtime=int((store / CONFIG_NAME).stat().st_mtime),
            witnesses=tuple((job.path, job.state.num_bytes) for job in some),
            root_names=root_names,
        )

    def require(self, assignment: Assignment) -> None:
        """Raises UsageError where one of them does not hold in this process."""
        here, store = platform.node(), assignment.store
        for name, version in installed_versions().items():
            if version != self.versions.get(name):
                raise UsageError(
                    f"{name} {version} on {here}, {name} {self.versions.get(name)} where the run was started",
                    allowed="one version in the whole cluster",
                    to_do="install it there",
                )
        is_here = is_store(store) and read_config(store) == assignment.config
        if not is_here or int((store / CONFIG_NAME).stat().st_mtime) != self.store_mtime:
            raise UsageError(
                f"{store} on {here} is not the store of this run",
                allowed=_SAME_PLACE,
                to_do="mount them there",
            )
        for path, num_bytes in self.witnesses:
            if not _is_seen(path, num_bytes):
                raise UsageError(
                    f"{path} is not there on {here}, or another file",
                    allowed=_SAME_PLACE,
                    to_do="mount them there",
                )
        if self.witnesses and not any(os.access(path, os.R_OK) for path, _ in self.witnesses):
            raise UsageError(
                f"{self.witnesses[0][0]} and others cannot be read on {here}",
                allowed="videos that workers may read, too",
                to_do="start Ray there as a user who may",
            )


def installed_versions() -> dict[str, str]:
    """Of what decides about features. Builds for CPU and CUDA of one torch count as one."""
    return {"vtr": __version__, "torch": importlib.metadata.version("torch").partition("+")[0]}


class RemoteWorker:
    """A worker in a process of its own, of which Ray makes an actor."""

    def __init__(self, assignment: Assignment, terms: Terms) -> None:
        self._assignment, self._terms = assignment, terms
        self._worker: Worker | None = None
        self._stopping, self._at_work = threading.Event(), threading.Lock()

    def start(self) -> tuple[str, str]:
        """Load the backbone; says on which device and in which precision it computes.

        Raises:
            UsageError: another vtr or torch is installed here, or store or videos are not here.
            WeightsError: the backbone is not here, or is not the store's.
        """
        todo = self._assignment
        self._terms.require(todo)
        keeper = Keeper(todo.store, todo.config, lambda: self._terms.root_names)
        worker = Worker(todo, keeper)
        have, want = worker.backbone.info, todo.config.backbone
        if have.sha256 != want.sha256:
            raise WeightsError(
                f"{todo.backbone} on {platform.node()} has the weights {have.sha256[:12]}, the store is of "
                f"{want.sha256[:12]}",
                allowed="the same weights on every machine",
                to_do="copy the file there",
            )
        self._worker = worker
        return worker.backbone.device, worker.backbone.precision

    def extract(self, jobs: list[Job]) -> list[Outcome]:
        """How each job ended; what is finished lies in a shard. When stopped: how those that are finished did."""
        assert self._worker is not None
        outcomes = []
        with self._at_work, closing(self._worker.extract(jobs, self._require_going)) as ended:
            try:
                for outcome in ended:
                    outcomes.append(_without_a_file(outcome))
                    self._require_going()
            except _Stopped:
                pass
        return outcomes

    def stop(self) -> None:
        """End `extract`, which runs in another thread; returns when what was finished is written."""
        self._stopping.set()
        with self._at_work:
            pass

    def _require_going(self, num_frames: int = 0) -> None:
        if self._stopping.is_set():
            raise _Stopped


class _Stopped(Exception):
    """The run was interrupted."""


@dataclass(frozen=True)
class Seats:
    """How many workers a cluster has room for, and what each takes."""

    num_workers: int
    num_cpus: int
    num_gpus: int

    @classmethod
    def of(
        cls, nodes: Sequence[Mapping[str, float]], *, device: str, num_decoders: int | None, num_jobs: int
    ) -> Seats:
        """One worker for each GPU where there are some and the device may be one, machines without a GPU are left
        alone then; else one for every so many processors. None that would find nothing to do.

        Args:
            nodes: each machine's resources, by Ray's names.
        """
        with_gpu = [node for node in nodes if node.get("GPU", 0) >= 1 and device in ("auto", "cuda")]
        machines = [(int(node.get("CPU", 0)), int(node.get("GPU", 0))) for node in with_gpu or nodes]
        if with_gpu:
            each = num_decoders or min(num_cpus // num_gpus for num_cpus, num_gpus in machines)
        else:
            each = num_decoders or DECODERS
        each = max(1, min(each, max((num_cpus for num_cpus, _ in machines), default=0)))
        rooms = [
            min(num_gpus, num_cpus // each) if with_gpu else num_cpus // each
            for num_cpus, num_gpus in machines
        ]
        return cls(min(sum(rooms), num_jobs), each, 1 if with_gpu else 0)


class Cluster:
    """The workers of one run; `precisions` and `place` as of `Worker`.

    Args:
        address: of the cluster (`auto`, `HOST:PORT`, `ray://HOST:PORT`), or LOCAL for one on this machine alone.
        jobs: that are to be done.
        num_decoders: of each worker; None: as many as there are processors for each GPU, else DECODERS.

    Attributes:
        notes: of workers that were given up while the run went on.

    Raises:
        UsageError: Ray is not installed, no cluster there, one without room for a worker, or a machine that differs.
        WeightsError: the backbone is not there, or is not the store's.
    """

    def __init__(
        self,
        address: str,
        assignment: Assignment,
        root_names: Mapping[str, str],
        jobs: Sequence[Job],
        *,
        num_decoders: int | None = None,
    ) -> None:
        if assignment.device.startswith("cuda:"):
            raise UsageError(
                f"--device {assignment.device} with --ray",
                allowed="auto, cpu or cuda: Ray gives each worker a GPU of its own",
                to_do="use --device cuda",
            )
        self._ray = _connected(address)
        self._workers, self._idle = list[Any](), list[Any]()
        self._running = dict[
            Any, tuple[Any, list[Job]]
        ]()  # what is awaited, of whom; no jobs: that it starts
        self._failed_starts = 0  # one after the other
        self._make: Callable[[], Any]
        self.notes = list[str]()
        self._open = ExitStack()
        self._open.callback(self._ray.shutdown)
        self._open.enter_context(redirect_stdout(sys.stderr))  # where Ray tells of dead workers
        with ExitStack() as unless_started:
            unless_started.callback(self.close)
            terms = Terms.of_run(assignment.store, jobs, root_names)
            self._start(assignment, terms, num_decoders, num_jobs=len(jobs))
            unless_started.pop_all()

    def _start(
        self, assignment: Assignment, terms: Terms, num_decoders: int | None, *, num_jobs: int
    ) -> None:
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        seats = Seats.of(nodes, device=assignment.device, num_decoders=num_decoders, num_jobs=num_jobs)
        num_cpus = sum(int(node.get("CPU", 0)) for node in nodes)
        if seats.num_workers < 1:
            raise UsageError(
                f"a Ray cluster of {num_cpus} processors",
                allowed=f"room for one worker, which takes {seats.num_cpus}",
                to_do="add machines with `ray start --address`, or lower --workers",
            )
        todo = replace(assignment, decoding=replace(assignment.decoding, num_workers=seats.num_cpus))
        actor = self._ray.remote(
            num_cpus=seats.num_cpus,
            num_gpus=seats.num_gpus,
            max_concurrency=2,  # the second hears `stop`
            scheduling_strategy="SPREAD",
        )(RemoteWorker)
        self._make = lambda: actor.remote(todo, terms)
        self._workers = [self._make() for _ in range(seats.num_workers)]
        started = {worker.start.remote(): worker for worker in self._workers}
        ready, late = self._ray.wait(list(started), num_returns=len(started), timeout=READY_SECONDS)
        if not ready and self._ray.available_resources().get("CPU", 0) < seats.num_cpus:
            raise UsageError(
                f"a Ray cluster of {num_cpus} processors, all of them taken",
                allowed=f"room for one worker, which takes {seats.num_cpus}",
                to_do="wait for what runs there, or lower --workers",
            )
        ready = ready or self._ray.wait(late, num_returns=1, timeout=LOST_SECONDS)[0]
        if not ready:
            raise self._lost()
        backbones = sorted({self._started(reference) for reference in ready})
        self._idle = [started.pop(reference) for reference in ready]
        self._running = {reference: (worker, []) for reference, worker in started.items()}
        self.precisions = tuple(sorted({precision for _, precision in backbones}))
        places = "; ".join(f"{device}, {precision}" for device, precision in backbones)
        of = f"{len(ready)} of " * bool(started) + str(seats.num_workers)
        self.place = f"{of} worker{'s' * (seats.num_workers != 1)} of Ray ({places})"

    def _started(self, reference: Any) -> tuple[str, str]:
        """What `RemoteWorker.start` answered. Raises UsageError where vtr cannot run there at all."""
        try:
            backbone: tuple[str, str] = self._result(reference)
        except self._ray.exceptions.RayError as death:
            raise UsageError(
                f"a worker of Ray did not start: {brief(death)}",
                allowed="the same vtr, with the same extras, on every machine",
                to_do="install it there; Ray's logs on that machine say more",
            ) from death
        return backbone

    def close(self) -> None:
        """End the workers; those that are at work write what they have finished."""
        with self._open:
            busy = [worker for worker, chunk in self._running.values() if chunk]
            if busy:
                asked = [worker.stop.remote() for worker in busy]
                self._ray.wait(asked, num_returns=len(asked), timeout=FAREWELL_SECONDS)
            for worker in self._workers:
                self._ray.kill(worker)

    def extract(
        self, jobs: list[Job], on_frames: Callable[[int], None] = lambda num_frames: None
    ) -> Generator[Outcome, None, None]:
        """Each job's outcome, in no fixed order; never more handed out than the workers have in hand.

        Raises:
            VtrError: what the last worker ended with.
        """
        started, last_sign = time.monotonic(), time.monotonic()
        left, again, attempts = deque(jobs), deque[list[Job]](), Counter[Path]()
        num_done = 0
        while left or again or self._is_busy():
            while self._idle and (left or again):
                size = self._chunk_size(len(left), num_done, time.monotonic() - started)
                chunk = again.popleft() if again else [left.popleft() for _ in range(size)]
                worker = self._idle.pop()
                self._running[worker.extract.remote(chunk)] = worker, chunk
            ready, _ = self._ray.wait(list(self._running), num_returns=1, timeout=ANSWER_SECONDS)
            if ready or self._is_busy():
                last_sign = time.monotonic()
            elif time.monotonic() - last_sign > LOST_SECONDS:
                raise self._lost()
            for reference in ready:
                chunk, outcomes = self._ended(reference, attempts)
                ended = {outcome.job.path for outcome in outcomes}
                rest = [job for job in chunk if job.path not in ended]
                # Smaller, and at last alone, whoever had a part in the death of a worker: so it is known who it was.
                piece = max(1, math.ceil(len(rest) / PIECES))
                again.extend(rest[first : first + piece] for first in range(0, len(rest), piece))
                num_done += len(outcomes)
                on_frames(sum(outcome.num_frames for outcome in outcomes))
                yield from outcomes

    def _is_busy(self) -> bool:
        return any(chunk for _, chunk in self._running.values())

    def _ended(self, reference: Any, attempts: Counter[Path]) -> tuple[list[Job], list[Outcome]]:
        """The jobs that a worker had, and the outcomes of those that need not be done again; the worker is idle,
        starts anew or is given up. `attempts` counts for each video those that came to nothing."""
        worker, chunk = self._running.pop(reference)
        try:
            answer = self._result(reference)
        except VtrError as trouble:  # of that machine: the others may do without it
            self._give_up(worker, trouble)
            return chunk, []
        except self._ray.exceptions.RayError as death:
            self._failed_starts = 0 if chunk else self._failed_starts + 1
            self._replace(worker, death)
            attempts.update(job.path for job in chunk)
            if len(chunk) != 1 or attempts[chunk[0].path] < MAX_ATTEMPTS:
                return chunk, []
            detail = f"{MAX_ATTEMPTS} workers died at it: {brief(death)}"
            error = VideoError("worker-died", detail, path=str(chunk[0].path))
            return chunk, [Outcome(job=chunk[0], error=error)]
        self._idle.append(worker)
        if not chunk:
            self._failed_starts = 0
            return [], []
        outcomes: list[Outcome] = answer
        unseen = [outcome for outcome in outcomes if _is_unseen(outcome)]
        if len(unseen) == len(chunk) and len(self._workers) > 1:
            self._idle.remove(worker)
            self._give_up(worker, unseen[0].error)
        attempts.update(outcome.job.path for outcome in unseen)
        late = {outcome.job.path for outcome in unseen if attempts[outcome.job.path] < MAX_ATTEMPTS}
        return chunk, [outcome for outcome in outcomes if outcome.job.path not in late]

    def _replace(self, worker: Any, death: Exception) -> None:
        """A new worker for one that died, where the cluster has room for it. (One that Ray itself starts anew refuses
        whatever is asked of it meanwhile.) Gives it up where new ones die, too, before they have started."""
        if self._failed_starts >= MAX_ATTEMPTS:
            self._give_up(worker, self._lost(brief(death)))
            return
        self._workers.remove(worker)
        self._ray.kill(worker)
        fresh = self._make()
        self._workers.append(fresh)
        self._running[fresh.start.remote()] = fresh, []

    def _give_up(self, worker: Any, trouble: VtrError | None) -> None:
        """Go on without a worker. Raises its trouble where it was the last one."""
        self._workers.remove(worker)
        self._ray.kill(worker)
        if not self._workers:
            raise trouble or self._lost()
        self.notes.append(f"went on without one worker of Ray: {trouble}")

    def _lost(self, why: str = "none answers") -> StoreError:
        return StoreError(
            f"no worker of Ray is left: {why}",
            allowed="one machine at least that can take a worker",
            to_do="look at `ray status`, then run it again: what is finished is kept",
        )

    def _chunk_size(self, num_left: int, num_done: int, seconds: float) -> int:
        """Videos to hand out at once: what keeps a worker busy for CHUNK_SHARE of the run so far, and in the end so
        few that all workers end together."""
        fair = math.ceil(num_left / (2 * len(self._workers)))
        if not num_done:
            return max(1, min(FIRST_CHUNK, fair))
        patience = min(max(MIN_CHUNK_SECONDS, CHUNK_SHARE * seconds), MAX_CHUNK_SECONDS)
        per_worker = num_done / seconds / len(self._workers)
        return max(1, min(MAX_CHUNK, fair, round(patience * per_worker)))

    def _result(self, reference: Any) -> Any:
        """What a worker answered. Raises its own error where it is one of vtr's."""
        try:
            return self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, VtrError):
                raise error.cause from None
            raise RuntimeError(str(error)) from error  # a fault of ours, with its traceback


def _is_seen(path: Path, num_bytes: int) -> bool:
    """Whether a file of that size is there for this process; not where its mount is broken or its folder closed."""
    try:
        return path.stat().st_size == num_bytes and path.is_file()
    except OSError:
        return False


def _without_a_file(outcome: Outcome) -> Outcome:
    """Whatever ffmpeg said of a file that went away under it: that it is not there."""
    if outcome.error is None or os.path.exists(outcome.job.path):
        return outcome
    detail = f"it is gone on {platform.node()}"
    return replace(outcome, error=VideoError("not-found", detail, path=str(outcome.job.path)))


def _is_unseen(outcome: Outcome) -> bool:
    """Whether a worker did not find a file that is there: its machine does not see what this one sees."""
    if outcome.error is None or outcome.error.reason not in UNSEEN:
        return False
    try:
        require_unchanged(outcome.job)
    except VideoError:
        return False
    return True


def _require_answer(address: str) -> None:
    """Raises OSError where nothing listens at HOST:PORT: Ray itself would wait for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_SECONDS).close()


def _show_token() -> None:
    """Ray asks for a token by default where one lies in the home folder, but shows it only when told to; a cluster that
    asks for none takes it too."""
    path = os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token"
    if os.environ.get("RAY_AUTH_TOKEN") or Path(path).is_file():
        os.environ.setdefault("RAY_AUTH_MODE", "token")


def _connected(address: str) -> Any:
    """Ray, connected. It sends nothing home (`RAY_USAGE_STATS_ENABLED`), unless the user says so."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if address != LOCAL:
        _show_token()
    try:
        import ray
    except ImportError:
        raise UsageError(
            f"--ray {address} without Ray",
            allowed="the extra of that name",
            to_do='install it: pip install "vtrcli[ray]"',
        ) from None
    where: dict[str, Any] = {"include_dashboard": False} if address == LOCAL else {}
    try:
        _require_answer(address)
        ray.init(address=address, log_to_driver=False, configure_logging=False, **where)
    except (ValueError, OverflowError, RuntimeError, OSError) as cause:
        if "AuthenticationError" in str(cause.__cause__):
            raise UsageError(
                f"--ray {address}: the cluster asks for a token",
                allowed="the one that it was started with",
                to_do="copy ~/.ray/auth_token from there, or name a file by RAY_AUTH_TOKEN_PATH",
            ) from cause
        raise UsageError(
            f"--ray {address}: {brief(cause)}",
            allowed=f"auto, HOST:PORT, ray://HOST:PORT, or {LOCAL} for this machine alone",
            to_do="start a cluster with `ray start --head`, and name its address",
        ) from cause
    return ray
