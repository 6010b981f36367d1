"""What a run trains, made ready: heads on cached features, or CLIP and heads on kept frames. Writes config.json."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from vtrcli.datasets.join import JoinedSplit
from vtrcli.errors import StoreError, UsageError
from vtrcli.model import run_folder
from vtrcli.model.camoe import Camoe, CamoeConfig
from vtrcli.model.run_folder import RunConfig
from vtrcli.model.train_settings import TrainSettings
from vtrcli.model.trained_run import save_weights
from vtrcli.store.config import BackboneTag
from vtrcli.store.reader import FeatureStore
from vtrcli.text.taggers import TaggerName, load_tagger
from vtrcli.training.data import CachedBatches, VideoSet
from vtrcli.training.distributed import World
from vtrcli.training.encoder import PairEncoder
from vtrcli.training.finetune import FinetuneEncoder, encode_set, save_clip, start_clip
from vtrcli.training.frame_batches import FrameBatches
from vtrcli.training.inputs import cached_sets, frame_sets, train_and_val
from vtrcli.training.session import Display, Trainee
from vtrcli.training.validation import validate


@dataclass(frozen=True, kw_only=True)
class Job:
    """What `train` was asked for. `prior` is the config of the run that is resumed."""

    store: FeatureStore
    parts: Sequence[JoinedSplit]
    dataset: str
    annotations: Path
    out: Path
    settings: TrainSettings
    recipe: str | None
    tagger: TaggerName
    device: str
    world: World
    display: Display
    prior: RunConfig | None

    def make_camoe(self, backbone: BackboneTag) -> Camoe:
        """Untrained heads for features of that backbone, on the device.

        Seeded here and not earlier: loading CLIP, for captions that are not cached yet, draws random numbers too.
        """
        settings = self.settings
        torch.manual_seed(settings.seed)
        config = CamoeConfig(
            dim=backbone.dim,
            experts=settings.experts,
            aggregator=settings.aggregator,
            gate=settings.gate,
        )
        return Camoe(config, logit_scale=backbone.logit_scale).to(self.device)

    def begin(
        self,
        camoe: Camoe,
        train: VideoSet,
        val: VideoSet,
        *,
        backbone: BackboneTag,
        started_from: str | None = None,
    ) -> RunConfig:
        """Write config.json, or check that a resumed run sees what it began with.

        Raises:
            UsageError, StoreError: it does not.
            WeightsError: the run folder cannot be written.
        """
        config = RunConfig(
            settings=self.settings,
            camoe=camoe.config.to_json(),
            backbone=backbone,
            dataset=self.dataset,
            annotations=str(self.annotations.absolute()),
            store=str(self.store.path.absolute()),
            tagger_id=load_tagger(self.tagger).id,
            num_train_videos=len(train.video_ids),
            num_train_texts=len(train.video_of_text),
            num_val_videos=len(val.video_ids),
            recipe=self.recipe,
            started_from=started_from,
        )
        if self.prior is not None:
            require_same_run(self.out, self.prior, config)
            config = replace(self.prior, settings=self.settings)
        if self.world.is_first and config != self.prior:
            run_folder.write_config(self.out, config)
        self.display.begin(config)
        return config


def cached_trainee(job: Job) -> Trainee:
    """CAMoE on the features of the store."""
    sets = cached_sets(
        job.store, job.parts, job.settings,
        tagger=job.tagger, device=job.device, world=job.world, display=job.display,
    )  # fmt: skip
    train, val = train_and_val(sets, job.settings)
    backbone = job.store.config.backbone
    camoe = job.make_camoe(backbone)
    job.begin(camoe, train, val, backbone=backbone)
    return Trainee(
        encoder=PairEncoder(camoe),
        camoe=camoe,
        clip=None,
        source=CachedBatches(train, job.settings, job.world),
        validate=lambda: validate(camoe, val, device=job.device),
        save_best=lambda: save_weights(job.out / run_folder.MODEL, camoe),
    )


def finetune_trainee(job: Job, *, backbone: str | None) -> Trainee:
    """CLIP and CAMoE on the kept frames of the store; `backbone` None starts from the store's.

    Each best epoch writes backbone.safetensors, and config.json anew, so that the run fits the features of that CLIP.
    """
    settings = job.settings
    clip, tag = _start(job, backbone)
    sets = frame_sets(
        job.store, job.parts, settings,
        tagger=job.tagger, size=tag.input_size, context_length=clip.context_length, display=job.display,
    )  # fmt: skip
    train, val = train_and_val(sets, settings)
    camoe = job.make_camoe(tag)
    config = job.begin(camoe, train, val, backbone=tag, started_from=tag.name)
    encoder = FinetuneEncoder(
        clip,
        camoe,
        freeze_layers=settings.freeze_layers,
        gradient_checkpointing=settings.gradient_checkpointing,
    )

    def validate_now() -> dict[str, Any]:
        features = encode_set(encoder, val, device=job.device)
        return validate(camoe, features, device=job.device)

    def save_best() -> None:
        save_weights(job.out / run_folder.MODEL, camoe)
        path = job.out / run_folder.BACKBONE
        saved = save_clip(encoder, path, started_from=config.started_from or tag.name)
        run_folder.write_config(job.out, replace(config, backbone=saved))

    return Trainee(
        encoder=encoder,
        camoe=camoe,
        clip=clip,
        source=FrameBatches(train, settings, job.world, pin_memory=job.device.startswith("cuda")),
        validate=validate_now,
        save_best=save_best,
    )


def _start(job: Job, backbone: str | None) -> tuple[Any, BackboneTag]:
    if job.prior is not None:  # for the sizes; the weights of the last step are in last.safetensors
        return start_clip(str(job.out / run_folder.BACKBONE), device=job.device)
    stored = job.store.config.backbone
    torch.manual_seed(job.settings.seed + 1)  # counts from scratch; not the numbers that the heads draw
    return start_clip(
        backbone or stored.name,
        sha256=None if backbone else stored.sha256,
        from_scratch=job.settings.from_scratch,
        device=job.device,
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
