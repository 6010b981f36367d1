"""CLIP with weights that learn: `vtrcli.model.backbone.TrainableBackbone`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from vtrcli.errors import UsageError
from vtrcli.model.backbone import Description, Towers, choose_precision, scaled_pixels, torch_dtype
from vtrcli.model.clip.converted import describe, read_header
from vtrcli.model.clip.model import (
    ClipBackbone,
    clip_model_module,
    cut_text,
    load_clip,
    recast_clip,
    save_converted,
    token_limit,
    tokenize,
)
from vtrcli.store.config import BackboneInfo


class TrainableClip:
    """`module` is a `clip.model.CLIP` of float32 weights, with a ViT."""

    is_causal = True

    def __init__(self, module: Any, described: Description) -> None:
        self.module = module
        self.info, self.preprocessing = described

    def prepare(self, *, freeze_layers: int, gradient_checkpointing: bool) -> None:
        """See `TrainableBackbone.prepare`."""
        clip = self.module
        clip.logit_scale.requires_grad = False  # the head has its own
        freeze(clip, freeze_layers)
        for block in (*clip.visual.transformer.resblocks, *clip.transformer.resblocks):
            if block.attn_mask is not None:  # no buffer: it would be copied to the device in every step
                block.attn_mask = block.attn_mask.to(clip.logit_scale.device)
            if gradient_checkpointing:
                checkpoint_block(block)

    def tokenize(self, text: str, *, max_tokens: int | None = None) -> list[int]:
        """Start, words, end."""
        return tokenize(text, context_length=token_limit(max_tokens, self.info.context_length))[0]

    def cut_text(self, text: str, max_tokens: int | None) -> str:
        """See `Backbone.cut_text`."""
        return cut_text(text, max_tokens)

    def encode_pixels(self, pixels: torch.Tensor) -> torch.Tensor:
        """uint8 [num_frames, size, size, 3] -> float32 [num_frames, dim]."""
        features: torch.Tensor = self.module.encode_image(scaled_pixels(pixels, self.preprocessing)).float()
        return features

    def encode_tokens(self, tokens: torch.Tensor) -> torch.Tensor:
        """int64 [num_texts, tokens] -> float32 [num_texts, dim]."""
        features: torch.Tensor = self.module.encode_text(tokens).float()
        return features

    def encoders(
        self, *, device: str
    ) -> tuple[Callable[[np.ndarray], np.ndarray], Callable[[torch.Tensor], torch.Tensor]]:
        """See `TrainableBackbone.encoders`."""
        image, text = (self._now(towers, device) for towers in ("image", "text"))
        return image.encode_images, text.encode_tokens

    def _now(self, towers: Towers, device: str) -> ClipBackbone:
        precision = choose_precision("auto", device=device, towers=towers)
        return ClipBackbone(
            recast_clip(self.module, dtype=torch_dtype(precision)),
            Description(self.info, self.preprocessing),
            device=device,
            precision=precision,
            towers=towers,
        )

    def save(self, path: Path, *, log_scale: torch.Tensor, started_from: str) -> BackboneInfo:
        """See `TrainableBackbone.save`."""
        state = {**self.module.state_dict(), "logit_scale": log_scale}
        save_converted(state, path, name=path.stem, source=f"fine-tuned from {started_from}")
        return describe(read_header(path), name=str(path.resolve())).info


def start(path: Path, *, name: str, from_scratch: bool, device: str) -> TrainableClip:
    """Of a converted file that goes by this name. See `Family.load_trainable`."""
    header = read_header(path)
    if not isinstance(header.config.vision_layers, int):
        raise UsageError(
            f"{name} has a ResNet as its image tower",
            allowed="fine-tuning is for ViT backbones",
            to_do="choose another --backbone, or train on cached features",
        )
    described = describe(header, name=name)
    if not from_scratch:
        return TrainableClip(load_clip(path, device=device, dtype=torch.float32).float(), described)
    clip = clip_model_module().CLIP(**asdict(header.config)).to(device)
    info = replace(
        described.info,
        name=f"{described.info.name} from scratch",
        sha256="",
        logit_scale=math.exp(float(clip.logit_scale.detach())),
    )
    return TrainableClip(clip, Description(info, described.preprocessing))


def freeze(clip: Any, num_layers: int) -> None:
    """The first layers of both towers, with their embeddings, are not trained; 0 trains all.

    Raises:
        UsageError: both towers have fewer layers.
    """
    visual, most = clip.visual, max(clip.visual.transformer.layers, clip.transformer.layers)
    if num_layers > most:
        raise UsageError(
            f"freeze_layers is {num_layers}",
            allowed=f"this CLIP has {visual.transformer.layers} image and {clip.transformer.layers} text layers",
            to_do="lower --freeze-layers",
        )
    if num_layers:
        embeddings = (visual.conv1, visual.ln_pre, clip.token_embedding)
        layers = (*visual.transformer.resblocks[:num_layers], *clip.transformer.resblocks[:num_layers])
        for module in (*embeddings, *layers):
            module.requires_grad_(False)
        for parameter in (
            visual.class_embedding,
            visual.positional_embedding,
            clip.positional_embedding,
        ):
            parameter.requires_grad_(False)


def checkpoint_block(block: nn.Module) -> None:
    """Compute the block again in the backward pass instead of keeping its inner values; parameters keep their names."""
    forward = block.forward

    def run(hidden: torch.Tensor) -> Any:
        if not torch.is_grad_enabled():
            return forward(hidden)
        return checkpoint(forward, hidden, use_reentrant=False, preserve_rng_state=False)  # no dropout

    block.forward = run  # type: ignore[method-assign]
