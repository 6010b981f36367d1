"""The epochs of a training run: steps, validation, early stopping, saving. Knows no data set and no file format."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn

from vtrcli.errors import InputError
from vtrcli.model.train_settings import TrainSettings
from vtrcli.training.checkpoint import Progress
from vtrcli.training.distributed import World, any_process, from_first
from vtrcli.training.encoder import PairBatch, batch_loss
from vtrcli.training.optimizer import num_warmup_steps, rate_factor, set_rate

SAVE_SECONDS = 600.0  # within a long epoch


class BatchSource(Protocol):
    """Where batches come from. `batches(epoch, first)` begins with batch number `first` of the epoch."""

    def num_batches(self) -> int:
        """Batches per epoch."""

    def batches(self, epoch: int, first: int) -> Iterator[PairBatch]:
        """This process's part of each batch."""

    def describe(self, epoch: int, batch: int) -> str:
        """Which videos a batch holds, for an error message."""


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


@dataclass(frozen=True, kw_only=True)
class Hooks:
    """What the loop asks of its caller."""

    validate: Callable[[], dict[str, Any]]
    score: Callable[[dict[str, Any]], float]
    save_state: Callable[[Progress], None]
    save_best: Callable[[], None]
    on_epoch: Callable[[EpochReport], None]
    on_step: Callable[[int, int, float], None]
    should_stop: Callable[[], bool]


class Interrupted(Exception):
    """Training was asked to stop; the state is saved."""


def run_epochs(
    encoder: nn.Module,
    camoe: nn.Module,
    optimizer: torch.optim.Optimizer,
    source: BatchSource,
    settings: TrainSettings,
    progress: Progress,
    hooks: Hooks,
    *,
    device: str,
    world: World,
    use_bfloat16: bool,
) -> Progress:
    """Train from where `progress` stands to the last epoch, or until `patience` steps brought nothing.

    Epoch 0 of the reports is the untrained model: what training must beat.

    Raises:
        Interrupted: `should_stop` said so; the state is saved.
        InputError: the loss is no longer a finite number; nothing was saved after the last good state.
    """
    run = _Loop(encoder, camoe, optimizer, source, settings, progress, hooks, device, world, use_bfloat16)
    if progress.step == 0 and progress.epoch == 0:
        run.report()
    while progress.epoch < run.num_epochs and not run.is_out_of_patience():
        run.epoch()
    return progress


class _Loop:
    def __init__(
        self,
        encoder: nn.Module,
        camoe: Any,
        optimizer: torch.optim.Optimizer,
        source: BatchSource,
        settings: TrainSettings,
        progress: Progress,
        hooks: Hooks,
        device: str,
        world: World,
        use_bfloat16: bool,
    ) -> None:
        self.encoder, self.camoe, self.optimizer = encoder, camoe, optimizer
        self.source, self.settings, self.progress, self.hooks = source, settings, progress, hooks
        self.device, self.world, self.use_bfloat16 = device, world, use_bfloat16
        self.num_batches = source.num_batches()
        self.num_epochs = settings.num_epochs(self.num_batches)
        self.num_steps = self.num_epochs * self.num_batches
        self.data_seconds, self.norms = 0.0, list[float]()  # since the last report; not saved
        self.last_save = time.monotonic()

    def is_out_of_patience(self) -> bool:
        """Whether nothing was gained for as many steps as the settings allow, those of the warm-up not counted."""
        patience, progress = self.settings.patience, self.progress
        warmup = num_warmup_steps(self.num_steps, self.settings.warmup_share)
        since = max(progress.waiting_since, warmup)
        has_just_reported = progress.reported_step == progress.step
        return patience is not None and has_just_reported and progress.step - since >= patience

    def epoch(self) -> None:
        """The rest of the current epoch and, where it is due, validation and saving."""
        progress = self.progress
        self.encoder.train()
        started = time.monotonic()
        batches = self.source.batches(progress.epoch, progress.batch)
        while True:
            before = time.monotonic()
            batch = next(batches, None)
            self.data_seconds += time.monotonic() - before
            if batch is None:
                break
            loss, norm = self.step(batch)
            progress.loss_sum += loss
            self.norms.append(norm)
            progress.batch += 1
            progress.step += 1
            self.hooks.on_step(progress.step, self.num_steps, loss)
            self.after_step(started)
        progress.epoch, progress.batch = progress.epoch + 1, 0
        progress.seconds += time.monotonic() - started
        if self.settings.is_validated(progress.epoch, self.num_batches):
            self.report()

    def step(self, batch: PairBatch) -> tuple[float, float]:
        """One update; returns the loss and the gradient's norm before clipping."""
        progress, settings = self.progress, self.settings
        factor = rate_factor(progress.step, num_steps=self.num_steps, warmup_share=settings.warmup_share)
        set_rate(self.optimizer, factor)
        self.optimizer.zero_grad(set_to_none=True)
        kind = self.device.partition(":")[0]
        with torch.autocast(kind, dtype=torch.bfloat16, enabled=self.use_bfloat16):
            loss = batch_loss(
                self.encoder,
                batch.to(self.device),
                world=self.world,
                dsl_temperature=settings.dsl_temperature,
            )
        value = float(loss.detach())
        if value != value or value in (float("inf"), float("-inf")):
            raise self.not_finite(value)
        loss.backward()  # type: ignore[no-untyped-call]
        parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        norm = float(torch.nn.utils.clip_grad_norm_(parameters, settings.max_gradient_norm))
        if norm != norm or norm == float("inf"):
            raise self.not_finite(norm)
        self.optimizer.step()
        self.camoe.clamp_log_scale()
        return value, norm

    def not_finite(self, value: float) -> InputError:
        """The error that names the batch."""
        progress = self.progress
        videos = self.source.describe(progress.epoch, progress.batch)
        return InputError(
            f"the loss or its gradient is {value} in batch {progress.batch} of epoch {progress.epoch + 1} ({videos})",
            allowed="finite numbers; the run keeps its last good state",
            to_do="lower --learning-rate, raise --dsl-temperature, or check these videos with `vtr store verify`",
        )

    def after_step(self, started: float) -> None:
        """Save now and then, and when asked to stop."""
        stop = any_process(self.hooks.should_stop(), self.world)
        now = time.monotonic()
        if stop or now - self.last_save >= SAVE_SECONDS:
            spent = self.progress.seconds
            self.progress.seconds = spent + now - started
            if self.world.is_first:
                self.hooks.save_state(self.progress)
            self.progress.seconds = spent
            self.last_save = now
        if stop:
            raise Interrupted

    def report(self) -> None:
        """Validate, keep the best, report on the steps since the last time, and save the state."""
        progress = self.progress
        num_steps = progress.step - progress.reported_step
        loss = progress.loss_sum / num_steps if num_steps else None
        norm = sum(self.norms) / len(self.norms) if self.norms else None
        seconds, data_seconds = progress.seconds, self.data_seconds
        progress.reported_step, progress.loss_sum, progress.seconds = progress.step, 0.0, 0.0
        self.data_seconds, self.norms = 0.0, []
        self.encoder.eval()
        with torch.inference_mode():
            val = self.hooks.validate()
        score = from_first(self.hooks.score(val), self.world)
        is_best = score > progress.best
        if is_best:
            progress.best, progress.best_epoch, progress.waiting_since = score, progress.epoch, progress.step
        if not self.world.is_first:
            return
        if is_best:
            self.hooks.save_best()
        rate = float(self.optimizer.param_groups[0]["lr"])
        scale = float(self.camoe.logit_scale.detach())
        self.hooks.on_epoch(
            EpochReport(
                progress.epoch, progress.step, loss, rate, norm, scale, seconds, data_seconds, val, is_best
            )
        )
        # Last: a run that is killed before repeats these steps, one that is killed after has their report.
        self.hooks.save_state(progress)
        self.last_save = time.monotonic()
