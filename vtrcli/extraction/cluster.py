"""`vtr extract --ray`: the same work on each video, in processes of a Ray cluster that all see videos and store.

The process that was started plans, hands out chunks of jobs and notes how they ended; workers decode, encode and write
shards of their own. A chunk is reported when all of it is written, so a worker that is killed takes nothing along but
the chunk in its hands, which is done again elsewhere.
"""

from __future__ import annotations

import math
import os
import platform
import socket
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

from vtrcli import __version__
from vtrcli.errors import UsageError, VideoError, VtrError, WeightsError, brief
from vtrcli.extraction.pipeline import Job
from vtrcli.extraction.worker import Assignment, Keeper, Outcome, Worker
from vtrcli.store.config import is_store, read_config
from vtrcli.store.reader import FeatureStore

LOCAL = "local"  # the address that starts a cluster on this machine
DECODERS = 4  # of a worker without a GPU
ANSWER_SECONDS = 10.0  # for a cluster to take a connection
MAX_ATTEMPTS = 3  # at a video whose worker died
FIRST_CHUNK, MAX_CHUNK = 4, 1024  # videos
# A kill costs at most this much work of one worker: 5 s at first, later 5 % of the run, so that shards are few.
MIN_CHUNK_SECONDS, MAX_CHUNK_SECONDS, CHUNK_SHARE = 5.0, 120.0, 0.05


class RemoteWorker:
    """A worker in a process of its own. Ray makes an actor of it, and another one when it died.

    Args:
        root_names: as of `Keeper`.
        version: of the vtr that the run was started with.
    """

    def __init__(self, assignment: Assignment, root_names: Mapping[str, str], version: str) -> None:
        self._assignment, self._root_names, self._version = assignment, root_names, version
        self._worker: Worker | None = None

    def start(self) -> tuple[str, str]:
        """Load the backbone; says on which device and in which precision it computes.

        Raises:
            UsageError: another vtr is installed here, or the store is not here.
            WeightsError: the backbone is not here, or is not the store's.
        """
        todo, here = self._assignment, platform.node()
        if self._version != __version__:
            raise UsageError(
                f"vtr {__version__} on {here}, vtr {self._version} where the run was started",
                allowed="one version in the whole cluster",
                to_do="install it there",
            )
        if not is_store(todo.store) or read_config(todo.store) != todo.config:
            raise UsageError(
                f"{todo.store} on {here} is not the store of this run",
                allowed="videos and a store that every machine sees under the same paths",
                to_do="mount them there",
            )
        keeper = Keeper(todo.store, todo.config, lambda: self._root_names)
        worker = Worker(todo, keeper, FeatureStore(todo.store))
        have, want = worker.backbone.info, todo.config.backbone
        if have.sha256 != want.sha256:
            raise WeightsError(
                f"{todo.backbone} on {here} has the weights {have.sha256[:12]}, the store is of {want.sha256[:12]}",
                allowed="the same weights on every machine",
                to_do="copy the file there",
            )
        self._worker = worker
        return worker.backbone.device, worker.backbone.precision

    def extract(self, jobs: list[Job]) -> list[Outcome]:
        """How each job ended; what is finished lies in a shard. In a process that was renewed it raises as `start`."""
        if self._worker is None:
            self.start()
        assert self._worker is not None
        return list(self._worker.extract(jobs))


class Cluster:
    """The workers of one run; `precisions` and `place` as of `Worker`.

    Args:
        address: of the cluster (`auto`, `HOST:PORT`, `ray://HOST:PORT`), or LOCAL for one on this machine alone.
        num_decoders: of each worker; None: as many as there are processors for each GPU, else DECODERS.

    Raises:
        UsageError: Ray is not installed, no cluster there, or one without room for a worker.
        WeightsError: the backbone is not there, or is not the store's.
    """

    def __init__(
        self,
        address: str,
        assignment: Assignment,
        root_names: Mapping[str, str],
        *,
        num_decoders: int | None = None,
    ) -> None:
        self._ray = _connected(address)
        self._workers: list[Any] = []
        self._open = ExitStack()
        self._open.callback(self._ray.shutdown)
        self._open.enter_context(redirect_stdout(sys.stderr))  # where Ray tells of dead workers
        with ExitStack() as unless_started:
            unless_started.callback(self.close)
            self._start(assignment, root_names, num_decoders)
            unless_started.pop_all()

    def _start(self, assignment: Assignment, root_names: Mapping[str, str], num_decoders: int | None) -> None:
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        cpus = [int(node.get("CPU", 0)) for node in nodes]
        num_gpus = sum(int(node.get("GPU", 0)) for node in nodes)
        if not assignment.device.startswith(("auto", "cuda")):
            num_gpus = 0
        wanted = num_decoders or (sum(cpus) // num_gpus if num_gpus else DECODERS)
        each = max(1, min(wanted, max(cpus, default=0)))
        room = sum(num_cpus // each for num_cpus in cpus)
        num_workers = min(num_gpus, room) if num_gpus else room
        if num_workers < 1:
            raise UsageError(
                f"a Ray cluster of {sum(cpus)} processors",
                allowed=f"room for one worker, which takes {each}",
                to_do="add machines with `ray start --address`, or lower --workers",
            )
        todo = replace(assignment, decoding=replace(assignment.decoding, num_workers=each))
        actor = self._ray.remote(
            num_cpus=each, num_gpus=1 if num_gpus else 0, max_restarts=-1, scheduling_strategy="SPREAD"
        )(RemoteWorker)
        self._workers = [actor.remote(todo, root_names, __version__) for _ in range(num_workers)]
        started = [worker.start.remote() for worker in self._workers]
        backbones = sorted(set(map(self._result, started)))
        self.precisions = tuple(sorted({precision for _, precision in backbones}))
        places = "; ".join(f"{device}, {precision}" for device, precision in backbones)
        self.place = f"{num_workers} worker{'s' * (num_workers != 1)} of Ray ({places})"

    def close(self) -> None:
        """End the workers, whatever they are doing."""
        for worker in self._workers:
            self._ray.kill(worker)
        self._open.close()

    def extract(
        self, jobs: list[Job], on_frames: Callable[[int], None] = lambda num_frames: None
    ) -> Generator[Outcome, None, None]:
        """Each job's outcome, in no fixed order; never more handed out than the workers have in hand."""
        ray, started = self._ray, time.monotonic()
        left, again, attempts = deque(jobs), deque[Job](), Counter[Path]()
        idle, running = list(self._workers), dict[Any, tuple[Any, list[Job]]]()
        num_done = 0
        while left or again or running:
            while idle and (left or again):
                # Alone, whoever had a part in the death of a worker: so it is known who it was.
                size = self._chunk_size(len(left), num_done, time.monotonic() - started)
                chunk = [again.popleft()] if again else [left.popleft() for _ in range(size)]
                worker = idle.pop()
                running[worker.extract.remote(chunk)] = worker, chunk
            [reference], _ = ray.wait(list(running), num_returns=1)
            worker, chunk = running.pop(reference)
            idle.append(worker)
            try:
                outcomes = self._result(reference)
            except ray.exceptions.RayError as death:
                outcomes = []
                for job in chunk:
                    attempts[job.path] += 1
                    if attempts[job.path] < MAX_ATTEMPTS:
                        again.append(job)
                        continue
                    detail = f"{MAX_ATTEMPTS} workers died at it: {brief(death)}"
                    error = VideoError("worker-died", detail, path=str(job.path))
                    outcomes.append(Outcome(job=job, error=error))
            num_done += len(outcomes)
            on_frames(sum(outcome.num_frames for outcome in outcomes))
            yield from outcomes

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


def _require_answer(address: str) -> None:
    """Raises OSError where nothing listens at HOST:PORT: Ray itself would wait for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_SECONDS).close()


def _connected(address: str) -> Any:
    """Ray, connected. It sends nothing home (`RAY_USAGE_STATS_ENABLED`), unless the user says so."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
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
        ray.init(
            address=None if address == LOCAL else address,
            log_to_driver=False,
            configure_logging=False,
            **where,
        )
    except (ValueError, OverflowError, RuntimeError, OSError) as cause:
        raise UsageError(
            f"--ray {address}: {brief(cause)}",
            allowed=f"auto, HOST:PORT, ray://HOST:PORT, or {LOCAL} for this machine alone",
            to_do="start a cluster with `ray start --head`, and name its address",
        ) from cause
    return ray
