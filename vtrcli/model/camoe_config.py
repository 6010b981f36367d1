"""What decides the shape of CAMoE, as a run keeps it and search must know it: without torch. The model is camoe.py."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, get_args

from vtrcli.errors import UsageError
from vtrcli.model.train_settings import Aggregator, Gate, TrainSettings
from vtrcli.text.streams import STREAMS, Stream

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, kw_only=True)
class CamoeConfig:
    """Everything that decides the shapes of a `Camoe`; `dim` is the backbone's feature dimension.

    `width` counts for "se" and "attention", the fields below it for "attention" alone.
    Raises UsageError for values that cannot be.
    """

    name: ClassVar[str] = "camoe"
    is_inner_product: ClassVar[bool] = True
    max_logit_scale: ClassVar[float] = 100.0  # CLIP's

    dim: int
    experts: tuple[Stream, ...] = STREAMS
    aggregator: Aggregator = "attention"
    gate: Gate = "video"
    width: int = 128
    num_layers: int = 1
    num_heads: int = 4
    num_positions: int = 16
    dropout: float = 0.0

    def __post_init__(self) -> None:
        known = set(self.experts) <= set(STREAMS) and len(set(self.experts)) == len(self.experts)
        require("experts", self.experts, known and bool(self.experts), f"some of {', '.join(STREAMS)}")
        for name, modes in (("aggregator", Aggregator), ("gate", Gate)):
            value = getattr(self, name)
            require(name, value, value in get_args(modes), ", ".join(get_args(modes)))
        least_values = {"dim": 1, "width": 1, "num_layers": 1, "num_heads": 1, "num_positions": 2}
        for name, least in least_values.items():
            value = getattr(self, name)
            require(name, value, type(value) is int and value >= least, f"a whole number from {least}")
        require(
            "width", self.width, self.width % self.num_heads == 0, f"a multiple of {self.num_heads} heads"
        )
        is_number = isinstance(self.dropout, (int, float))
        require("dropout", self.dropout, is_number and 0 <= self.dropout < 1, "from 0 to below 1")

    @classmethod
    def of_settings(cls, settings: TrainSettings, *, dim: int) -> CamoeConfig:
        """The one that these settings train."""
        return cls(dim=dim, experts=settings.experts, aggregator=settings.aggregator, gate=settings.gate)

    @property
    def text_shape(self) -> tuple[int, ...]:
        """One vector per text, as long as one per video."""
        return (len(self.experts) * self.dim,)

    @property
    def max_length(self) -> float:
        """No video's vector is longer: the gate weighs as many unit vectors as there are experts."""
        return math.sqrt(len(self.experts))

    def scale_bound(self, backbone_scale: float) -> float:
        """The logit scale starts at the backbone's and never passes CLIP's bound, or that start where it is higher, as
        a sigmoid model's is. Rounded: CLIP's own is 100 but for the last digits."""
        return max(self.max_logit_scale, round(backbone_scale, 3))

    def text_vectors(
        self, weight: Callable[[str, tuple[int, ...]], np.ndarray], texts: np.ndarray, stream_mask: np.ndarray
    ) -> np.ndarray:
        """As `Camoe.text_vectors`, in NumPy: [Q, E, D] and bool [Q, E] -> float32 [Q, E * D]."""
        import numpy as np

        texts = texts.astype(np.float32)
        units = texts / np.linalg.norm(texts, axis=-1, keepdims=True).clip(min=1e-12)
        if self.gate != "video":
            present = stream_mask | ~stream_mask.any(axis=1, keepdims=True)
            scores = np.zeros(present.shape, np.float32)
            if self.gate == "text" and len(self.experts) > 1:
                mean = (units * present[..., None]).sum(axis=1) / present.sum(axis=1, keepdims=True)
                matrix = weight("gate.weight", (len(self.experts), self.dim))
                scores = mean.astype(np.float32) @ matrix.T + weight("gate.bias", (len(self.experts),))
            scores = np.where(present, scores, np.float32(-np.inf))
            gate = np.exp(scores - scores.max(axis=1, keepdims=True))
            units = units * (gate / gate.sum(axis=1, keepdims=True))[..., None]
        vectors: np.ndarray = units.reshape(len(texts), -1)
        return vectors

    def to_json(self) -> dict[str, Any]:
        """The JSON object that a run keeps."""
        return {**asdict(self), "experts": list(self.experts)}

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> CamoeConfig:
        """The config that `to_json` wrote. Raises UsageError for unknown or missing keys and wrong values."""
        names = [field.name for field in fields(cls)]
        needed = [field.name for field in fields(cls) if field.default is MISSING]
        wrong = [*(key for key in body if key not in names), *(key for key in needed if key not in body)]
        require("keys", ", ".join(wrong), not wrong, f"{', '.join(names)}; {', '.join(needed)} must be there")
        experts = body.get("experts", STREAMS)
        require("experts", experts, isinstance(experts, (list, tuple)), "a list")
        return cls(**{**body, "experts": tuple(experts)})


def require(name: str, value: object, fine: bool, allowed: str) -> None:
    """Raises UsageError unless it is fine."""
    if not fine:
        raise UsageError(
            f"CAMoE {name} = {value!r}", allowed=f"{name}: {allowed}", to_do="correct it or leave it out"
        )
