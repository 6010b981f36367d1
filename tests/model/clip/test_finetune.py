"""What fine-tuning a CLIP begins with."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.model.tiny_clip import TINY_CONFIG, random_state_dict
from vtrcli.errors import UsageError
from vtrcli.model.clip.converted import ClipConfig
from vtrcli.model.clip.model import save_converted
from vtrcli.model.families import load_trainable


def test_from_scratch_takes_the_sizes_alone(weights: str) -> None:
    torch.manual_seed(0)
    tuned = load_trainable(weights, from_scratch=True, device="cpu")
    clip, tag = tuned.module, tuned.info
    known = load_trainable(weights, device="cpu").module
    shapes = {name: tensor.shape for name, tensor in known.state_dict().items()}
    assert {name: tensor.shape for name, tensor in clip.state_dict().items()} == shapes
    assert not torch.equal(clip.visual.proj, known.visual.proj)
    assert tag.name.endswith(" from scratch") and tag.logit_scale == pytest.approx(1 / 0.07)


def test_a_resnet_is_not_fine_tuned(tmp_path: Path) -> None:
    config = ClipConfig(**{**vars(TINY_CONFIG), "vision_layers": (1, 1, 1, 1), "vision_patch_size": None})
    path = save_converted(random_state_dict(config), tmp_path / "resnet.safetensors", name="resnet")
    with pytest.raises(
        UsageError, match="has a ResNet as its image tower; fine-tuning is for ViT backbones; "
    ):
        load_trainable(str(path), device="cpu")
