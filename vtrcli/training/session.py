"""One process's share of a run: ties the loop to the run folder, the picture, TensorBoard and the display."""

from __future__ import annotations

import importlib.util
import json
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vtrcli.errors import UsageError
from vtrcli.model import run_folder
from vtrcli.model.camoe import Camoe
from vtrcli.model.run_folder import RunConfig
from vtrcli.model.train_settings import TrainSettings
from vtrcli.training import checkpoint
from vtrcli.training.checkpoint import Progress
from vtrcli.training.curves import draw_curves
from vtrcli.training.distributed import World
from vtrcli.training.loop import BatchSource, EpochReport, Hooks, Interrupted, run_epochs
from vtrcli.training.optimizer import make_optimizer
from vtrcli.training.validation import validation_score

DRAW_SECONDS = 60.0  # curves.svg is drawn at the end, and this often before


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
        lines = (self.run / run_folder.METRICS).read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines]


@dataclass(frozen=True)
class Display:
    """How a caller watches a run; every function may be left out."""

    note: Callable[[str], None] = lambda text: None
    cache_progress: Callable[[int, int], None] = lambda num_done, total: None
    begin: Callable[[RunConfig], None] = lambda config: None
    step: Callable[[int, int, float], None] = lambda step, num_steps, loss: None
    epoch: Callable[[EpochReport], None] = lambda report: None


@dataclass(frozen=True, kw_only=True)
class Trainee:
    """What is trained. `encoder` holds `camoe` and, when fine-tuning, `clip`; its state is what a resumed run needs."""

    encoder: nn.Module
    camoe: Camoe
    clip: nn.Module | None
    source: BatchSource
    validate: Callable[[], dict[str, Any]]
    save_best: Callable[[], None]


class Session:
    """A run from its first or a saved step to its end."""

    def __init__(
        self,
        out: Path,
        trainee: Trainee,
        settings: TrainSettings,
        *,
        world: World,
        device: str,
        display: Display,
    ) -> None:
        self.out, self.trainee, self.settings = out, trainee, settings
        self.world, self.device, self.display = world, device, display
        self.last_drawn = time.monotonic()
        self.optimizer = make_optimizer(trainee.camoe, trainee.clip, settings)
        self.encoder = trainee.encoder
        if world.size > 1:
            self.encoder = nn.parallel.DistributedDataParallel(trainee.encoder)

    def run(
        self,
        *,
        resume: bool,
        is_prolonged: bool,
        tensorboard: bool,
        should_stop: Callable[[], bool],
        started: float,
    ) -> TrainResult:
        """Train to the end, or until `should_stop`. The patience of a run that is prolonged begins anew.

        `started` is when the command began (monotonic seconds).
        """
        trainee, last, progress = self.trainee, self.out / run_folder.LAST, Progress()
        if resume and last.exists():  # a run that ended before it saved anything begins with its first step
            progress = checkpoint.load_state(last, trainee.encoder, self.optimizer)
        if is_prolonged:
            progress.waiting_since = progress.step
        writer = open_tensorboard(self.out) if tensorboard and self.world.is_first else None
        hooks = Hooks(
            validate=trainee.validate,
            score=validation_score,
            save_state=lambda now: checkpoint.save_state(last, trainee.encoder, self.optimizer, now),
            save_best=trainee.save_best,
            on_epoch=lambda report: self.report(report, writer),
            on_step=self.display.step,
            should_stop=should_stop,
        )
        was_interrupted = False
        try:
            run_epochs(
                self.encoder, trainee.camoe, self.optimizer, trainee.source, self.settings, progress, hooks,
                device=self.device, world=self.world, use_bfloat16=uses_bfloat16(self.settings, self.device),
            )  # fmt: skip
        except Interrupted:
            was_interrupted = True
        finally:
            if writer is not None:
                writer.close()
        if self.world.is_first:
            self.draw()
        rows = run_folder.read_metrics(self.out)
        none: dict[str, Any] = {"val": {}, "step": 0}
        kept = none | next((row for row in rows if row["epoch"] == progress.best_epoch), {})
        return TrainResult(
            self.out,
            progress.epoch,
            progress.best_epoch,
            progress.step,
            kept["step"],
            time.monotonic() - started,
            kept["val"],
            was_interrupted,
        )

    def report(self, report: EpochReport, writer: Any) -> None:
        """Write the line, the picture and TensorBoard's events, and show the epoch."""
        run_folder.append_metrics(self.out, report.to_json())
        if time.monotonic() - self.last_drawn >= DRAW_SECONDS:
            self.draw()
        if writer is not None:
            for direction, metrics in report.val.items():
                for name in ("R@1", "R@5", "R@10"):
                    writer.add_scalar(f"val/{direction} {name}", metrics[name], report.epoch)
            for name in ("loss", "learning_rate", "gradient_norm", "logit_scale"):
                if getattr(report, name) is not None:
                    writer.add_scalar(f"train/{name}", getattr(report, name), report.epoch)
        self.display.epoch(report)

    def draw(self) -> None:
        """Bring the picture up to date."""
        rows = run_folder.read_metrics(self.out)
        with suppress(KeyError, TypeError, ValueError):  # a damaged line costs the picture, not the run
            self._draw(rows)
        self.last_drawn = time.monotonic()

    def _draw(self, rows: list[dict[str, Any]]) -> None:
        best = max(rows, key=lambda row: (validation_score(row["val"]), -row["epoch"]))
        draw_curves(self.out / run_folder.CURVES, rows, best_epoch=best["epoch"])


def uses_bfloat16(settings: TrainSettings, device: str) -> bool:
    """`auto` is bfloat16 on a GPU and float32 on a CPU, where runs then repeat bit for bit."""
    if settings.precision == "auto":
        return device.startswith("cuda")
    return settings.precision == "bfloat16"


def autocast(settings: TrainSettings, device: str) -> torch.autocast:
    """The number format that a step computes in."""
    enabled = uses_bfloat16(settings, device)
    return torch.autocast(device.partition(":")[0], dtype=torch.bfloat16, enabled=enabled)


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
