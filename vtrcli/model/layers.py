"""The layers of a tower of any family: fine-tuning leaves the first as they are, and may compute each of them twice.

This module imports torch at the top and is therefore imported inside functions only.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from vtrcli.errors import UsageError

# What comes before the blocks, by the names that clip, open_clip and timm give to it in towers of either kind.
_EMBEDDINGS = (
    "class_embedding",
    "cls_emb",
    "cls_token",
    "conv1",
    "ln_pre",
    "norm_pre",
    "patch_embed",
    "pos_embed",
    "positional_embedding",
    "reg_token",
    "token_embedding",
)


class Layers(NamedTuple):
    """A transformer: what comes before its blocks, and they."""

    embeddings: list[nn.Module | nn.Parameter]
    blocks: list[nn.Module]


def layers_of(tower: Any, blocks: nn.Sequential | nn.ModuleList) -> Layers:
    """Of the module that holds the embeddings."""
    found = (getattr(tower, name, None) for name in _EMBEDDINGS)
    return Layers([part for part in found if part is not None], list(blocks))


def prepare_layers(image: Layers, text: Layers, *, freeze_layers: int, gradient_checkpointing: bool) -> None:
    """Of both towers: the first are not trained, with their embeddings; 0 trains all.

    Raises:
        UsageError: both towers have fewer layers.
    """
    if freeze_layers > max(len(image.blocks), len(text.blocks)):
        raise UsageError(
            f"freeze_layers is {freeze_layers}",
            allowed=f"this backbone has {len(image.blocks)} image and {len(text.blocks)} text layers",
            to_do="lower --freeze-layers",
        )
    for embeddings, blocks in (image, text):
        for part in (*embeddings, *blocks[:freeze_layers]) if freeze_layers else ():
            part.requires_grad_(False)
        for block in blocks if gradient_checkpointing else ():
            _checkpoint(block)


def _checkpoint(block: nn.Module) -> None:
    """Compute the block again in the backward pass instead of keeping its inner values; parameters keep their names."""
    forward = block.forward

    def run(*values: Any, **options: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*values, **options)
        # No dropout, so no random state to keep.
        return checkpoint(forward, *values, use_reentrant=False, preserve_rng_state=False, **options)

    block.forward = run  # type: ignore[method-assign]
