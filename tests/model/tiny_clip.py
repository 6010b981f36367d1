"""A CLIP small enough for tests: the real class and vocabulary, deterministic random weights, 6 MB in float16.

Other rooms' tests import `write_tiny_clip`; a call takes about 0.1 s.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch

from vtrcli.model.clip.converted import ClipConfig
from vtrcli.model.clip.model import empty_clip, save_converted

TINY_CONFIG = ClipConfig(
    embed_dim=32,
    image_resolution=32,
    vision_layers=2,
    vision_width=64,
    vision_patch_size=16,
    context_length=77,
    vocab_size=49408,
    transformer_width=64,
    transformer_heads=1,
    transformer_layers=2,
)


_NORMS = (".ln_", ".bn", ".downsample.1.")


def random_state_dict(config: ClipConfig, *, seed: int = 0) -> dict[str, torch.Tensor]:
    """float16 weights for any size, drawn so that neither tower's features vanish or blow up."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for key, tensor in empty_clip(config).state_dict().items():
        fan_in = math.prod(tensor.shape[1:]) if key.endswith("weight") else max(tensor.shape, default=1)
        state[key] = (torch.randn(tensor.shape, generator=generator) / fan_in**0.5).half()
        if any(part in f".{key}" for part in _NORMS):
            state[key] = torch.full_like(state[key], float(key.endswith(("weight", "running_var"))))
    state["logit_scale"] = torch.tensor(math.log(100.0))
    return state


def tiny_state_dict(seed: int = 0) -> dict[str, torch.Tensor]:
    """The weights of the tiny model under OpenAI's names."""
    return random_state_dict(TINY_CONFIG, seed=seed)


def write_overflowing_clip(path: Path) -> Path:
    """The tiny model with a layer of the image tower whose values leave float16's range and come back into it."""
    state = tiny_state_dict()
    block = "visual.transformer.resblocks.1.mlp"
    for key, factor in ((f"{block}.c_fc.weight", 3e5), (f"{block}.c_proj.weight", 1 / 3e5)):
        state[key] = state[key].float() * factor
    return save_converted(state, path, name="large")


def write_tiny_clip(path: Path, seed: int = 0) -> Path:
    """The tiny model as a converted file, ready for `load_backbone(str(path))`."""
    return save_converted(tiny_state_dict(seed), path, name="tiny", source="random weights")
