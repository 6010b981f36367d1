"""`train`: CAMoE on the cached features of a data set, or end to end with CLIP. The use case behind `vtr train`."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from vtrcli.datasets.registry import text_limit
from vtrcli.errors import UsageError, WeightsError
from vtrcli.files import remove_abandoned
from vtrcli.model import run_folder
from vtrcli.model.precision import choose_device
from vtrcli.model.train_settings import TrainSettings
from vtrcli.store.reader import FeatureStore
from vtrcli.text.taggers import TaggerName
from vtrcli.training import checkpoint
from vtrcli.training.distributed import joined_world
from vtrcli.training.inputs import join_splits
from vtrcli.training.session import Display, Session, TrainResult, require_tensorboard
from vtrcli.training.trainees import Job, cached_trainee, finetune_trainee


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
    """Train heads on cached features (captions that are not cached yet are encoded first), or CLIP and heads on frames.

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
    prior = run_folder.read_config(out) if resume else None
    if prior is None and (out / run_folder.CONFIG).exists():
        raise WeightsError(
            f"{out} holds a run already",
            allowed="a new folder, or --resume",
            to_do="choose another --out, or go on with --resume",
        )
    if prior is not None:
        settings = prior.settings.lengthened(epochs=epochs, steps=steps)
        if settings != prior.settings:
            require_longer(out, settings)
    else:
        settings = settings.lengthened(epochs=epochs, steps=steps)
        settings = replace(settings, max_tokens=settings.max_tokens or text_limit(dataset))
    if tensorboard:
        require_tensorboard()
    chosen_device = choose_device(device)
    remove_abandoned(out)
    with joined_world(chosen_device) as world:
        opened = FeatureStore(store)
        job = Job(
            store=opened,
            parts=join_splits(opened, dataset, annotations, allow_missing=allow_missing, note=display.note),
            dataset=dataset,
            annotations=annotations,
            out=out,
            settings=settings,
            recipe=recipe,
            tagger=tagger,
            device=chosen_device,
            world=world,
            display=display,
            prior=prior,
        )
        trainee = finetune_trainee(job, backbone=backbone) if settings.finetune else cached_trainee(job)
        session = Session(out, trainee, settings, world=world, device=chosen_device, display=display)
        return session.run(
            resume=resume,
            is_prolonged=resume and (epochs is not None or steps is not None),
            tensorboard=tensorboard,
            should_stop=should_stop,
            started=started,
        )


def require_longer(out: Path, settings: TrainSettings) -> None:
    """Raises UsageError when a run is to be shorter than what it has trained already."""
    progress = checkpoint.read_progress(out / run_folder.LAST)
    is_long = settings.steps > progress.step if settings.epochs is None else settings.epochs > progress.epoch
    if not is_long:
        raise UsageError(
            f"run {out} has trained {progress.epoch:,} epochs already, {progress.step:,} steps",
            allowed="a length above that to go on with",
            to_do="raise --epochs or --steps, or leave both out",
        )
