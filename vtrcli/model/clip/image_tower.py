"""The features of CLIP's ViT, computed with less than its own forward computes.

The same arithmetic as `VisionTransformer.forward` of clip/model.py, on the same weights, but for rounding:

- Only the class token of the last layer is read, so that layer's other queries, its output projection and its MLP are
  left out: 10/12 of the layer's products (with width 4 of the MLP), 7 % of all for ViT-B/32.
- Bytes are exact in every number format here: they are multiplied by the patch embedding as they are, which holds
  scale and offset of the pixels, and as a product, since patches do not overlap.
- x sigmoid(1.702 x) is silu(1.702 x) / 1.702, and a product scales for nothing: one pass over the widest activations
  instead of three.

What that brings: docs/experiments.md.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

from vtrcli.preprocessing import Preprocessing

_QUICK = 1.702  # of QuickGELU


class ImageTower:
    """A loaded `clip.model.VisionTransformer`, ready to encode."""

    def __init__(self, visual: Any, preprocessing: Preprocessing) -> None:
        self._visual = visual
        weight = visual.conv1.weight.detach()
        low, high = preprocessing.value_range
        mean, std = (
            torch.tensor(values, device=weight.device).view(1, 3, 1, 1)
            for values in (preprocessing.mean, preprocessing.std)
        )
        self._patch_size = int(weight.shape[-1])
        self._byte_scale = (high - low) / 255
        # [width, patch * patch * 3], in the order in which the bytes of a patch lie
        per_byte = (weight.float() / std).permute(0, 2, 3, 1).flatten(1)
        self._patch_weight = per_byte.to(weight.dtype).t()
        self._patch_bias = (weight.float() * ((low - mean) / std)).sum((1, 2, 3)).to(weight.dtype)

    def __call__(self, frames: torch.Tensor) -> torch.Tensor:
        """uint8 [batch, height, width, 3], on the tower's device -> [batch, dim] in its number format."""
        visual = self._visual
        tokens = self._tokens(frames)
        batch, length, width = tokens.shape
        states = visual.ln_pre(tokens).view(batch * length, width)
        *blocks, last = visual.transformer.resblocks
        for block in blocks:
            states = states + _attention(block, block.ln_1(states), batch)
            states = states + _mlp(block, block.ln_2(states))
        class_states = states.view(batch, length, width)[:, 0]
        class_states = class_states + _attention(last, last.ln_1(states), batch, of_class=True)
        class_states = class_states + _mlp(last, last.ln_2(class_states))
        features: torch.Tensor = visual.ln_post(class_states) @ visual.proj
        return features

    def _tokens(self, frames: torch.Tensor) -> torch.Tensor:
        """Patches with the class token before them, and where they stand: [batch, 1 + patches, width]."""
        visual, size = self._visual, self._patch_size
        batch, height, wide, _ = frames.shape
        rows, columns = height // size, wide // size
        frames = frames[:, : rows * size, : columns * size].contiguous()
        patches = frames.view(batch, rows, size, columns, size * 3).transpose(2, 3)
        flat = patches.reshape(batch * rows * columns, size * size * 3).to(self._patch_weight.dtype)
        embedded = torch.addmm(self._patch_bias, flat, self._patch_weight, alpha=self._byte_scale)
        classes = visual.class_embedding.to(embedded.dtype).expand(batch, 1, -1)
        tokens = torch.cat([classes, embedded.view(batch, rows * columns, -1)], dim=1)
        tokens += visual.positional_embedding.to(embedded.dtype)
        return tokens


def _attention(block: Any, states: torch.Tensor, batch: int, *, of_class: bool = False) -> torch.Tensor:
    """Self-attention of a block over [batch * length, width], of all tokens, or of the class token: [batch, width]."""
    attention, width = block.attn, states.shape[-1]
    weight, bias = attention.in_proj_weight, attention.in_proj_bias
    num_heads = attention.num_heads
    queried = states
    if of_class:
        queried = states.view(batch, -1, width)[:, 0]
        queries = functional.linear(queried, weight[:width], bias[:width])
        both = functional.linear(states, weight[width:], bias[width:]).chunk(2, dim=-1)
        projected = (queries, *both)
    else:
        projected = functional.linear(states, weight, bias).chunk(3, dim=-1)
    query, key, value = (
        each.view(batch, -1, num_heads, width // num_heads).transpose(1, 2) for each in projected
    )
    mixed = functional.scaled_dot_product_attention(query, key, value)
    mixed = mixed.transpose(1, 2).reshape(len(queried), width)
    return functional.linear(mixed, attention.out_proj.weight, attention.out_proj.bias)


def _mlp(block: Any, states: torch.Tensor) -> torch.Tensor:
    """Both layers, with QuickGELU between them, over [rows, width]."""
    wide, narrow = block.mlp.c_fc, block.mlp.c_proj
    hidden = torch.addmm(wide.bias, states, wide.weight.t(), alpha=_QUICK, beta=_QUICK)
    functional.silu(hidden, inplace=True)
    return torch.addmm(narrow.bias, hidden, narrow.weight.t(), alpha=1 / _QUICK)
