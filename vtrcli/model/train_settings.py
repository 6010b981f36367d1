"""Every number of a training run, with its default, in one place; and the published recipes.

Sources: the CLIP4Clip family's scripts, whose protocol CAMoE's tables follow. CAMoE's own table of
hyper-parameters was never published. Heads on cached features may take a larger step than a whole CLIP.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

from vtrcli.errors import UsageError
from vtrcli.text.streams import STREAMS, Stream

Captions = Literal["one", "all"]
Aggregator = Literal["mean", "se", "attention"]
Gate = Literal["video", "text", "uniform"]
Precision = Literal["auto", "float32", "bfloat16"]

NUM_VALIDATIONS = 30  # of a run whose length is given in steps, where epochs are short


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """How to train. With `finetune` the backbone is trained too: from the first `freeze_layers` layers of both towers
    on, or `from_scratch`.

    head: which of `vtrcli.model.heads.HEADS`; `aggregator` and `gate` are CAMoE's.
    experts: the streams of a text that a head reads.
    steps, epochs: the length; `steps` is rounded up to whole epochs, and counts where `epochs` is None.
    captions: `one` caption per video and epoch, or `all` pairs in every epoch.
    max_tokens: of a text, start and end included; None: the data set's (`train` fills it in), or all that CLIP reads.
    patience: steps without a better validation score, those of the warm-up not counted, that end a run; None: no end.
    chunk_size: pairs of a process that are encoded at a time, with the gradients of the whole batch (gradient caching);
        None: all at once.
    """

    steps: int = 3000
    epochs: int | None = None
    batch_size: int = 128
    learning_rate: float = 5e-4
    backbone_learning_rate: float = 1e-7
    weight_decay: float = 0.2
    warmup_share: float = 0.1
    max_gradient_norm: float = 1.0
    num_frames: int = 12
    max_tokens: int | None = None
    captions: Captions = "one"
    dsl_temperature: float | None = None
    head: str = "camoe"
    experts: tuple[Stream, ...] = STREAMS
    aggregator: Aggregator = "attention"
    gate: Gate = "video"
    patience: int | None = 1500
    val_share: float = 0.05
    seed: int = 42
    precision: Precision = "auto"
    finetune: bool = False
    from_scratch: bool = False
    freeze_layers: int = 0
    gradient_checkpointing: bool = False
    chunk_size: int | None = None

    def __post_init__(self) -> None:
        rates = ("learning_rate", "backbone_learning_rate", "max_gradient_norm")
        for name in ("steps", "epochs", "batch_size", "num_frames", "patience", "chunk_size", *rates):
            value = getattr(self, name)
            _require(value is None or value > 0, name, value, "above 0")
        _require(self.batch_size >= 2, "batch_size", self.batch_size, "at least 2: a pair needs a negative")
        _require(0 <= self.warmup_share < 1, "warmup_share", self.warmup_share, "0 up to, not including, 1")
        _require(0 < self.val_share < 0.5, "val_share", self.val_share, "above 0 and below 0.5")
        _require(self.weight_decay >= 0, "weight_decay", self.weight_decay, "at least 0")
        known = set(self.experts) <= set(STREAMS) and len(set(self.experts)) == len(self.experts)
        _require(
            bool(self.experts) and known, "experts", ",".join(self.experts), f"some of {', '.join(STREAMS)}"
        )
        temperature = self.dsl_temperature
        _require(temperature is None or temperature > 0, "dsl_temperature", temperature, "above 0, or none")
        _require(
            self.max_tokens is None or self.max_tokens >= 3,
            "max_tokens",
            self.max_tokens,
            "at least 3, or none",
        )
        _require(self.freeze_layers >= 0, "freeze_layers", self.freeze_layers, "at least 0")
        for name in ("from_scratch", "freeze_layers", "gradient_checkpointing"):
            value = getattr(self, name)
            _require(self.finetune or not value, name, value, "used together with finetune")
        frozen_noise = self.from_scratch and self.freeze_layers > 0
        _require(not frozen_noise, "freeze_layers", self.freeze_layers, "0 when training from scratch")

    def num_epochs(self, num_batches: int) -> int:
        """The length of a run whose epochs have so many batches."""
        return self.epochs if self.epochs is not None else math.ceil(self.steps / num_batches)

    def is_validated(self, epoch: int, num_batches: int) -> bool:
        """Whether validation follows `epoch` (from 1): each one where the length is given in epochs; otherwise
        some thirty in all, since epochs may have few steps."""
        last = self.num_epochs(num_batches)
        every = 1 if self.epochs is not None else math.ceil(last / NUM_VALIDATIONS)
        return epoch == last or epoch % every == 0

    def lengthened(self, *, epochs: int | None = None, steps: int | None = None) -> TrainSettings:
        """The same with another length; without one, the same."""
        if epochs is None and steps is None:
            return self
        return replace(self, epochs=epochs, steps=steps or self.steps)

    def to_json(self) -> dict[str, Any]:
        """All values, as `config.json` of a run records them."""
        return asdict(self)

    @classmethod
    def from_json(cls, body: dict[str, Any]) -> TrainSettings:
        """Read what `to_json` wrote; values of later versions are ignored."""
        known = {field.name for field in fields(cls)}
        values = {name: value for name, value in body.items() if name in known}
        if "steps" not in values:  # a run before 0.1.0: its patience counted epochs
            values["patience"] = None
        return cls(**{**values, "experts": tuple(values.get("experts", STREAMS))})


def _require(is_fine: bool, name: str, value: object, allowed: str) -> None:
    if not is_fine:
        raise UsageError(f"{name} is {value}", allowed=f"it must be {allowed}", to_do=f"change {name}")


# What the scripts of CLIP4Clip (and X-CLIP, for DiDeMo and ActivityNet) use: batch, epochs, frames, rate, and
# `max_words`, which counts tokens with start and end. They fine-tune CLIP end to end and never stop early; on cached
# features the same values train the heads alone.
_PUBLISHED: dict[str, Any] = {"learning_rate": 1e-4, "captions": "all", "patience": None}
_SHORT = {**_PUBLISHED, "epochs": 5, "batch_size": 128, "num_frames": 12, "max_tokens": 32}
_LONG = {**_PUBLISHED, "epochs": 20, "num_frames": 64, "max_tokens": 64}
RECIPES: dict[str, dict[str, Any]] = {
    "msrvtt": _SHORT,
    "msvd": _SHORT,
    "lsmdc": _SHORT,
    "didemo": {**_LONG, "batch_size": 64},
    "activitynet": {**_LONG, "batch_size": 112},
    # Not published: found on the demo corpus (docs/experiments.md). Large batches hold both clips of an order pair.
    "demo": {
        "epochs": 60,
        "batch_size": 128,
        "learning_rate": 5e-3,
        "weight_decay": 0.05,
        "captions": "all",
        "dsl_temperature": 300.0,
        "patience": None,
    },
}


def recipe_settings(name: str | None, changes: dict[str, Any]) -> TrainSettings:
    """Defaults, then the recipe's values, then `changes`. From scratch, CLIP's rate is that of the heads by default.

    Raises:
        UsageError: an unknown recipe, or a value out of bounds.
    """
    values = {} if name is None else RECIPES.get(name)
    if values is None:
        raise UsageError(
            f"recipe {name!r}",
            allowed=f"known: {', '.join(RECIPES)}",
            to_do="choose one of them, or leave --recipe out",
        )
    values = {**values, **changes}
    if "steps" in changes and "epochs" not in changes:
        values["epochs"] = None
    if values.get("from_scratch"):  # a rate that polishes a trained CLIP would teach a new one nothing
        heads = values.get("learning_rate", TrainSettings.learning_rate)
        values.setdefault("backbone_learning_rate", heads)
    return replace(TrainSettings(), **values)
