"""`train`: CAMoE on the cached features of a data set. The use case behind `vtr train`."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vtrcli.caching import cache_texts, open_text_cache
from vtrcli.datasets.join import JoinedSplit, join_with_store, require_complete
from vtrcli.datasets.registry import available_splits, load_split
from vtrcli.errors import StoreError, UsageError, WeightsError
from vtrcli.model.camoe import Camoe, CamoeConfig
from vtrcli.model.precision import choose_device
from vtrcli.store.reader import FeatureStore
from vtrcli.text.streams import STREAMS, Stream
from vtrcli.text.taggers import TaggerName, load_tagger
from vtrcli.training import checkpoint, run_folder
from vtrcli.training.checkpoint import Progress
from vtrcli.training.curves import draw_curves
from vtrcli.training.data import CachedBatches, FeatureSet, load_features, split_off, too_few
from vtrcli.training.distributed import World, joined_world
from vtrcli.training.encoder import PairEncoder
from vtrcli.training.loop import EpochReport, Hooks, Interrupted, run_epochs
from vtrcli.training.optimizer import make_optimizer
from vtrcli.training.run_folder import RunConfig
from vtrcli.training.settings import TrainSettings
from vtrcli.training.validation import validate, validation_score

DRAW_SECONDS = 60.0  # curves.svg is drawn at the end, and this often before


@dataclass(frozen=True)
class TrainResult:
    """What a run brought. `val` are the metrics of the epoch that was kept; epoch 0 is the untrained model."""

    run: Path
    epochs: int
    best_epoch: int
    seconds: float
    val: dict[str, Any]
    was_interrupted: bool


@dataclass(frozen=True)
class Display:
    """How a caller watches a run; every function may be left out."""

    note: Callable[[str], None] = lambda text: None
    cache_progress: Callable[[int, int], None] = lambda num_done, total: None
    begin: Callable[[RunConfig], None] = lambda config: None
    step: Callable[[int, int, float], None] = lambda step, num_steps, loss: None
    epoch: Callable[[EpochReport], None] = lambda report: None


def train(
    *,
    store: Path,
    dataset: str,
    annotations: Path,
    out: Path,
    settings: TrainSettings,
    recipe: str | None = None,
    tagger: TaggerName = "hanta",
    device: str = "auto",
    resume: bool = False,
    allow_missing: bool = False,
    tensorboard: bool = False,
    should_stop: Callable[[], bool] = lambda: False,
    display: Display | None = None,
) -> TrainResult:
    """Train heads on cached features; captions that are not cached yet are encoded first.

    Args:
        resume: go on in `out` with the settings that its config.json records.
        should_stop: asked after every step; when it says so, the state is saved and the result returned.

    Raises:
        UsageError, InputError: settings, data set, or missing videos (unless `allow_missing`).
        StoreError, WeightsError: store, run or weights; InputError when the loss is no longer finite.
    """
    display = display or Display()
    started = time.monotonic()
    prior = run_folder.read_config(out) if resume else None
    if prior is None and (out / run_folder.CONFIG).exists():
        raise WeightsError(
            f"{out} holds a run already",
            allowed="a new folder, or --resume",
            to_do="choose another --out, or go on with --resume",
        )
    settings = prior.settings if prior else settings
    chosen_device = choose_device(device)
    with joined_world(chosen_device) as world:
        torch.manual_seed(settings.seed)
        opened = FeatureStore(store)
        features, val, tagger_id = load_training_data(
            opened, dataset, annotations, settings, tagger=tagger, device=chosen_device,
            allow_missing=allow_missing, world=world, display=display,
        )  # fmt: skip
        camoe_config = CamoeConfig(
            dim=opened.config.backbone.dim,
            experts=settings.experts,
            aggregator=settings.aggregator,
            gate=settings.gate,
        )
        config = RunConfig(
            settings=settings,
            camoe=camoe_config.to_json(),
            backbone=opened.config.backbone,
            dataset=dataset,
            annotations=str(annotations.absolute()),
            store=str(store.absolute()),
            tagger_id=tagger_id,
            num_train_videos=len(features.video_ids),
            num_train_texts=len(features.video_of_text),
            num_val_videos=len(val.video_ids),
            recipe=recipe,
        )
        if prior is not None:
            require_same_run(out, prior, config)
        elif world.is_first:
            run_folder.write_config(out, config)
        display.begin(config)
        camoe = Camoe(camoe_config, logit_scale=opened.config.backbone.logit_scale).to(chosen_device)
        session = _Session(out, camoe, settings, world, chosen_device, display)
        return session.run(
            CachedBatches(features, settings, world),
            val,
            resume=resume,
            tensorboard=tensorboard,
            should_stop=should_stop,
            started=started,
        )


def load_training_data(
    store: FeatureStore,
    dataset: str,
    annotations: Path,
    settings: TrainSettings,
    *,
    tagger: TaggerName,
    device: str,
    allow_missing: bool,
    world: World,
    display: Display,
) -> tuple[FeatureSet, FeatureSet, str]:
    """Training and validation features, the experts' streams only, and the tagger's id."""
    parts: list[JoinedSplit] = []
    for name in ("train", "val"):
        if name in available_splits(dataset, annotations):
            split = load_split(dataset, annotations, name)
            parts.append(join_with_store(split, store.videos))
            require_complete(parts[-1], allow_missing=allow_missing)
            if parts[-1].missing_videos:
                display.note(
                    f"{name}: {len(parts[-1].missing_videos):,} videos are not in the store, left out"
                )
    captions = [caption.text for part in parts for caption in part.captions]
    tagger_id = load_tagger(tagger).id
    if open_text_cache(store, tagger_id=tagger_id).missing(captions):
        if world.is_first:
            display.note("encoding captions that are not cached yet")
            cache_texts(store, captions, tagger=tagger, device=device, on_progress=display.cache_progress)
        if world.size > 1:
            torch.distributed.barrier()
    texts = open_text_cache(store, tagger_id=tagger_id)
    sets = [
        with_streams(load_features(store, part, texts, num_frames=settings.num_frames), settings.experts)
        for part in parts
    ]
    if len(sets) == 1:
        return (*split_off(sets[0], share=settings.val_share, seed=settings.seed), tagger_id)
    if len(sets[0].video_ids) < 2:
        raise too_few(len(sets[0].video_ids), 2)
    return sets[0], sets[1], tagger_id


def with_streams(features: FeatureSet, experts: Sequence[Stream]) -> FeatureSet:
    """The feature set with the text streams of the given experts, in their order."""
    columns = [STREAMS.index(expert) for expert in experts]
    return replace(features, texts=features.texts[:, columns], stream_mask=features.stream_mask[:, columns])


def require_same_run(out: Path, prior: RunConfig, now: RunConfig) -> None:
    """A resumed run must see the same data: raises UsageError or StoreError where it does not."""
    if prior.backbone.sha256 != now.backbone.sha256:
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


class _Session:
    """One process's share of a run: ties the loop to the run folder."""

    def __init__(
        self, out: Path, camoe: Camoe, settings: TrainSettings, world: World, device: str, display: Display
    ) -> None:
        self.out, self.camoe, self.settings = out, camoe, settings
        self.world, self.device, self.display = world, device, display
        self.last_drawn = time.monotonic()
        self.encoder: nn.Module = PairEncoder(camoe)
        self.optimizer = make_optimizer(camoe, None, settings)
        if world.size > 1:
            self.encoder = nn.parallel.DistributedDataParallel(self.encoder)

    def run(
        self,
        source: CachedBatches,
        val: FeatureSet,
        *,
        resume: bool,
        tensorboard: bool,
        should_stop: Callable[[], bool],
        started: float,
    ) -> TrainResult:
        progress = Progress()
        if resume:
            progress = checkpoint.load_state(self.out / run_folder.LAST, self.camoe, self.optimizer)
        writer = open_tensorboard(self.out) if tensorboard and self.world.is_first else None
        hooks = Hooks(
            validate=lambda: validate(self.camoe, val, device=self.device),
            score=validation_score,
            save_state=lambda now: checkpoint.save_state(
                self.out / run_folder.LAST, self.camoe, self.optimizer, now
            ),
            save_best=lambda: checkpoint.save_weights(self.out / run_folder.MODEL, self.camoe),
            on_epoch=lambda report: self.report(report, writer),
            on_step=self.display.step,
            should_stop=lambda: any_process(should_stop(), self.world),
        )
        was_interrupted = False
        try:
            run_epochs(
                self.encoder, self.camoe, self.optimizer, source, self.settings, progress, hooks,
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
        kept: dict[str, Any] = next((row for row in rows if row["epoch"] == progress.best_epoch), {"val": {}})
        return TrainResult(
            self.out,
            progress.epoch,
            progress.best_epoch,
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
        best = max(rows, key=lambda row: (validation_score(row["val"]), -row["epoch"]))
        draw_curves(self.out / run_folder.CURVES, rows, best_epoch=best["epoch"])
        self.last_drawn = time.monotonic()


def any_process(here: bool, world: World) -> bool:
    """Whether any process was asked to stop, so that all stop after the same step."""
    if world.size == 1:
        return here
    flag = torch.tensor(float(here))
    torch.distributed.all_reduce(flag, torch.distributed.ReduceOp.MAX)
    return bool(flag.item())


def uses_bfloat16(settings: TrainSettings, device: str) -> bool:
    """`auto` is bfloat16 on a GPU and float32 on a CPU, where runs then repeat bit for bit."""
    if settings.precision == "auto":
        return device.startswith("cuda")
    return settings.precision == "bfloat16"


def open_tensorboard(out: Path) -> Any:
    """A TensorBoard writer. Raises UsageError when the extra is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as cause:
        raise UsageError(
            "--tensorboard without the package",
            allowed="the extra vtrcli[tensorboard]",
            to_do="pip install 'vtrcli[tensorboard]', or leave --tensorboard out",
        ) from cause
    return SummaryWriter(str(out / "tensorboard"))


def load_camoe(run: Path, *, device: str = "cpu") -> tuple[Camoe, RunConfig]:
    """The best model of a run, ready for evaluation.

    Raises:
        WeightsError: no run, or one that is damaged or of a newer vtr.
    """
    config = run_folder.read_config(run)
    camoe = Camoe(CamoeConfig.from_json(config.camoe))
    checkpoint.load_weights(run / run_folder.MODEL, camoe)
    return camoe.to(device).eval(), config
