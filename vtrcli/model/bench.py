"""How fast backbones are here: frames per second, milliseconds per query, memory. Behind `vtr models bench`.

Everything is measured in child processes, so that a peak of memory is that model's own, and one that needs more than
there is, or never ends, costs its own row. Nothing heavy at import; `python -m vtrcli.model.bench` is the child.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vtrcli.errors import UsageError, VtrError, WeightsError
from vtrcli.model.backbone import ModelEntry, Precision, default_batch_size
from vtrcli.model.families import family_of, load_backbone
from vtrcli.model.models import list_models

# What one would choose between; others are measured when they are here, or named.
SHORT_LIST = ("ViT-B/32", "mobileclip2-s0", "pe-core-s16-384", "pe-core-b16", "siglip2-b16")
DEFAULT_SECONDS = 3.0  # that one number is measured for
DEFAULT_TIMEOUT_SECONDS = 600.0  # of one child
MIN_BATCHES, MAX_REPEATS = 3, 200
MIN_SHARE = 0.6  # of the processor; threads that wait for each other use less than all of it, too
QUERY = "a man is cooking in a kitchen"
_MEBIBYTE = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Speed:
    """One row. Rates are medians; MiB are peaks of a process that does this alone, torch included."""

    name: str
    is_random: bool  # random weights of the real architecture, as fast and as large
    parameters: int
    device: str
    precision: str  # of the image tower
    batch_size: int
    num_batches: int  # timed, after one that does not count
    frames_per_second: float  # from uint8 pixels to float32 features, both in the computer's memory
    slowest_batch: float  # frames per second of it
    alone_frames_per_second: float | None  # by processor time, as without other work; None on a GPU
    extract_mib: float | None
    gpu_mib: float | None  # torch's own peak, None without a GPU
    query_precision: str
    query_ms: float  # one text at a time, the text tower alone
    alone_query_ms: float | None
    query_mib: float | None
    new_process_seconds: float  # from its start to the first query's feature
    published_r1: float | None  # as `vtr models list` has it

    @property
    def was_disturbed(self) -> bool:
        """Whether other work took so much of the processor that the rates are not the model's own."""
        alone = self.alone_frames_per_second
        return alone is not None and self.frames_per_second < MIN_SHARE * alone


@dataclass(frozen=True, kw_only=True)
class NotMeasured:
    """A model that could not be measured, and why, in one line."""

    name: str
    why: str


def bench_models(
    names: Sequence[str] = (),
    *,
    device: str = "auto",
    precision: Precision = "auto",
    batch_size: int | None = None,
    seconds: float = DEFAULT_SECONDS,
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
    on_progress: Callable[[int, int, str], None] = lambda num_done, total, name: None,
) -> tuple[list[Speed], list[NotMeasured]]:
    """Measure models one after the other; those that are not here with random weights.

    Args:
        names: as `load_backbone` takes them; none: SHORT_LIST and what is here.
        batch_size: frames; None: the device's default.
        seconds: about so long each number is measured, but for at least MIN_BATCHES.
        timeout_seconds: after which a child is given up.
    """
    entries = {entry.name: entry for entry in list_models()}
    here = [entry.name for entry in entries.values() if entry.state != "absent" and entry.kind != "demo"]
    chosen = list(dict.fromkeys(names or (*SHORT_LIST, *here)))
    speeds, missing = [], []
    for number, name in enumerate(chosen):
        on_progress(number, len(chosen), name)
        settings = {"device": device, "precision": precision, "batch_size": batch_size, "seconds": seconds}
        try:
            speeds.append(_measured(name, entries.get(name), settings, timeout_seconds=timeout_seconds))
        except VtrError as error:
            missing.append(NotMeasured(name=name, why=str(error)))
    on_progress(len(chosen), len(chosen), "")
    return speeds, missing


def best_trades(speeds: Sequence[Speed]) -> set[str]:
    """The names of those than which no other is both faster and better (published R@1): the Pareto front."""
    known = [
        (speed.name, speed.alone_frames_per_second or speed.frames_per_second, speed.published_r1 or 0.0)
        for speed in speeds
    ]
    return {
        name
        for name, rate, recall in known
        if recall
        and not any(
            other_rate >= rate and other_recall >= recall and (other_rate, other_recall) != (rate, recall)
            for _, other_rate, other_recall in known
        )
    }


def _measured(
    name: str, entry: ModelEntry | None, settings: dict[str, Any], *, timeout_seconds: float
) -> Speed:
    is_random = entry is not None and entry.state == "absent"
    with tempfile.TemporaryDirectory(prefix="vtr-bench-") as folder:
        weights = name

        def child(do: str, **task: Any) -> dict[str, Any]:
            # What families remember of made-up weights is nothing to keep.
            own = {"XDG_CACHE_HOME": folder} if is_random else {}
            return _ask_child({"do": do, "name": weights, **task}, own, timeout_seconds=timeout_seconds)

        new = str(Path(folder) / "random") if is_random else None
        made = child("prepare", folder=new, device=settings["device"], precision=settings["precision"])
        weights, chosen = made.pop("weights"), made.pop("chosen")
        frames = child("frames", **{**settings, "precision": chosen})
        query = child("query", device=settings["device"], seconds=settings["seconds"], began=time.time())
    published = entry.published_r1 if entry else None
    return Speed(name=name, is_random=is_random, published_r1=published, **made, **frames, **query)


def _ask_child(task: dict[str, Any], own: dict[str, str], *, timeout_seconds: float) -> dict[str, Any]:
    """What the child prints. Raises WeightsError, or UsageError as it came about there."""
    command = [sys.executable, "-m", __name__, json.dumps(task)]
    try:
        done = subprocess.run(
            command,
            env={**os.environ, **own},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_seconds,
        )
    except subprocess.TimeoutExpired as error:
        raise _failed(task, f"it took more than {timeout_seconds:g} s", "give it more --timeout") from error
    try:
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        if done.returncode < 0:
            why = f"its process was killed (signal {-done.returncode}), most likely for want of memory"
            raise _failed(task, why, "use a smaller --batch-size or another model") from None
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise _failed(
            task, f"its process failed ({last})", "see whether `vtr models check` can use it"
        ) from None
    if "error" in answer:
        came_in, allowed, to_do = answer["error"]
        kind = UsageError if answer["kind"] == "UsageError" else WeightsError
        raise kind(came_in, allowed=allowed, to_do=to_do)
    return answer


def _failed(task: dict[str, Any], why: str, to_do: str) -> WeightsError:
    what = {"prepare": "its weights", "frames": "frames", "query": "queries"}[task["do"]]
    return WeightsError(f"{what} could not be measured: {why}", allowed="", to_do=to_do)


# --- in the child ---------------------------------------------------------------------------------------------


def main(task: dict[str, Any]) -> dict[str, Any]:
    """Do one task of `_ask_child`; what it was told becomes the arguments."""
    tasks: dict[str, Callable[..., dict[str, Any]]]
    tasks = {"prepare": _prepare, "frames": _frames, "query": _query}
    do = tasks[task.pop("do")]
    try:
        return do(**task)
    except VtrError as error:
        told = [error.came_in, error.allowed, error.to_do]
        return {"error": told, "kind": type(error).__name__}
    except (MemoryError, RuntimeError) as error:  # torch's words for it, also on a GPU
        if isinstance(error, RuntimeError) and "memory" not in str(error):
            raise
        first = str(error).partition("\n")[0]
        return {
            "error": [f"there is not enough memory ({first})", "", "use a smaller --batch-size"],
            "kind": "",
        }


def _prepare(*, name: str, folder: str | None, device: str, precision: Precision) -> dict[str, Any]:
    """Weights are found or made, and their precision is chosen: what is done once is no part of what is measured."""
    family = family_of(name)
    weights = name if folder is None else str(family.write_random(name, Path(folder)))
    family = family_of(weights)
    chosen = load_backbone(weights, device=device, precision=precision, towers="image").precision
    return {"weights": weights, "chosen": chosen, "parameters": family.num_parameters(weights)}


def _frames(
    *, name: str, device: str, precision: Precision, batch_size: int | None, seconds: float
) -> dict[str, Any]:
    import numpy as np

    backbone = load_backbone(name, device=device, precision=precision, towers="image")
    size = batch_size or default_batch_size(backbone.device)
    shape = (size, *backbone.preprocessing.shape)
    frames = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    times, processor = _timed(lambda: backbone.encode_images(frames), seconds, at_least=MIN_BATCHES)
    return {
        "device": backbone.device,
        "precision": backbone.precision,
        "batch_size": size,
        "num_batches": len(times),
        "frames_per_second": size / statistics.median(times),
        "slowest_batch": size / max(times),
        "alone_frames_per_second": size / processor if backbone.device == "cpu" else None,
        "extract_mib": _peak_mib(),
        "gpu_mib": _gpu_mib(backbone.device),
    }


def _query(*, name: str, device: str, seconds: float, began: float) -> dict[str, Any]:
    tower = load_backbone(name, device=device, towers="text")
    tower.encode_texts([QUERY])
    new_process_seconds = time.time() - began
    times, processor = _timed(lambda: tower.encode_texts([QUERY]), seconds, at_least=10)
    return {
        "query_precision": tower.precision,
        "query_ms": 1000 * statistics.median(times),
        "alone_query_ms": 1000 * processor if tower.device == "cpu" else None,
        "query_mib": _peak_mib(),
        "new_process_seconds": new_process_seconds,
    }


def _timed(run: Callable[[], object], seconds: float, *, at_least: int) -> tuple[list[float], float]:
    """Seconds of each run after one that does not count, and the median of the processor's time per thread of torch."""
    import torch

    run()
    begun = time.perf_counter()
    times: list[float] = []
    processor: list[float] = []
    while len(times) < at_least or (len(times) < MAX_REPEATS and time.perf_counter() - begun < seconds):
        started, used = time.perf_counter(), time.process_time()
        run()
        times.append(time.perf_counter() - started)
        processor.append(time.process_time() - used)
    return times, statistics.median(processor) / torch.get_num_threads()


def _peak_mib() -> float | None:
    """The most memory that this process ever held; None where the system does not tell."""
    # Linux' getrusage also counts what the parent held when it forked.
    with contextlib.suppress(OSError, KeyError, ValueError):
        status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        return int(status["VmHWM"].split()[0]) / 1024
    with contextlib.suppress(ImportError):
        resource = importlib.import_module("resource")
        return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) / _MEBIBYTE  # bytes on macOS
    return None


def _gpu_mib(device: str) -> float | None:
    import torch

    return torch.cuda.max_memory_allocated(device) / _MEBIBYTE if device.startswith("cuda") else None


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
