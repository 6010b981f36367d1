"""What training writes into a run's folder, beside its config and its model; and what it tells who watches.

last.safetensors, where the run stands, to go on from; metrics.jsonl, a line per validation; curves.svg, its picture;
TensorBoard's events.
"""

from __future__ import annotations

import errno
import importlib.util
import io
import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from vtrcli.errors import UsageError, WeightsError
from vtrcli.files import write_whole
from vtrcli.model.runs import (
    CURVES,
    METRICS,
    RunConfig,
    damaged_run,
    fill,
    load_tensors,
    open_tensors,
    save_tensors,
)

STATE_FORMAT = "vtr-train-state"
RECALLS = ("R@1", "R@5", "R@10")


@dataclass(frozen=True)
class EpochReport:
    """One line of `metrics.jsonl`: means over the steps since the line before. `data_seconds` was spent waiting for
    batches; `val` are validation metrics."""

    epoch: int
    step: int
    loss: float | None
    learning_rate: float
    gradient_norm: float | None
    logit_scale: float
    seconds: float
    data_seconds: float
    val: dict[str, Any]
    is_best: bool

    def to_json(self) -> dict[str, Any]:
        """The JSON object of the line."""
        return dict(vars(self))


@dataclass(frozen=True, repr=False)
class TrainResult:
    """What a run brought. `val` are the metrics of the epoch that was kept; epoch 0 is the untrained model."""

    run: Path
    epochs: int
    best_epoch: int
    steps: int
    best_step: int
    seconds: float
    val: dict[str, Any]
    was_interrupted: bool

    def __repr__(self) -> str:
        recall = ", ".join(f"{way} R@1 {self.val[way]['R@1']:.1f}" for way in ("t2v", "v2t") if self.val)
        return f"<TrainResult {str(self.run)!r}: {self.epochs:,} epochs, kept {self.best_epoch:,}: {recall}>"

    def to_json(self) -> dict[str, Any]:
        """The keys of `vtr train --json`."""
        return {
            "run": str(self.run),
            "epochs": self.epochs,
            "best_epoch": self.best_epoch,
            "steps": self.steps,
            "best_step": self.best_step,
            "seconds": round(self.seconds, 3),
            "val": self.val,
            "interrupted": self.was_interrupted,
        }

    def table(self) -> list[dict[str, Any]]:
        """One row per epoch, the lines of the run's metrics.jsonl."""
        return read_metrics(self.run)


@dataclass(frozen=True)
class Display:
    """How a caller watches a run; every function may be left out."""

    note: Callable[[str], None] = lambda text: None
    cache_progress: Callable[[int, int], None] = lambda num_done, total: None
    begin: Callable[[RunConfig], None] = lambda config: None
    step: Callable[[int, int, float], None] = lambda step, num_steps, loss: None
    epoch: Callable[[EpochReport], None] = lambda report: None


def validation_score(val: dict[str, Any]) -> float:
    """What decides which epoch is kept: the sum of R@1 of both directions (our choice)."""
    return float(sum(metrics["R@1"] for metrics in val.values()))


def append_metrics(run: Path, row: Mapping[str, Any]) -> None:
    """Add one line to `metrics.jsonl`. Raises WeightsError when it cannot be written."""
    try:
        with open(run / METRICS, "ab+", buffering=0) as file:
            # A kill or a full disk may have torn the last line; it must not swallow this one.
            is_torn = (
                file.seek(0, os.SEEK_END) > 0 and file.seek(-1, os.SEEK_END) >= 0 and file.read(1) != b"\n"
            )
            line = b"\n" * is_torn + json.dumps(row).encode() + b"\n"
            if file.write(line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError as cause:
        raise WeightsError(
            f"cannot write {run / METRICS}: {cause.strerror}",
            allowed="the run's folder must be writable and the disk must have room",
            to_do="free some space, then go on with --resume",
        ) from cause


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """The lines of `metrics.jsonl`, the last one per epoch; unfinished and damaged lines are passed over."""
    rows: dict[int, dict[str, Any]] = {}
    path = run / METRICS
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else ():
        try:
            row = json.loads(line)
            rows[int(row["epoch"])] = row
        except (ValueError, KeyError, TypeError, OverflowError):
            continue
    return [rows[epoch] for epoch in sorted(rows)]


def draw_run(run: Path) -> None:
    """Bring curves.svg up to date. Raises WeightsError when it cannot be written."""
    rows = read_metrics(run)
    with suppress(KeyError, TypeError, ValueError):  # a damaged line costs the picture, not the run
        best = max(rows, key=lambda row: (validation_score(row["val"]), -row["epoch"]))
        draw_curves(run / CURVES, rows, best_epoch=best["epoch"])


def draw_curves(path: Path, rows: Sequence[dict[str, Any]], *, best_epoch: int) -> None:
    """Draw the lines of `metrics.jsonl`. Raises WeightsError when the picture cannot be written."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.2), layout="constrained")
    FigureCanvasSVG(figure)
    loss_axis, t2v_axis, v2t_axis = figure.subplots(1, 3)
    trained = [row for row in rows if row["loss"] is not None]
    loss_axis.plot([row["epoch"] for row in trained], [row["loss"] for row in trained], color="#444444")
    loss_axis.set_title("training loss")
    for axis, direction, title in (
        (t2v_axis, "t2v", "validation, text to video"),
        (v2t_axis, "v2t", "video to text"),
    ):
        for name, color in zip(RECALLS, ("#1b6ca8", "#5fa3d0", "#a9cde6"), strict=True):
            axis.plot(
                [row["epoch"] for row in rows],
                [row["val"][direction][name] for row in rows],
                color=color,
                label=name,
            )
        axis.axvline(best_epoch, color="#c0392b", linewidth=0.8, linestyle="--", label="kept")
        axis.set_ylim(0, 100)
        axis.set_title(title)
    v2t_axis.legend(frameon=False, fontsize="small")
    for axis in (loss_axis, t2v_axis, v2t_axis):
        axis.set_xlabel("epoch")
        axis.spines[["top", "right"]].set_visible(False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    write_whole(path, buffer.getvalue(), error=WeightsError)


def require_tensorboard() -> None:
    """Raises UsageError when the extra is not installed, before a run folder is made."""
    if importlib.util.find_spec("tensorboard") is None:
        raise UsageError(
            "--tensorboard without the package",
            allowed="the extra vtrcli[tensorboard]",
            to_do="pip install 'vtrcli[tensorboard]', or leave --tensorboard out",
        )


def open_tensorboard(out: Path) -> Any:
    """A TensorBoard writer."""
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(out / "tensorboard"))


def add_events(writer: Any, row: Mapping[str, Any]) -> None:
    """A line of metrics.jsonl for TensorBoard."""
    for direction, metrics in row["val"].items():
        for name in RECALLS:
            writer.add_scalar(f"val/{direction} {name}", metrics[name], row["epoch"])
    for name in ("loss", "learning_rate", "gradient_norm", "logit_scale"):
        if row[name] is not None:
            writer.add_scalar(f"train/{name}", row[name], row["epoch"])


@dataclass
class TrainState:
    """Where a run stands: the next batch is `batch` of `epoch` (from 0). `best` is the best validation score.

    `loss_sum` and `seconds` are of the steps since `reported_step`; patience counts from `waiting_since`.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    best: float = float("-inf")
    best_epoch: int = 0
    waiting_since: int = 0
    reported_step: int = 0
    loss_sum: float = 0.0
    seconds: float = 0.0


def save_state(
    path: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer, state: TrainState
) -> None:
    """Write everything that `load_state` needs to go on bit for bit (on a CPU)."""
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    for number, moments in optimizer.state_dict()["state"].items():
        for name, value in moments.items():
            tensors[f"optimizer.{number}.{name}"] = torch.as_tensor(value)
    tensors["random.cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["random.cuda"] = torch.cuda.get_rng_state()
    body = {**vars(state), "best": None if state.best == float("-inf") else state.best}
    save_tensors(path, tensors, {"format": STATE_FORMAT, "progress": json.dumps(body)})


def load_state(path: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> TrainState:
    """Restore what `save_state` wrote: weights, optimizer, random state.

    Raises:
        WeightsError: no such file, damaged, or of another model.
    """
    tensors, metadata = load_tensors(path)
    if metadata.get("format") != STATE_FORMAT:
        raise damaged_run(path, "it is not a training state")
    fill(path, model, _below(tensors, "model."))
    states: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in _below(tensors, "optimizer.").items():
        number, _, key = name.partition(".")
        states.setdefault(int(number), {})[key] = tensor
    optimizer.load_state_dict({**optimizer.state_dict(), "state": states})
    torch.set_rng_state(tensors["random.cpu"].cpu())
    if "random.cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["random.cuda"].cpu())
    return _train_state(path, metadata)


def read_train_state(path: Path) -> TrainState:
    """Where a saved run stands, without its weights.

    Raises:
        WeightsError: no such file, or damaged.
    """
    with open_tensors(path) as file:
        return _train_state(path, file.metadata() or {})


def _train_state(path: Path, metadata: dict[str, str]) -> TrainState:
    try:
        body: dict[str, Any] = json.loads(metadata["progress"])
        best = float("-inf") if body["best"] is None else float(body["best"])
        since = {
            "waiting_since": body["step"],
            "reported_step": body["step"] - body["batch"],
        }  # runs before 0.1.0
        return TrainState(**{**since, **body, "best": best})
    except (KeyError, TypeError, ValueError) as cause:
        raise damaged_run(path, str(cause)) from cause


def _below(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
