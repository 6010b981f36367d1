"""CLIP with weights that learn: `vtrcli.model.backbone.TrainableBackbone`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vtrcli.errors import UsageError
from vtrcli.model.backbone import Towers, choose_precision, scaled_pixels, torch_dtype
from vtrcli.model.clip.converted import describe, read_header
from vtrcli.model.clip.model import (
    ClipBackbone,
    clip_model_module,
    load_clip,
    recast_clip,
    save_converted,
)
from vtrcli.model.clip.tokens import cut_text, token_limit, tokenize
from vtrcli.model.layers import layers_of, prepare_layers
from vtrcli.store.config import BackboneInfo, Description


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
        for block in clip.transformer.resblocks:  # no buffer: it would be copied to the device in every step
            block.attn_mask = block.attn_mask.to(clip.logit_scale.device)
        prepare_layers(
            layers_of(clip.visual, clip.visual.transformer.resblocks),
            layers_of(clip, clip.transformer.resblocks),
            freeze_layers=freeze_layers,
            gradient_checkpointing=gradient_checkpointing,
        )

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
        path = path.with_suffix(".safetensors")
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
