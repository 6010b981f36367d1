"""A run directory: it rebuilds its model from itself. No pickle.

config.json          settings, CAMoE's shape, backbone, data set, tagger; written first
metrics.jsonl        one line per epoch
model.safetensors    the best weights
last.safetensors     everything that going on needs: weights, optimizer, random state, position
curves.svg           a picture of metrics.jsonl
backbone.safetensors the fine-tuned CLIP (--finetune), usable as --backbone
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vtrcli.errors import StoreError, WeightsError
from vtrcli.files import write_whole
from vtrcli.model.train_settings import TrainSettings
from vtrcli.store.config import BackboneTag

RUN_VERSION = 1
CONFIG, METRICS, MODEL, LAST, CURVES, BACKBONE = (
    "config.json",
    "metrics.jsonl",
    "model.safetensors",
    "last.safetensors",
    "curves.svg",
    "backbone.safetensors",
)


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Contents of `config.json`. `camoe` is CamoeConfig.to_json(); `annotations` and `store` are absolute paths.

    `backbone` made the features that the model fits. After fine-tuning that is the run's own backbone.safetensors, and
    `started_from` names the weights that the tuning began with.
    """

    settings: TrainSettings
    camoe: dict[str, Any]
    backbone: BackboneTag
    dataset: str
    annotations: str
    store: str
    tagger_id: str
    num_train_videos: int
    num_train_texts: int
    num_val_videos: int
    recipe: str | None = None
    started_from: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The JSON object."""
        body = {**vars(self), "settings": self.settings.to_json(), "backbone": vars(self.backbone)}
        return {"format": "vtr-run", "version": RUN_VERSION, **body}


def write_config(run: Path, config: RunConfig) -> None:
    """Write `config.json`. Raises WeightsError when the folder cannot be written."""
    try:
        run.mkdir(parents=True, exist_ok=True)
    except OSError as cause:
        raise WeightsError(
            f"cannot make the run folder {run}: {cause.strerror}",
            allowed="a folder that can be written",
            to_do="choose another with --out",
        ) from cause
    text = json.dumps(config.to_json(), indent=2) + "\n"
    write_whole(run / CONFIG, text.encode(), error=WeightsError)


def read_config(run: Path) -> RunConfig:
    """Read `config.json`.

    Raises:
        WeightsError: no run, a damaged one, or one of a newer vtr.
    """
    try:
        body = json.loads((run / CONFIG).read_text(encoding="utf-8"))
        if body.pop("format") != "vtr-run":
            raise ValueError("it does not describe a run")
        version = body.pop("version")
        if version > RUN_VERSION:
            raise WeightsError(
                f"run {run} has format version {version}",
                allowed=f"this vtr reads versions up to {RUN_VERSION}",
                to_do="update vtr: pip install -U vtrcli",
            )
        settings = TrainSettings.from_json(body.pop("settings"))
        return RunConfig(settings=settings, backbone=BackboneTag(**body.pop("backbone")), **body)
    except FileNotFoundError:
        raise WeightsError(
            f"no trained run at {run}",
            allowed=f"a folder with a {CONFIG}, as `vtr train --out {run}` makes it",
            to_do="check --run, or train one",
        ) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as cause:
        raise damaged_run(run / CONFIG, str(cause)) from cause


def require_run_fits(run: Path, config: RunConfig, store: Path, stored: BackboneTag) -> None:
    """Raises StoreError when a run was trained on features of another backbone than a store's."""
    trained = config.backbone
    if trained.sha256 != stored.sha256:
        raise StoreError(
            f"run {run} was trained on features of {trained.name} (weights {trained.sha256[:12]}), "
            f"store {store} holds {stored.name} (weights {stored.sha256[:12]})",
            allowed="run and store of the same backbone",
            to_do=f"use another --store or --run; this run was trained on {config.store}",
        )


def newest_fitting_run(runs: Path, store: Path, stored: BackboneTag) -> tuple[Path | None, str | None]:
    """The newest run of a folder of runs that can rank a store, and why the newest of all cannot where that is another.

    A run cannot when it was trained on another backbone, has no weights yet, or is damaged.
    """
    why = None
    for run in by_time(runs):
        try:
            require_run_fits(run, read_config(run), store, stored)
            if not (run / MODEL).is_file():
                raise WeightsError(f"run {run} has no weights yet", allowed="a trained run", to_do="train it")
            return run, why
        except (StoreError, WeightsError) as error:
            why = why or error.came_in
    return None, why


def by_time(runs: Path) -> list[Path]:
    """The runs in a folder, the newest first."""
    found = {}
    for path in sorted(runs.glob(f"*/{CONFIG}")):
        with suppress(OSError):  # it has just gone
            found[path.parent] = path.stat().st_mtime_ns
    return sorted(found, key=lambda run: found[run], reverse=True)


def damaged_run(path: Path, detail: str) -> WeightsError:
    """The error for a file of a run that cannot be trusted."""
    return WeightsError(
        f"{path} is damaged: {detail}",
        allowed="a file of a run as `vtr train` writes it",
        to_do="restore it, or train again",
    )
