"""What a training step runs forward: a batch of pairs to the vectors whose inner products are the scores."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from vtrcli.model.camoe import Camoe
from vtrcli.model.losses import contrastive_loss
from vtrcli.training.distributed import World, gather


@dataclass(frozen=True)
class PairBatch:
    """This process's pairs of a global batch.

    `frames` [part, F, dim] features (or uint8 [part, F, size, size, 3] pixels when fine-tuning), `frame_mask` bool
    [part, F], `texts` [part, E, dim] (or token ids [part, E, tokens]), `stream_mask` bool [part, E];
    `video_numbers` int64 [global batch]: two pairs of the same video are no negatives of each other.
    """

    frames: torch.Tensor
    frame_mask: torch.Tensor
    texts: torch.Tensor
    stream_mask: torch.Tensor
    video_numbers: torch.Tensor

    def to(self, device: str) -> PairBatch:
        """The batch on another device."""
        return PairBatch(*(tensor.to(device, non_blocking=True) for tensor in vars(self).values()))


class PairEncoder(nn.Module):
    """CAMoE on cached features. Fine-tuning puts CLIP in front of it (`vtrcli.training.finetune`)."""

    def __init__(self, camoe: Camoe) -> None:
        super().__init__()
        self.camoe = camoe

    def forward(
        self,
        frames: torch.Tensor,
        frame_mask: torch.Tensor,
        texts: torch.Tensor,
        stream_mask: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Video vectors and text vectors, float32 [part, E * dim], and the logit scale."""
        videos = self.camoe.video_vectors(frames, frame_mask)
        return videos, self.camoe.text_vectors(texts, stream_mask), self.camoe.logit_scale


def batch_loss(
    encoder: nn.Module, batch: PairBatch, *, world: World, dsl_temperature: float | None
) -> torch.Tensor:
    """The loss of the global batch, the same in every process; gradients are complete after DDP's averaging."""
    videos, texts, scale = encoder(batch.frames, batch.frame_mask, batch.texts, batch.stream_mask)
    videos, texts = gather(videos, world), gather(texts, world)
    with torch.autocast(videos.device.type, enabled=False):
        logits = scale.float() * (texts.float() @ videos.float().T)
        numbers = batch.video_numbers
        positives = None
        if len(torch.unique(numbers)) < len(numbers):
            positives = numbers[:, None] == numbers[None, :]
        return contrastive_loss(logits, dsl_temperature=dsl_temperature, positives=positives)
