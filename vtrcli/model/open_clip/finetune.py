"""A model of open_clip's with weights that learn: `vtrcli.model.backbone.TrainableBackbone`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import nn

from vtrcli.errors import UsageError, WeightsError
from vtrcli.files import make_folder, remove_abandoned, replacing, write_whole
from vtrcli.model.backbone import choose_precision, scaled_pixels, torch_dtype
from vtrcli.model.layers import Layers, layers_of, prepare_layers
from vtrcli.model.open_clip.folder import CONFIG_NAME, WEIGHTS_NAMES, ModelFolder
from vtrcli.model.open_clip.model import (
    OpenClipBackbone,
    empty_tower,
    fill_tower,
    image_features,
    read_tower,
    ready_tower,
    require_open_clip,
    text_features,
)
from vtrcli.model.open_clip.tokens import TextReader
from vtrcli.store.config import BackboneInfo, Description

TOWERS = {"image": "visual", "text": "text"}


class Towers(nn.Module):
    """Both towers and the scale, under the names of open_clip's CustomTextCLIP.

    Always as in evaluation: nothing is dropped, and running means stay those of the pretraining, so that a step depends
    on its batch alone and a run can be resumed to the bit.
    """

    def __init__(self, visual: nn.Module, text: nn.Module, info: BackboneInfo) -> None:
        super().__init__()
        self.visual, self.text = visual, text
        self.logit_scale = nn.Parameter(torch.tensor(math.log(info.logit_scale)))
        self.eval()

    def train(self, mode: bool = True) -> Towers:
        """Stays as in evaluation."""
        return super().train(False)


class TrainableOpenClip:
    """`module` has float32 weights; `cache` remembers what was read of folders."""

    def __init__(self, folder: ModelFolder, module: Towers, described: Description, *, cache: Path) -> None:
        self.module: Any = module
        self.info, self.preprocessing = described
        self.is_causal = folder.is_causal
        self._folder, self._cache = folder, cache
        self._texts = TextReader(folder)

    def prepare(self, *, freeze_layers: int, gradient_checkpointing: bool) -> None:
        """See `TrainableBackbone.prepare`."""
        self.module.logit_scale.requires_grad = False  # the head has its own
        prepare_layers(
            image_layers(self.module.visual, name=self.info.name),
            layers_of(self.module.text, self.module.text.transformer.resblocks),
            freeze_layers=freeze_layers,
            gradient_checkpointing=gradient_checkpointing,
        )

    def tokenize(self, text: str, *, max_tokens: int | None = None) -> list[int]:
        """As the model's own tokenizer."""
        return self._texts.row(text, max_tokens)[0]

    def cut_text(self, text: str, max_tokens: int | None) -> str:
        """See `Backbone.cut_text`."""
        return self._texts.cut(text, max_tokens)

    def encode_pixels(self, pixels: torch.Tensor) -> torch.Tensor:
        """uint8 [num_frames, height, width, 3] -> float32 [num_frames, dim]."""
        return image_features(self.module.visual, scaled_pixels(pixels, self.preprocessing))

    def encode_tokens(self, tokens: torch.Tensor) -> torch.Tensor:
        """int64 [num_texts, tokens] -> float32 [num_texts, dim]."""
        return text_features(self.module.text, tokens)

    def encoders(
        self, *, device: str
    ) -> tuple[Callable[[np.ndarray], np.ndarray], Callable[[torch.Tensor], torch.Tensor]]:
        """See `TrainableBackbone.encoders`."""
        return self._now("image", device).encode_images, self._now("text", device).encode_tokens

    def _now(self, tower: Literal["image", "text"], device: str) -> OpenClipBackbone:
        precision = choose_precision("auto", device=device, towers=tower)
        weights = getattr(self.module, TOWERS[tower]).state_dict()
        ready = ready_tower(self._folder, tower, weights, device=device, dtype=torch_dtype(precision))
        image, text = (ready if tower == of else None for of in TOWERS)
        described = Description(self.info, self.preprocessing)
        return OpenClipBackbone(image, text, self._texts, described, device=device, precision=precision)

    def save(self, path: Path, *, log_scale: torch.Tensor, started_from: str) -> BackboneInfo:
        """See `TrainableBackbone.save`: a folder that open_clip loads, too."""
        make_folder(
            path, what="the folder of the backbone", error=WeightsError,
            allowed="a folder that can be written", to_do="choose another with --out",
        )  # fmt: skip
        if path.resolve() != self._folder.path.resolve():
            for source in (self._folder.path / CONFIG_NAME, *self._folder.tokenizer_files):
                write_whole(path / source.name, source.read_bytes(), error=WeightsError)
        prefixes = {"visual": "visual.", "text": self._folder.text_prefix}
        state = {
            prefix + key: tensor.detach().cpu().contiguous()
            for name, prefix in prefixes.items()
            for key, tensor in getattr(self.module, name).state_dict().items()
        }
        shape = [1] if self._folder.architecture.get("nonscalar_logit_scale") else []
        state["logit_scale"] = log_scale.detach().float().cpu().reshape(shape)
        if self.info.logit_bias is not None:
            state["logit_bias"] = torch.full(shape, self.info.logit_bias)
        remove_abandoned(path)
        with replacing(path / WEIGHTS_NAMES[0], error=WeightsError) as temporary:
            try:
                save_file(
                    state, temporary, metadata={"format": "pt", "source": f"fine-tuned from {started_from}"}
                )
            except SafetensorError as error:  # a full disk, in safetensors' words
                raise OSError(str(error)) from error
        return ModelFolder(path).describe(name=str(path.resolve()), cache=self._cache).info


def start(
    folder: ModelFolder, described: Description, *, from_scratch: bool, device: str, cache: Path
) -> TrainableOpenClip:
    """See `Family.load_trainable`."""
    require_open_clip(whole=True)
    towers = {tower: empty_tower(folder, tower, initialised=from_scratch) for tower in TOWERS}
    image_layers(towers["image"], name=described.info.name)
    if from_scratch:
        told = folder.architecture
        info = replace(
            described.info,
            name=f"{described.info.name} from scratch",
            sha256="",
            logit_scale=math.exp(told.get("init_logit_scale", math.log(1 / 0.07))),
            logit_bias=told.get("init_logit_bias"),
        )
        described = Description(info, described.preprocessing)
    else:
        for tower, module in towers.items():
            fill_tower(module, read_tower(folder, tower), folder, tower)
    module = Towers(towers["image"], towers["text"], described.info).float().to(device)
    return TrainableOpenClip(folder, module, described, cache=cache)


def image_layers(tower: Any, *, name: str) -> Layers:
    """Those of an image tower. Raises UsageError where it is no transformer."""
    from open_clip.transformer import VisionTransformer
    from timm.models.eva import Eva
    from timm.models.vision_transformer import VisionTransformer as TimmVisionTransformer

    if isinstance(tower, VisionTransformer):
        return layers_of(tower, tower.transformer.resblocks)
    trunk = getattr(tower, "trunk", tower)
    if isinstance(trunk, (Eva, TimmVisionTransformer)):
        return layers_of(trunk, trunk.blocks)
    raise UsageError(
        f"{name} cannot be fine-tuned: its image tower, a {type(trunk).__name__}, is no row of equal layers",
        allowed="--finetune freezes and recomputes the layers of transformers: open_clip's own, timm's ViT and EVA",
        to_do="train on its cached features: leave --finetune out",
    )
