"""A second head, in the tests alone: a text scores the frame that fits it best, so no one vector stands for a video."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import torch
from torch import nn
from torch.nn import functional as F

from vtrcli.model.losses import contrastive_loss
from vtrcli.model.train_settings import TrainSettings


@dataclass(frozen=True, kw_only=True)
class MaxSimConfig:
    name: ClassVar[str] = "max-sim"
    is_inner_product: ClassVar[bool] = False
    max_logit_scale: ClassVar[float] = 50.0

    dim: int
    num_streams: int

    def scale_bound(self, backbone_scale: float) -> float:
        return self.max_logit_scale

    @classmethod
    def of_settings(cls, settings: TrainSettings, *, dim: int) -> MaxSimConfig:
        return cls(dim=dim, num_streams=len(settings.experts))

    @property
    def text_shape(self) -> tuple[int, ...]:
        return (self.num_streams, self.dim)

    @property
    def max_length(self) -> float:
        return math.inf

    def text_vectors(self, weight: object, texts: object, stream_mask: object) -> None:
        return None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> MaxSimConfig:
        return cls(**body)


class MaxSim(nn.Module):
    """score = mean over the text's streams of the maximum over frames of cos(W stream, frame)."""

    def __init__(self, config: MaxSimConfig, logit_scale: float) -> None:
        super().__init__()
        self.config = config
        self.project = nn.Linear(config.dim, config.dim, bias=False)
        nn.init.eye_(self.project.weight)
        self.log_scale = nn.Parameter(torch.tensor(math.log(logit_scale)))
        self.clamp_log_scale()

    @property
    def logit_scale(self) -> torch.Tensor:
        return self.log_scale.exp()

    def clamp_log_scale(self) -> None:
        with torch.no_grad():
            self.log_scale.clamp_(max=math.log(self.config.max_logit_scale))

    def video_vectors(self, frames: torch.Tensor, frame_mask: torch.Tensor) -> torch.Tensor:
        """[V, F, D]; a place without a frame repeats the first one, which changes no maximum."""
        units = F.normalize(frames.float(), dim=-1)
        return torch.where(frame_mask.unsqueeze(-1), units, units[:, :1])

    def text_vectors(self, texts: torch.Tensor, stream_mask: torch.Tensor) -> torch.Tensor:
        """[Q, E, D]."""
        return F.normalize(self.project(texts.float()).float(), dim=-1)

    def scores(self, texts: torch.Tensor, videos: torch.Tensor) -> torch.Tensor:
        return torch.einsum("qed,vfd->qvef", texts, videos).amax(dim=-1).mean(dim=-1)

    def loss(
        self,
        texts: torch.Tensor,
        videos: torch.Tensor,
        *,
        dsl_temperature: float | None,
        positives: torch.Tensor | None = None,
    ) -> torch.Tensor:
        logits = self.logit_scale * self.scores(texts, videos)
        return contrastive_loss(logits, dsl_temperature=dsl_temperature, positives=positives)

    def explain(self, text: torch.Tensor, stream_mask: torch.Tensor, frames: torch.Tensor) -> None:
        """It does not tell."""
