"""The towers that belong to a store's features."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from vtrcli.errors import StoreError
from vtrcli.store.config import BackboneTag
from vtrcli.store.reader import FeatureStore

if TYPE_CHECKING:
    from vtrcli.model.backbone import Backbone


def open_text_tower(store: FeatureStore, *, device: str) -> Backbone:
    """The text tower that belongs to a store's features; raises as `open_tower`."""
    return open_tower(store.config.backbone, store=store.path, tower="text", device=device)


def open_tower(tag: BackboneTag, *, store: Path, tower: Literal["text", "image"], device: str) -> Backbone:
    """One tower of the backbone that made the features of `store`.

    Raises:
        WeightsError: it cannot be loaded.
        StoreError: the weights of that name are other ones now.
    """
    from vtrcli.model.backbone import load_backbone

    backbone = load_backbone(tag.name, sha256=tag.sha256, device=device, towers=tower)
    if backbone.info.sha256 != tag.sha256:
        raise StoreError(
            f"store {store} was made with other weights than {tag.name} is now "
            f"({tag.sha256[:12]}, not {backbone.info.sha256[:12]})",
            allowed="the weights that made the features",
            to_do=f"put them back, or extract into a new store with `--backbone {tag.name}`",
        )
    return backbone
