"""Aggregators: the frames of a video -> one vector per expert. Gates and text belong to `vtrcli.model.camoe`.

Which three families the paper compared is hearsay, their inside is unknown: all three are reconstructed here, and
begin as mean pooling (our choice), because their last projections are zero. docs/camoe.md has the table.

Letters: V videos, F frames of the longest video, E experts, D feature dimension, W inner width, P slots of time.
Frames come as unit vectors, zero where the mask is False; every video has at least one frame.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import nn


class MeanAggregator(nn.Module):
    """The mean of the unit frames, the same for each expert; nothing to learn, blind to order."""

    def __init__(self, *, num_experts: int) -> None:
        super().__init__()
        self.num_experts = num_experts

    def forward(self, frames: torch.Tensor, frame_mask: torch.Tensor) -> torch.Tensor:
        """[V, F, D], bool [V, F] -> [V, E, D]."""
        return masked_mean(frames, frame_mask).unsqueeze(1).expand(-1, self.num_experts, -1)


class SqueezeExciteAggregator(nn.Module):
    """A weighted mean; each expert weighs a frame by what is in it and by what the whole video is about.

    Squeeze: the mean frame. Excite: sigmoid(W2 relu(W1 [frame, mean frame])), over the sum of the weights. The
    original squeezes to one number per frame and so needs a fixed number of frames; this one takes any, and is blind
    to order.
    """

    def __init__(self, dim: int, *, num_experts: int, width: int) -> None:
        super().__init__()
        self.from_frame = nn.Linear(dim, width)
        self.from_video = nn.Linear(dim, width, bias=False)
        self.excite = _zero_linear(width, num_experts)
        self.scale = dim**0.5  # unit vectors are small numbers; this gives them the size that layers expect

    def forward(self, frames: torch.Tensor, frame_mask: torch.Tensor) -> torch.Tensor:
        """[V, F, D], bool [V, F] -> [V, E, D]."""
        squeezed = masked_mean(frames, frame_mask).unsqueeze(1)
        hidden = torch.relu(self.from_frame(frames * self.scale) + self.from_video(squeezed * self.scale))
        weights = self.excite(hidden).sigmoid() * frame_mask.unsqueeze(-1)  # [V, F, E]
        return weighted_mean(frames, weights / weights.sum(dim=1, keepdim=True))


class AttentionAggregator(nn.Module):
    """Transformer layers over frames that know their place in the video: the aggregator that sees order.

    One trunk is shared, each expert has its own weights over the frames and its own projection (a trunk per expert
    would cost three times as much). Expert vector = weighted mean of the frames + projection of the
    weighted mean of the trunk's outputs.

    A frame's place is its rank among the video's frames, from 0 for the first to 1 for the last, and is looked up
    between `num_positions` learned slots. So any number of frames works, and a model trained on 12 frames still sees
    beginning, middle and end in a video of 300.
    """

    def __init__(
        self,
        dim: int,
        *,
        num_experts: int,
        width: int,
        num_layers: int,
        num_heads: int,
        num_positions: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.enter = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, width))
        self.positions = nn.Parameter(torch.randn(num_positions, width) * 0.1)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, num_heads, 4 * width, dropout, activation="gelu", batch_first=True, norm_first=True
            )
            for _ in range(num_layers)
        )
        self.leave = nn.LayerNorm(width)
        self.frame_scores = _zero_linear(width, num_experts)
        self.projections = nn.Parameter(torch.zeros(num_experts, width, dim))

    def forward(self, frames: torch.Tensor, frame_mask: torch.Tensor) -> torch.Tensor:
        """[V, F, D], bool [V, F] -> [V, E, D]."""
        hidden = self.enter(frames) + self.places(frame_mask) @ self.positions  # [V, F, W]
        for layer in self.layers:
            hidden = layer(hidden, src_key_padding_mask=~frame_mask)
        hidden = self.leave(hidden)
        scores = self.frame_scores(hidden).float().masked_fill(~frame_mask.unsqueeze(-1), float("-inf"))
        weights = scores.softmax(dim=1)  # [V, F, E]
        pooled = torch.einsum("vfe,vfw->vew", weights.to(hidden.dtype), hidden)
        return weighted_mean(frames, weights) + torch.einsum("vew,ewd->ved", pooled, self.projections)

    def places(self, frame_mask: torch.Tensor) -> torch.Tensor:
        """bool [V, F] -> [V, F, P]: how much of each slot a frame takes; at most two neighbours, with sum 1.

        For P = 3 and four frames: slots 0, 2/3, 4/3, 2, so [1 0 0], [1/3 2/3 0], [0 2/3 1/3], [0 0 1].
        """
        rank = (frame_mask.cumsum(dim=1) - 1).clamp(min=0)
        last = rank[:, -1:].clamp(min=1)
        num_positions = len(self.positions)
        slot = rank / last * (num_positions - 1)
        slots = torch.arange(num_positions, device=frame_mask.device)
        return (1 - (slot.unsqueeze(-1) - slots).abs()).clamp(min=0)


def masked_mean(frames: torch.Tensor, frame_mask: torch.Tensor) -> torch.Tensor:
    """[V, F, D], bool [V, F] -> [V, D]; frames outside the mask must be zero."""
    return frames.sum(dim=1) / frame_mask.sum(dim=1, keepdim=True)


def weighted_mean(frames: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """[V, F, D], [V, F, E] with sum 1 over F -> [V, E, D]."""
    with full_precision(frames):
        return torch.einsum("vfe,vfd->ved", weights.float(), frames)


def full_precision(tensor: torch.Tensor) -> AbstractContextManager[object]:
    """Switch autocast off: bfloat16 has too few digits for cosines that are then multiplied by 100."""
    kind = tensor.device.type
    if torch.amp.is_autocast_available(kind):
        return torch.autocast(kind, enabled=False)
    return nullcontext()


def _zero_linear(num_inputs: int, num_outputs: int) -> nn.Linear:
    layer = nn.Linear(num_inputs, num_outputs)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
