"""Who loads a backbone: its name, a file or a folder -> `vtrcli.model.backbone.Backbone`. Nothing heavy at import."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from vtrcli.errors import StoreError

if TYPE_CHECKING:
    from vtrcli.model.backbone import Backbone, BackboneInfo, Precision, Towers
    from vtrcli.model.clip.converted import ConvertedHeader
    from vtrcli.store.config import BackboneTag
    from vtrcli.store.reader import FeatureStore

DEFAULT_BACKBONE = "ViT-B/32"


def load_backbone(
    name: str,
    *,
    device: str = "auto",
    precision: Precision = "auto",
    towers: Towers = "both",
    sha256: str | None = None,
    cache_dir: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Backbone:
    """Load a CLIP by OpenAI name, file, folder, imported name, or `demo`; download or convert it first if needed.

    `sha256` finds weights that were converted before also when their file has gone; it is not compared otherwise.
    `progress` is called with (bytes there, bytes in all) while downloading. Raises WeightsError, UsageError.
    """
    # Idle torch threads spin by default. Beside ffmpeg, or anything else on the same cores, that made the encoder two
    # to fourteen times slower. Read when torch is loaded; the command line sets it first of all.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from vtrcli.model.backbone import choose_device, choose_precision, torch_dtype
    from vtrcli.model.clip.converted import read_header
    from vtrcli.model.clip.model import load_clip
    from vtrcli.model.clip.towers import ClipBackbone
    from vtrcli.model.clip.weights import find_weights, lasting_name

    chosen_device = choose_device(device)
    chosen_precision = choose_precision(precision, device=chosen_device, towers=towers)
    path = find_weights(name, sha256=sha256, cache_dir=cache_dir, progress=progress)
    return ClipBackbone(
        load_clip(path, device=chosen_device, dtype=torch_dtype(chosen_precision), towers=towers),
        info=_info(read_header(path), name=lasting_name(name, cache_dir=cache_dir)),
        device=chosen_device,
        precision=chosen_precision,
        towers=towers,
    )


def backbone_info(
    name: str, *, cache_dir: Path | None = None, progress: Callable[[int, int], None] | None = None
) -> BackboneInfo:
    """Name, identity and sizes, as `load_backbone` would give them; without torch once the weights are converted."""
    from vtrcli.model.clip.converted import read_header
    from vtrcli.model.clip.weights import find_weights, lasting_name

    path = find_weights(name, cache_dir=cache_dir, progress=progress)
    return _info(read_header(path), name=lasting_name(name, cache_dir=cache_dir))


def _info(header: ConvertedHeader, *, name: str) -> BackboneInfo:
    from vtrcli.model.backbone import BackboneInfo

    return BackboneInfo(
        name=name,
        sha256=header.sha256,
        dim=header.config.embed_dim,
        input_size=header.config.image_resolution,
        context_length=header.config.context_length,
        logit_scale=header.logit_scale,
    )


def open_text_tower(store: FeatureStore, *, device: str) -> Backbone:
    """The text tower that belongs to a store's features; raises as `open_tower`."""
    return open_tower(store.config.backbone, store=store.path, tower="text", device=device)


def open_tower(tag: BackboneTag, *, store: Path, tower: Literal["text", "image"], device: str) -> Backbone:
    """One tower of the backbone that made the features of `store`.

    Raises:
        WeightsError: it cannot be loaded.
        StoreError: the weights of that name are other ones now.
    """
    backbone = load_backbone(tag.name, sha256=tag.sha256, device=device, towers=tower)
    if backbone.info.sha256 != tag.sha256:
        raise StoreError(
            f"store {store} was made with other weights than {tag.name} is now "
            f"({tag.sha256[:12]}, not {backbone.info.sha256[:12]})",
            allowed="the weights that made the features",
            to_do=f"put them back, or extract into a new store with `--backbone {tag.name}`",
        )
    return backbone
