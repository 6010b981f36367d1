"""CAMoE: experts on the video side, streams on the text side, and one gate that mixes their cosines.

    score(text, video) = sum over experts e of gate_e * cos(text_e, video_e)

From the paper: several experts, one gate, each expert aligned with its part of the text. The rest is reconstructed or
our choice; docs/camoe.md tells which. The model sees features only: CLIP's towers are `vtrcli.model.backbone`, losses
`vtrcli.model.losses`.

An aggregator makes one vector per expert of a video's frames. Which three families the paper compared is hearsay, their
inside is unknown: all three are reconstructed here, and begin as mean pooling (our choice), because their last
projections are zero. They get frames as unit vectors, zero where the mask is False; every video has at least one frame.

Letters: V videos, F frames of the longest video, Q texts, E experts, D feature dimension; W inner width and P slots of
time of an aggregator.
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from vtrcli.errors import InputError
from vtrcli.model.camoe_config import CamoeConfig, require
from vtrcli.model.losses import contrastive_loss

# The gate's logit of the whole caption at the start: 0.91 of the weight with three experts. Nouns or verbs alone are
# far weaker queries, and a uniform start lies far below zero-shot CLIP (docs/experiments.md).
START_BIAS = 3.0


class Camoe(nn.Module):
    """The one definition. Untrained it is mean pooling, mostly of the whole caption: training starts near zero-shot.

    The gate (our choice of inputs and of the start, START_BIAS for the whole caption):
    - "video": softmax(W mean frame + b), one for all texts. A stream that a text lacks is not masked, but compared by
      its fall-back, the caption: with masks a video that trusts its action expert would lose score for every
      text without a verb, and no factor per text could give it back.
    - "text": softmax(W mean of the text's streams + b) over the streams that the text has.
    - "uniform": the mean over the streams that the text has.
    Each depends on one side only, so that side's vectors carry it, and the score is one inner product.
    """

    def __init__(self, config: CamoeConfig, *, logit_scale: float = 100.0) -> None:
        """`logit_scale` is the backbone's, where training starts. Raises UsageError unless it is positive."""
        super().__init__()
        require("logit_scale", logit_scale, 0 < logit_scale < math.inf, "a positive number")
        self.config = config
        self.aggregator = _aggregator(config)
        self.gate: nn.Linear | None = None
        if config.gate != "uniform" and len(config.experts) > 1:
            self.gate = nn.Linear(config.dim, len(config.experts))
            nn.init.zeros_(self.gate.weight)
            nn.init.zeros_(self.gate.bias)
            if "fusion" in config.experts:
                with torch.no_grad():
                    self.gate.bias[config.experts.index("fusion")] = START_BIAS
        self._max_log_scale = math.log(config.scale_bound(logit_scale))
        self.log_scale = nn.Parameter(torch.tensor(math.log(logit_scale)))
        self.clamp_log_scale()

    @property
    def logit_scale(self) -> torch.Tensor:
        """Scalar, at most 100 or the backbone's: what the cosines are multiplied by before a loss."""
        return self.log_scale.clamp(max=self._max_log_scale).exp()

    def clamp_log_scale(self) -> None:
        """To be called after each optimizer step: beyond the bound its gradient is zero and it would stay there."""
        with torch.no_grad():
            self.log_scale.clamp_(max=self._max_log_scale)

    def forward(
        self,
        frames: torch.Tensor,
        frame_mask: torch.Tensor,
        texts: torch.Tensor,
        stream_mask: torch.Tensor,
    ) -> torch.Tensor:
        """Scores [Q, V] in cosine units, -1 to 1; arguments as in `video_vectors` and `text_vectors`."""
        return self.scores(self.text_vectors(texts, stream_mask), self.video_vectors(frames, frame_mask))

    def scores(self, texts: torch.Tensor, videos: torch.Tensor) -> torch.Tensor:
        """Vectors [Q, E * D] and [V, E * D] -> float32 [Q, V] in cosine units: one inner product each."""
        with full_precision(videos):
            return texts.float() @ videos.float().T

    def loss(
        self,
        texts: torch.Tensor,
        videos: torch.Tensor,
        *,
        dsl_temperature: float | None,
        positives: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Vectors [Q, E * D] and [V, E * D] of a whole batch -> scalar, InfoNCE or DSL (`contrastive_loss`)."""
        logits = self.logit_scale * self.scores(texts, videos)
        return contrastive_loss(logits, dsl_temperature=dsl_temperature, positives=positives)

    def video_vectors(self, frames: torch.Tensor, frame_mask: torch.Tensor) -> torch.Tensor:
        """Frame features [V, F, D], any float type and norm, and bool [V, F] -> float32 [V, E * D].

        What stands outside the mask counts for nothing. Raises InputError for wrong shapes and empty videos.
        """
        self._check("frames", frames, frame_mask, ("V", "F", self.config.dim))
        if not bool(frame_mask.any(dim=1).all()):
            raise InputError(
                "a video without frames",
                allowed="at least one frame per video inside the mask",
                to_do="leave the video out",
            )
        units = F.normalize(frames.float().masked_fill(~frame_mask.unsqueeze(-1), 0), dim=-1)
        experts = F.normalize(self.aggregator(units, frame_mask).float(), dim=-1)  # [V, E, D]
        if self.gate is not None and self.config.gate == "video":
            experts = experts * self._video_gate(units, frame_mask).unsqueeze(-1)
        return experts.flatten(1)

    def text_vectors(self, texts: torch.Tensor, stream_mask: torch.Tensor) -> torch.Tensor:
        """Stream features [Q, E, D], in the order of config.experts, and bool [Q, E] -> float32 [Q, E * D].

        A stream that the text lacks holds the caption's feature, and False in the mask. A text that has none of the
        experts' streams is treated as if it had all. Raises InputError for wrong shapes.
        """
        self._check("texts", texts, stream_mask, ("Q", len(self.config.experts), self.config.dim))
        units = F.normalize(texts.float(), dim=-1)
        if self.config.gate == "video":
            return units.flatten(1)
        return (units * self._text_gate(units, stream_mask).unsqueeze(-1)).flatten(1)

    def explain(
        self, text: torch.Tensor, stream_mask: torch.Tensor, frames: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Text features [E, D] and bool [E], frame features [F, D] -> gate [E], frames' weights and scores [E, F].

        All three aggregators make an expert's vector of a sum over frames, `sum_f weight_ef * part_ef`: of "mean" and
        "se" a frame's part is the frame itself, of "attention" the frame and the projection of what the trunk made of
        it, which has looked at the other frames too. A frame's score is the part's inner product with the text's unit
        vector over the length of that sum, so that the expert's cosine is the weighted mean of the frames' scores. (It
        is no cosine itself, and may pass 1: the sum of parts is shorter than they are.) Weights of "se" and
        "attention" depend on the whole video: the parts say what each frame brought to this score, not what the score
        would be without it.

        Raises InputError for wrong shapes.
        """
        texts, masks = text.unsqueeze(0), stream_mask.unsqueeze(0)
        frame_mask = torch.ones(1, len(frames), dtype=torch.bool, device=frames.device)
        self._check("frames", frames.unsqueeze(0), frame_mask, ("V", "F", self.config.dim))
        self._check("texts", texts, masks, ("Q", len(self.config.experts), self.config.dim))
        units, words = F.normalize(frames.float(), dim=-1).unsqueeze(0), F.normalize(texts.float(), dim=-1)
        aggregator: Any = self.aggregator
        weights, parts = aggregator.parts(units, frame_mask)  # [1, F, E], [1, F, E, D]
        with full_precision(units):
            lengths = torch.einsum("vfe,vfed->ved", weights, parts)[0].norm(dim=-1, keepdim=True)  # [E, 1]
            scores = torch.einsum("qed,vfed->ef", words, parts) / lengths.clamp(min=1e-12)
        is_by_video = self.gate is not None and self.config.gate == "video"
        gate = self._video_gate(units, frame_mask) if is_by_video else self._text_gate(words, masks)
        return gate[0], weights[0].T, scores

    def _video_gate(self, units: torch.Tensor, frame_mask: torch.Tensor) -> torch.Tensor:
        """Unit frames [V, F, D], zero outside bool [V, F] -> [V, E], with sum 1."""
        assert self.gate is not None
        gate: torch.Tensor = self.gate(masked_mean(units, frame_mask)).float().softmax(dim=-1)
        return gate

    def _text_gate(self, units: torch.Tensor, stream_mask: torch.Tensor) -> torch.Tensor:
        """Unit streams [Q, E, D] and bool [Q, E] -> [Q, E], with sum 1 over those that the text has."""
        present = stream_mask | ~stream_mask.any(dim=1, keepdim=True)
        scores = torch.zeros_like(units[..., 0])
        if self.gate is not None:
            mean = (units * present.unsqueeze(-1)).sum(dim=1) / present.sum(dim=1, keepdim=True)
            scores = self.gate(mean).float()
        return scores.masked_fill(~present, float("-inf")).softmax(dim=-1)

    @staticmethod
    def _check(name: str, tensor: torch.Tensor, mask: torch.Tensor, shape: tuple[int | str, ...]) -> None:
        fits = tensor.ndim == len(shape) and all(
            isinstance(wanted, str) or have == wanted
            for have, wanted in zip(tensor.shape, shape, strict=True)
        )
        if not fits or mask.shape != tensor.shape[:2] or mask.dtype != torch.bool:
            wanted = ", ".join(map(str, shape))
            raise InputError(
                f"{name} {list(tensor.shape)} with a mask {list(mask.shape)} of {mask.dtype}",
                allowed=f"[{wanted}] with a bool mask [{wanted.rpartition(', ')[0]}]",
                to_do="check that store, run and backbone belong together",
            )


class MeanAggregator(nn.Module):
    """The mean of the unit frames, the same for each expert; nothing to learn, blind to order."""

    def __init__(self, *, num_experts: int) -> None:
        super().__init__()
        self.num_experts = num_experts

    def forward(self, frames: torch.Tensor, frame_mask: torch.Tensor) -> torch.Tensor:
        """[V, F, D], bool [V, F] -> [V, E, D]."""
        return masked_mean(frames, frame_mask).unsqueeze(1).expand(-1, self.num_experts, -1)

    def parts(self, frames: torch.Tensor, frame_mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Weights [V, F, E] with sum 1 over F and parts [V, F, E, D], whose weighted sum `forward` is."""
        weights = frame_mask / frame_mask.sum(dim=1, keepdim=True)
        return weights.unsqueeze(-1).expand(-1, -1, self.num_experts), _each(frames, self.num_experts)


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
        return weighted_mean(frames, self._weights(frames, frame_mask))

    def parts(self, frames: torch.Tensor, frame_mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """As of `MeanAggregator`."""
        weights = self._weights(frames, frame_mask)
        return weights.float(), _each(frames, weights.shape[-1])

    def _weights(self, frames: torch.Tensor, frame_mask: torch.Tensor) -> torch.Tensor:
        squeezed = masked_mean(frames, frame_mask).unsqueeze(1)
        hidden = torch.relu(self.from_frame(frames * self.scale) + self.from_video(squeezed * self.scale))
        weights = self.excite(hidden).sigmoid() * frame_mask.unsqueeze(-1)  # [V, F, E]
        normed: torch.Tensor = weights / weights.sum(dim=1, keepdim=True)
        return normed


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
        hidden, weights = self._attended(frames, frame_mask)
        pooled = torch.einsum("vfe,vfw->vew", weights.to(hidden.dtype), hidden)
        return weighted_mean(frames, weights) + torch.einsum("vew,ewd->ved", pooled, self.projections)

    def parts(self, frames: torch.Tensor, frame_mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """As of `MeanAggregator`; a part is the frame and the projection of the trunk's output for it."""
        hidden, weights = self._attended(frames, frame_mask)
        carried = torch.einsum("vfw,ewd->vfed", hidden, self.projections)
        return weights.float(), frames.unsqueeze(2) + carried

    def _attended(self, frames: torch.Tensor, frame_mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The trunk's output [V, F, W], and each expert's weights over the frames, float32 [V, F, E] with sum 1."""
        hidden = self.enter(frames) + self.places(frame_mask) @ self.positions  # [V, F, W]
        for layer in self.layers:
            hidden = layer(hidden, src_key_padding_mask=~frame_mask)
        hidden = self.leave(hidden)
        scores = self.frame_scores(hidden).float().masked_fill(~frame_mask.unsqueeze(-1), float("-inf"))
        return hidden, scores.softmax(dim=1)

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


def _each(frames: torch.Tensor, num_experts: int) -> torch.Tensor:
    """[V, F, D] -> [V, F, E, D], the same frame for every expert."""
    return frames.unsqueeze(2).expand(-1, -1, num_experts, -1)


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


def _aggregator(config: CamoeConfig) -> nn.Module:
    num_experts = len(config.experts)
    if config.aggregator == "mean":
        return MeanAggregator(num_experts=num_experts)
    if config.aggregator == "se":
        return SqueezeExciteAggregator(config.dim, num_experts=num_experts, width=config.width)
    return AttentionAggregator(
        config.dim,
        num_experts=num_experts,
        width=config.width,
        num_layers=config.num_layers,
        num_heads=config.num_heads,
        num_positions=config.num_positions,
        dropout=config.dropout,
    )
