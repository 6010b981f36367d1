"""The towers that belong to a store's features."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from vtrcli.errors import StoreError
from vtrcli.store.reader import FeatureStore

if TYPE_CHECKING:
    from vtrcli.model.backbone import Backbone


def open_text_tower(store: FeatureStore, *, device: str) -> Backbone:
    """The text tower that belongs to a store's features; raises as `open_tower`."""
    return open_tower(store, tower="text", device=device)


def open_tower(store: FeatureStore, *, tower: Literal["text", "image"], device: str) -> Backbone:
    """One tower of the store's own backbone.

    Raises:
        WeightsError: it cannot be loaded.
        StoreError: the weights of that name are other ones now.
    """
    from vtrcli.model.backbone import load_backbone

    tag = store.config.backbone
    backbone = load_backbone(tag.name, sha256=tag.sha256, device=device, towers=tower)
    if backbone.info.sha256 != tag.sha256:
        raise StoreError(
            f"store {store.path} was made with other weights than {tag.name} is now "
            f"({tag.sha256[:12]}, not {backbone.info.sha256[:12]})",
            allowed="the weights that made the features",
            to_do=f"put them back, or extract into a new store with `--backbone {tag.name}`",
        )
    return backbone
