"""What an extraction is to be: what was asked for, what its store has, and whether these fit."""

from __future__ import annotations

from pathlib import Path

from vtrcli.errors import StoreError
from vtrcli.model.backbone import DEMO_NAME, Backbone
from vtrcli.model.families import DEFAULT_BACKBONE, is_published
from vtrcli.store.config import (
    CONFIG_NAME,
    SIMILAR_FRAMES,
    Description,
    StoreConfig,
    read_config,
    require_extracted,
)
from vtrcli.video.graph import Aspect
from vtrcli.video.sampling import Rate, Sampling

DEFAULT_ASPECT: Aspect = "display"


def follow_store(
    store: Path,
    backbone: str | None,
    chosen: Sampling | None,
    aspect: Aspect | None,
    similar_frames: float | None,
) -> tuple[str, Sampling, Aspect, float]:
    """Backbone, sampling, aspect and bound of similar frames: what was asked for, else the store's, else defaults."""
    if not (store / CONFIG_NAME).exists():
        return backbone or DEFAULT_BACKBONE, chosen or Rate(), aspect or DEFAULT_ASPECT, similar_frames or 0.0
    config = read_config(store)
    require_extracted(store, config)
    sampling = chosen or Sampling.from_json(config.sampling)
    similar = config.similar_frames if similar_frames is None else similar_frames
    return backbone or config.backbone.name, sampling, aspect or config.aspect, similar


def refuse_other_model(store: Path, backbone: str) -> None:
    """Say it before a download: two published models are never the same. Other names may be; their weights tell.

    Raises:
        StoreError: the store holds features of another published model, or of the demo's.
    """
    if not is_published(backbone) or not (store / CONFIG_NAME).exists():
        return
    have = read_config(store).backbone.name
    if have != backbone and (have == DEMO_NAME or is_published(have)):
        raise StoreError(
            f"store {store} holds features of {have}, not of {backbone}",
            allowed="a store holds one backbone",
            to_do=f"use `--store {store}-other` for {backbone}, or `--backbone {have}`",
        )


def store_config(
    described: Description | Backbone,
    sampling: Sampling,
    aspect: Aspect = "display",
    *,
    similar_frames: float = 0.0,
) -> StoreConfig:
    """The `store.json` that features of this backbone, sampling, shape of pixels and bound of similar frames need."""
    similar = {SIMILAR_FRAMES: similar_frames} if similar_frames else {}
    return StoreConfig(
        backbone=described.info,
        sampling=sampling.to_json(),
        preprocessing={**described.preprocessing.to_json(), "aspect": aspect, **similar},
    )
