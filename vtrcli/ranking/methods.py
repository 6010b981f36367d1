"""The corrections of `vtr eval --method`: names, what each needs, defaults. Their formulas are in `corrections`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from vtrcli.errors import UsageError

MethodName = Literal[
    "none", "dsl", "inverted-softmax", "sinkhorn", "csls", "qb-norm", "nnn", "mutual-softmax"
]
DEFAULT_TEMPERATURE = 1.0
# Of nnn, in `vtr eval` and `vtr search` alike: docs/experiments.md has it as the value that never did harm with a bank
# of other captions. The paper's 0.75 gains more where the bank is the test queries themselves.
DEFAULT_ALPHA = 0.25
CSLS_NEIGHBOURS, NNN_NEIGHBOURS = 10, 8
DEFAULT_NUM_ROUNDS = 10
COSINE_LOGIT_SCALE = 100.0
# Standard deviation of the scores of one text, in logits: that of 100 x cosine of ViT-B/32 on MSR-VTT 1k-A; and between
# what it lies for models at work.
CLIP_LOGIT_SPREAD = 2.57
LOGIT_SPREADS = (1.0, 25.0)


@dataclass(frozen=True, kw_only=True)
class Method:
    """One way to correct scores before ranking.

    Attributes:
        uses_temperature: has a temperature, on logits (logit scale x score).
        default_k: how many nearest neighbours it looks at; None: it has no k.
        num_passes: products of the whole source for both directions, the counting included, transductive;
            with `num_rounds` of Sinkhorn 4 x num_rounds + 1.
    """

    description: str
    uses_temperature: bool = False
    default_k: int | None = None
    num_passes: int | None = 2

    @property
    def transductive(self) -> bool:
        """Without a bank it looks at all test queries at once."""
        return self.num_passes != 1


METHODS: dict[MethodName, Method] = {
    "none": Method(description="plain scores", num_passes=1),
    "dsl": Method(description="dual softmax: score x softmax over the queries", uses_temperature=True),
    "inverted-softmax": Method(description="softmax over the queries alone", uses_temperature=True),
    "sinkhorn": Method(
        description="rows and columns normalised in turn until both are even",
        uses_temperature=True,
        num_passes=None,
    ),
    "csls": Method(description="2 x score - mean of the item's k nearest queries", default_k=CSLS_NEIGHBOURS),
    "qb-norm": Method(
        description="inverted softmax, only for queries whose first hit is a hub of the bank",
        uses_temperature=True,
        default_k=1,
    ),
    "nnn": Method(
        description="score - alpha x mean of the item's k nearest queries", default_k=NNN_NEIGHBOURS
    ),
    "mutual-softmax": Method(
        description="softmax over the queries x softmax over the items", uses_temperature=True
    ),
}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """A method with all its numbers, checked.

    Raises:
        UsageError: an unknown method, or a number out of bounds.
    """

    method: MethodName = "none"
    temperature: float = DEFAULT_TEMPERATURE
    k: int | None = None
    alpha: float = DEFAULT_ALPHA
    num_rounds: int = DEFAULT_NUM_ROUNDS

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            names = ", ".join(get_args(MethodName))
            to_do = "choose one of them"
            if str(self.method) == "dual-is":
                to_do += (
                    "; what vtr called dual-is is mutual-softmax; Wang et al.'s DualIS needs the similarities among"
                    " the videos, which a matrix of texts and videos does not hold"
                )
            raise UsageError(f"method {self.method!r}", allowed=f"known are {names}", to_do=to_do)
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise UsageError(
                f"a temperature of {self.temperature:g}",
                allowed="a temperature is a number above 0; it divides the logits, and 1 suits 100 x cosine",
                to_do="use 1, or try several with --sweep",
            )
        if not math.isfinite(self.alpha):
            raise UsageError(f"alpha {self.alpha}", allowed="alpha is a finite number", to_do="use 0.25 to 1")
        if self.num_rounds < 1:
            raise UsageError(
                f"{self.num_rounds} Sinkhorn rounds", allowed="at least 1 is needed", to_do="use 10 rounds"
            )

    def neighbours(self, bank_size: int) -> int:
        """k for a bank of this size: the chosen one, or the method's default as far as the bank goes.

        Raises:
            UsageError: the chosen k is below 1 or larger than the bank.
        """
        if self.k is None:
            return min(METHODS[self.method].default_k or 1, bank_size)
        if not 1 <= self.k <= bank_size:
            raise UsageError(
                f"k = {self.k}",
                allowed=f"there are {bank_size} neighbours to look at",
                to_do=f"use 1 to {bank_size}",
            )
        return self.k
