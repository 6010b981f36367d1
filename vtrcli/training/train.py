"""`train`: a head on the cached features of a data set, or with the backbone end to end. Behind `vtr train`.

`train` makes ready, `Run.epochs` is the loop: steps, validation, the best kept, the state saved.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from vtrcli.datasets.match_store import JoinedSplit
from vtrcli.datasets.registry import text_limit
from vtrcli.errors import InputError, StoreError, UsageError, WeightsError
from vtrcli.files import remove_abandoned
from vtrcli.model import runs
from vtrcli.model.backbone import TrainableBackbone, choose_device
from vtrcli.model.heads import Head, head_kind
from vtrcli.model.runs import RunConfig, encode_texts, encode_videos, save_weights, score_blocks
from vtrcli.model.train_settings import TrainSettings
from vtrcli.ranking.evaluate import evaluate
from vtrcli.ranking.scores import DenseScores, ScoreSource, VectorScores
from vtrcli.ranking.truth import Truth
from vtrcli.store.reader import FeatureStore
from vtrcli.text.cache import cache_texts, open_text_cache, unread
from vtrcli.text.streams import TaggerName, load_tagger
from vtrcli.training import record
from vtrcli.training.data import (
    CachedBatches,
    FeatureSet,
    PairOrder,
    join_splits,
    load_features,
    train_and_val,
)
from vtrcli.training.finetune import (
    FinetuneEncoder,
    FrameBatches,
    FrameSet,
    encode_set,
    frame_sets,
    starting_backbone,
)
from vtrcli.training.gradient_cache import backward_in_chunks
from vtrcli.training.record import (
    Display,
    EpochReport,
    TrainResult,
    TrainState,
    load_state,
    read_train_state,
    save_state,
    validation_score,
)
from vtrcli.training.step import (
    PairBatch,
    PairEncoder,
    World,
    any_process,
    autocast,
    backward,
    from_first,
    joined_world,
    make_optimizer,
    num_warmup_steps,
    rate_factor,
    set_rate,
)

SAVE_SECONDS = 600.0  # within a long epoch
DRAW_SECONDS = 60.0  # curves.svg is drawn at the end, and this often before


def train(
    *,
    store: Path,
    dataset: str,
    annotations: Path,
    out: Path,
    settings: TrainSettings,
    backbone: str | None = None,
    recipe: str | None = None,
    tagger: TaggerName = "hanta",
    device: str = "auto",
    resume: bool = False,
    epochs: int | None = None,
    steps: int | None = None,
    allow_missing: bool = False,
    tensorboard: bool = False,
    should_stop: Callable[[], bool] = lambda: False,
    display: Display | None = None,
) -> TrainResult:
    """Train heads on cached features (captions that are not cached yet are encoded first), or a backbone too.

    Args:
        backbone: what `settings.finetune` starts from; the store's by default. Cached features have theirs.
        resume: go on in `out` with the settings that its config.json records.
        epochs, steps: the length, instead of the settings'; a resumed run is made longer by it.
        should_stop: asked after every step; when it says so, the state is saved and the result returned.

    Raises:
        UsageError, InputError: settings, data set, or missing videos (unless `allow_missing`).
        StoreError, WeightsError: store, run or weights; InputError when the loss is no longer finite.
    """
    display = display or Display()
    started = time.monotonic()
    prior = runs.read_config(out, option="--out") if resume else None
    settings = _settings(out, prior, settings, dataset=dataset, epochs=epochs, steps=steps)
    kind = head_kind(settings.head)
    if tensorboard:
        record.require_tensorboard()
    device = choose_device(device)
    remove_abandoned(out)
    with joined_world(device) as world:
        opened = FeatureStore(store)
        parts = join_splits(opened, dataset, annotations, allow_missing=allow_missing, note=display.note)
        data: FeatureSet | FrameSet
        val: FeatureSet | FrameSet
        if settings.finetune:
            own = None if prior is None else runs.tuned_backbone(out)
            tuned = starting_backbone(own, opened, settings, backbone=backbone, device=device)
            made_by = tuned.info
            frames = frame_sets(
                opened, parts, settings, tuned, tagger=tagger, on_progress=display.cache_progress
            )
            captions = [caption.text for part in parts for caption in part.captions]
            num_cut = sum(each.num_cut for each in frames)
            for line in unread(captions, made_by, num_cut=num_cut, limit=settings.max_tokens).notes:
                display.note(line)
            data, val = train_and_val(frames, settings)
        else:
            tuned, made_by = None, opened.config.backbone
            features = cached_sets(
                opened, parts, settings, tagger=tagger, device=device, world=world,
                note=display.note, on_progress=display.cache_progress,
            )  # fmt: skip
            data, val = train_and_val(features, settings)
        # Seeded here and not earlier: loading a backbone, for captions not cached yet, draws random numbers too.
        torch.manual_seed(settings.seed)
        shape = prior.head if prior is not None else kind.config.of_settings(settings, dim=made_by.dim)
        head = kind.build(shape, made_by.logit_scale).to(device)
        config = RunConfig(
            settings=settings,
            head=shape,
            backbone=made_by,
            dataset=dataset,
            annotations=str(annotations.absolute()),
            store=str(opened.path.absolute()),
            tagger_id=load_tagger(tagger).id,
            num_train_videos=len(data.video_ids),
            num_train_texts=len(data.video_of_text),
            num_val_videos=len(val.video_ids),
            recipe=recipe,
            started_from=made_by.name if settings.finetune else None,
        )
        if prior is not None:
            require_same_run(out, prior, config)
            config = replace(prior, settings=settings)
        if world.is_first and config != prior:
            runs.write_config(out, config)
        display.begin(config)
        run = Run(out, config, head, tuned, data, val, device=device, world=world, display=display)
        if resume:
            run.resume(is_prolonged=epochs is not None or steps is not None)
        run.writer = record.open_tensorboard(out) if tensorboard and world.is_first else None
        try:
            was_interrupted = run.epochs(should_stop)
        finally:
            if run.writer is not None:
                run.writer.close()
        if world.is_first:
            record.draw_run(out)
        return run.result(time.monotonic() - started, was_interrupted=was_interrupted)


class Run:
    """One process's share of a training run: what learns, from what, and how far it is."""

    def __init__(
        self,
        out: Path,
        config: RunConfig,
        head: Head,
        tuned: TrainableBackbone | None,
        data: FeatureSet | FrameSet,
        val: FeatureSet | FrameSet,
        *,
        device: str,
        world: World,
        display: Display,
    ) -> None:
        settings = config.settings
        self.out, self.config, self.settings, self.head, self.val = out, config, settings, head, val
        self.device, self.world, self.display = device, world, display
        self.model: PairEncoder | FinetuneEncoder = PairEncoder(head)
        if tuned is not None:
            self.model = FinetuneEncoder(
                tuned,
                head,
                freeze_layers=settings.freeze_layers,
                gradient_checkpointing=settings.gradient_checkpointing,
            )
        self.data: PairOrder = (
            CachedBatches(data, settings, world)
            if isinstance(data, FeatureSet)
            else FrameBatches(data, settings, world, pin_memory=device.startswith("cuda"))
        )
        # As they are called in the run's files.
        backbone = None if tuned is None else tuned.module
        modules = {config.head.name: head} | ({} if backbone is None else {"clip": backbone})
        self.parts = nn.ModuleDict(cast(dict[str, nn.Module], modules))
        self.optimizer = make_optimizer(head, backbone, settings)
        self.encoder: nn.Module = self.model
        if world.size > 1:
            self.encoder = nn.parallel.DistributedDataParallel(self.model)
        self.state = TrainState()
        self.num_batches = self.data.num_batches()
        self.num_epochs = settings.num_epochs(self.num_batches)
        self.num_steps = self.num_epochs * self.num_batches
        self.data_seconds, self.norms = 0.0, list[float]()  # since the last report; not saved
        self.last_save = self.last_drawn = time.monotonic()
        self.writer: Any = None  # of TensorBoard

    def resume(self, *, is_prolonged: bool) -> None:
        """Go on where the run was saved. The patience of a run that is prolonged begins anew."""
        last = self.out / runs.LAST
        if last.exists():  # a run that ended before it saved anything begins with its first step
            self.state = load_state(last, self.parts, self.optimizer)
        if is_prolonged:
            self.state.waiting_since = self.state.step

    def epochs(self, should_stop: Callable[[], bool]) -> bool:
        """Train to the last epoch, or until `patience` steps brought nothing; True when `should_stop` said so before.

        Epoch 0 of the reports is the untrained model: what training must beat.

        Raises:
            InputError: the loss is no longer a finite number; nothing was saved after the last good state.
        """
        state = self.state
        if state.step == 0 and state.epoch == 0:
            self.report()
        while state.epoch < self.num_epochs and not self.is_out_of_patience():
            self.encoder.train()
            started = waiting_since = time.monotonic()
            for batch in self.data.batches(state.epoch, state.batch):
                self.data_seconds += time.monotonic() - waiting_since
                loss, norm = self.step(batch)
                state.loss_sum += loss
                self.norms.append(norm)
                state.batch += 1
                state.step += 1
                self.display.step(state.step, self.num_steps, loss)
                stop = any_process(should_stop(), self.world)
                if stop or time.monotonic() - self.last_save >= SAVE_SECONDS:
                    self.save(seconds=state.seconds + time.monotonic() - started)
                if stop:
                    return True
                waiting_since = time.monotonic()
            state.epoch, state.batch = state.epoch + 1, 0
            state.seconds += time.monotonic() - started
            if self.settings.is_validated(state.epoch, self.num_batches):
                self.report()
        return False

    def step(self, batch: PairBatch) -> tuple[float, float]:
        """One update; returns the loss and the gradient's norm before clipping."""
        settings = self.settings
        factor = rate_factor(self.state.step, num_steps=self.num_steps, warmup_share=settings.warmup_share)
        set_rate(self.optimizer, factor)
        self.optimizer.zero_grad(set_to_none=True)
        chunk = settings.chunk_size
        go_back = backward if chunk is None else partial(backward_in_chunks, chunk_size=chunk)
        loss = go_back(
            self.encoder,
            self.head,
            batch,
            device=self.device,
            world=self.world,
            dsl_temperature=settings.dsl_temperature,
            number_format=partial(autocast, settings, self.device),
        )
        value = self.finite(float(loss))
        parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        norm = self.finite(float(nn.utils.clip_grad_norm_(parameters, settings.max_gradient_norm)))
        self.optimizer.step()
        self.head.clamp_log_scale()
        return value, norm

    def finite(self, value: float) -> float:
        """The number itself. Raises InputError, which names the batch, when it is none."""
        if math.isfinite(value):
            return value
        state = self.state
        videos = self.data.describe(state.epoch, state.batch)
        raise InputError(
            f"the loss or its gradient is {value} in batch {state.batch} of epoch {state.epoch + 1} ({videos})",
            allowed="finite numbers; the run keeps its last good state",
            to_do="lower --learning-rate, raise --dsl-temperature, or check these videos with `vtr store verify`",
        )

    def is_out_of_patience(self) -> bool:
        """Whether nothing was gained for as many steps as the settings allow, those of the warm-up not counted."""
        patience, state = self.settings.patience, self.state
        warmup = num_warmup_steps(self.num_steps, self.settings.warmup_share)
        since = max(state.waiting_since, warmup)
        has_just_reported = state.reported_step == state.step
        return patience is not None and has_just_reported and state.step - since >= patience

    def report(self) -> None:
        """Validate, keep the best, report on the steps since the last time, and save the state."""
        state = self.state
        num_steps = state.step - state.reported_step
        loss = state.loss_sum / num_steps if num_steps else None
        norm = sum(self.norms) / len(self.norms) if self.norms else None
        seconds, data_seconds = state.seconds, self.data_seconds
        state.reported_step, state.loss_sum, state.seconds = state.step, 0.0, 0.0
        self.data_seconds, self.norms = 0.0, []
        self.encoder.eval()
        val = self.validate()
        score = from_first(validation_score(val), self.world)
        is_best = score > state.best
        if is_best:
            state.best, state.best_epoch, state.waiting_since = score, state.epoch, state.step
        if not self.world.is_first:
            return
        if is_best:
            self.save_best()
        rate = float(self.optimizer.param_groups[0]["lr"])
        scale = float(self.head.logit_scale.detach())
        report = EpochReport(
            state.epoch, state.step, loss, rate, norm, scale, seconds, data_seconds, val, is_best
        )
        record.append_metrics(self.out, report.to_json())
        if time.monotonic() - self.last_drawn >= DRAW_SECONDS:
            record.draw_run(self.out)
            self.last_drawn = time.monotonic()
        if self.writer is not None:
            record.add_events(self.writer, report.to_json())
        self.display.epoch(report)
        # Last: a run that is killed before repeats these steps, one that is killed after has their report.
        self.save(seconds=state.seconds)

    @torch.inference_mode()
    def validate(self) -> dict[str, Any]:
        """Per direction the metrics of `vtr eval --json` on the validation videos, plain: never corrected ones.

        When fine-tuning, of the features that a store made with the backbone of now would have.
        """
        val = self.val
        if isinstance(val, FrameSet):
            assert isinstance(self.model, FinetuneEncoder)
            val = encode_set(self.model, val, device=self.device)
        videos = encode_videos(self.head, val.frames, val.frame_mask, device=self.device)
        texts = encode_texts(self.head, val.texts, val.stream_mask, device=self.device)
        truth = Truth.from_videos(val.video_of_text, num_videos=len(val.video_ids))
        if self.config.head.is_inner_product:
            scores: ScoreSource = VectorScores(texts, videos)
        else:
            scores = DenseScores(score_blocks(self.head, texts, videos, device=self.device))
        scale = float(self.head.logit_scale.detach())
        result = evaluate(scores, truth, logit_scale=scale, num_bootstrap=0)
        directions = {"t2v": result.t2v, "v2t": result.v2t}
        return {name: metrics.to_json() for name, metrics in directions.items() if metrics is not None}

    def save_best(self) -> None:
        """Write the model, and a tuned backbone with a config.json that fits the run to its features."""
        save_weights(self.out / runs.MODEL, self.head)
        if isinstance(self.model, FinetuneEncoder):
            started_from = self.config.started_from or self.config.backbone.name
            path, log_scale = self.out / runs.BACKBONE, self.head.log_scale.detach()
            saved = self.model.tuned.save(path, log_scale=log_scale, started_from=started_from)
            runs.write_config(self.out, replace(self.config, backbone=saved))

    def save(self, *, seconds: float) -> None:
        """Write what `--resume` needs; `seconds` were spent since the last report."""
        if self.world.is_first:
            last = self.out / runs.LAST
            save_state(last, self.parts, self.optimizer, replace(self.state, seconds=seconds))
        self.last_save = time.monotonic()

    def result(self, seconds: float, *, was_interrupted: bool) -> TrainResult:
        """What the run brought, of its own record."""
        state = self.state
        none: dict[str, Any] = {"val": {}, "step": 0}
        rows = record.read_metrics(self.out)
        kept = none | next((row for row in rows if row["epoch"] == state.best_epoch), {})
        return TrainResult(
            run=self.out,
            epochs=state.epoch,
            best_epoch=state.best_epoch,
            steps=state.step,
            best_step=kept["step"],
            seconds=seconds,
            val=kept["val"],
            was_interrupted=was_interrupted,
        )


def cached_sets(
    store: FeatureStore,
    parts: Sequence[JoinedSplit],
    settings: TrainSettings,
    *,
    tagger: TaggerName,
    device: str,
    world: World,
    note: Callable[[str], None],
    on_progress: Callable[[int, int], None],
) -> list[FeatureSet]:
    """Cached features, the experts' streams only; captions that are not cached yet are encoded first."""
    captions = [caption.text for part in parts for caption in part.captions]
    tagger_id = load_tagger(tagger).id
    limit = settings.max_tokens
    if open_text_cache(store, tagger_id=tagger_id, max_tokens=limit).missing(captions):
        if world.is_first:
            note("encoding captions that are not cached yet")
            cache_texts(
                store,
                captions,
                tagger=tagger,
                max_tokens=limit,
                device=device,
                on_progress=on_progress,
            )
        if world.size > 1:
            torch.distributed.barrier()
    texts = open_text_cache(store, tagger_id=tagger_id, max_tokens=limit)
    if world.is_first:
        of = store.config.backbone
        for line in unread(captions, of, num_cut=texts.num_cut(captions), limit=limit).notes:
            note(line)
    return [
        load_features(store, part, texts, num_frames=settings.num_frames, experts=settings.experts)
        for part in parts
    ]


def _settings(
    out: Path,
    prior: RunConfig | None,
    settings: TrainSettings,
    *,
    dataset: str,
    epochs: int | None,
    steps: int | None,
) -> TrainSettings:
    """Those of the run that goes on, or `settings`, of the given length. Raises UsageError, WeightsError."""
    if prior is None:
        if (out / runs.CONFIG).exists():
            raise WeightsError(
                f"{out} holds a run already",
                allowed="a new folder, or --resume",
                to_do="choose another --out, or go on with --resume",
            )
        settings = settings.lengthened(epochs=epochs, steps=steps)
        return replace(settings, max_tokens=settings.max_tokens or text_limit(dataset))
    settings = prior.settings.lengthened(epochs=epochs, steps=steps)
    if settings != prior.settings:
        require_longer(out, settings)
    return settings


def require_longer(out: Path, settings: TrainSettings) -> None:
    """Raises UsageError when a run is to be shorter than what it has trained already."""
    state = read_train_state(out / runs.LAST)
    is_long = settings.steps > state.step if settings.epochs is None else settings.epochs > state.epoch
    if not is_long:
        raise UsageError(
            f"run {out} has trained {state.epoch:,} epochs already, {state.step:,} steps",
            allowed="a length above that to go on with",
            to_do="raise --epochs or --steps, or leave both out",
        )


def require_same_run(out: Path, prior: RunConfig, now: RunConfig) -> None:
    """A resumed run must see the same data: raises UsageError or StoreError where it does not."""
    if not now.settings.finetune and prior.backbone.sha256 != now.backbone.sha256:
        raise StoreError(
            f"run {out} was trained on features of {prior.backbone.name}, the store holds {now.backbone.name}",
            allowed="the store that the run began with",
            to_do=f"use `--store {prior.store}`",
        )
    for name in ("dataset", "tagger_id", "num_train_videos", "num_train_texts", "num_val_videos"):
        if getattr(prior, name) != getattr(now, name):
            raise UsageError(
                f"run {out} began with {name.replace('_', ' ')} {getattr(prior, name)}, now it is {getattr(now, name)}",
                allowed="the data that the run began with",
                to_do="restore it, or begin a new run with another --out",
            )
