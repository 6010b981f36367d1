"""The head as the other rooms see it: features of frames and texts -> scores, whatever model makes them.

A run names its head (`settings.head` in its config.json; a run without that is CAMoE) and keeps its shape under that
name. A new head is a module of torch, a config without torch, and a row of `HEADS`: training, evaluation and search
then take it. Where its score is one inner product, search keeps a vector per video; else it scores the first hits anew.

Letters: V videos, F frames of the longest video, Q texts, E streams of text, D feature dimension.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from vtrcli.errors import UsageError
from vtrcli.model.camoe_config import CamoeConfig
from vtrcli.model.train_settings import TrainSettings

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import nn

LOG_SCALE = "log_scale"  # the parameter of every head that holds the logarithm of its logit scale


class HeadConfig(Protocol):
    """What decides the shape of a head. Needs no torch.

    `is_inner_product`: whether `scores` is text_vectors @ video_vectors.T, one vector each.
    """

    name: ClassVar[str]
    is_inner_product: ClassVar[bool]

    @property
    def dim(self) -> int:
        """D."""

    @property
    def text_shape(self) -> tuple[int, ...]:
        """What a text becomes, without the batch; where the score is an inner product, a video as well: one axis."""

    @property
    def max_length(self) -> float:
        """No video's vector is longer; asked for where the score is an inner product."""

    def scale_bound(self, backbone_scale: float) -> float:
        """What the logit scale never passes, on a backbone of that scale."""

    def text_vectors(
        self, weight: Callable[[str, tuple[int, ...]], np.ndarray], texts: np.ndarray, stream_mask: np.ndarray
    ) -> np.ndarray | None:
        """What `Head.text_vectors` makes, in NumPy, so that a query need not wait for torch; None: the head alone can.

        Args:
            weight: the name of a weight and its shape -> float32, its values.
        """

    @classmethod
    def of_settings(cls, settings: TrainSettings, *, dim: int) -> HeadConfig:
        """The one that these settings train."""

    def to_json(self) -> dict[str, Any]:
        """The JSON object that a run keeps."""

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> HeadConfig:
        """What `to_json` wrote. Raises UsageError for wrong keys and values."""


@dataclass(frozen=True)
class HeadExplanation:
    """How a head comes to the score of one text and one video: parts that add up to it.

    `gate` float32 [E], with sum 1; a stream that takes no part has 0. `frame_weights` float32 [E, F], each row with sum
    1, and `frame_scores` float32 [E, F], in cosine units: of the frames that the head looked at. What a frame's score
    is, the head's `explain` says.
    """

    gate: np.ndarray
    frame_weights: np.ndarray
    frame_scores: np.ndarray

    @property
    def expert_scores(self) -> np.ndarray:
        """float32 [E]: the mean of the frames' scores by their weights."""
        scores: np.ndarray = (self.frame_weights * self.frame_scores).sum(axis=1)
        return scores

    @property
    def score(self) -> float:
        """What search ranks by: the mean of the experts' scores by their gate."""
        return float(self.gate @ self.expert_scores)


class Head(Protocol):
    """A torch module on a backbone's features. The methods below `loss` are torch's own."""

    log_scale: nn.Parameter

    @property
    def config(self) -> HeadConfig:
        """Its shape."""

    @property
    def logit_scale(self) -> torch.Tensor:
        """Scalar: what scores are multiplied by before a softmax, exp(log_scale), at most `scale_bound`."""

    def clamp_log_scale(self) -> None:
        """To be called after each optimizer step."""

    def video_vectors(self, frames: torch.Tensor, frame_mask: torch.Tensor) -> torch.Tensor:
        """Features [V, F, D] of any float type and norm, and bool [V, F] -> float32 [V, ...], alike for all videos."""

    def text_vectors(self, texts: torch.Tensor, stream_mask: torch.Tensor) -> torch.Tensor:
        """Features [Q, E, D] of streams, and bool [Q, E], those that the text has -> float32 [Q, ...]."""

    def scores(self, texts: torch.Tensor, videos: torch.Tensor) -> torch.Tensor:
        """What the two made -> float32 [Q, V] in cosine units; each by its own text and video alone."""

    def loss(
        self,
        texts: torch.Tensor,
        videos: torch.Tensor,
        *,
        dsl_temperature: float | None,
        positives: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Scalar, of a whole batch, without autocast; `positives` as for `losses.contrastive_loss`."""

    def explain(
        self, text: torch.Tensor, stream_mask: torch.Tensor, frames: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor] | None:
        """Of one text, features [E, D] and bool [E], and one video, features [F, D]: what a `HeadExplanation` holds.

        None: this head's score has no such parts.
        """

    def parameters(self) -> Iterator[nn.Parameter]:
        """What is trained."""

    def state_dict(self) -> dict[str, Any]:
        """The weights by name."""

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> Any:
        """Fill it in place."""

    def to(self, device: str) -> Head:
        """Move it to a device."""

    def eval(self) -> Head:
        """Make it ready for evaluation."""


@dataclass(frozen=True)
class HeadKind:
    """A row of `HEADS`. `build` makes the untrained module; it imports torch."""

    config: type[HeadConfig]
    build: Callable[[Any, float], Head]


def _camoe(config: CamoeConfig, logit_scale: float) -> Head:
    from vtrcli.model.camoe import Camoe

    return Camoe(config, logit_scale=logit_scale)


HEADS = {CamoeConfig.name: HeadKind(CamoeConfig, _camoe)}


def head_kind(name: str) -> HeadKind:
    """A head by its name. Raises UsageError."""
    if name not in HEADS:
        raise UsageError(f"head {name!r}", allowed=f"known: {', '.join(HEADS)}", to_do="choose one of them")
    return HEADS[name]


def build_head(config: HeadConfig, *, logit_scale: float) -> Head:
    """The untrained head of a config; `logit_scale` is the backbone's."""
    return head_kind(config.name).build(config, logit_scale)
