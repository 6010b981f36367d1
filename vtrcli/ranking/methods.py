"""The corrections of `vtr eval --method`: one score, a few numbers per query and item, the corrected score.

A method is an entry of `METHODS` and a branch of `correction`, and nothing else anywhere.

All methods are one form, evaluated element by element:

    corrected = factor x s - bias[item]            (+ log(logit) for dsl)

s is the score, logit = logit_scale x s, T the temperature, B the bank of reference queries (the test queries
themselves unless one is given), LSE the log of a sum of exponentials. An "item" is what is ranked: videos for t2v,
whose queries and bank are texts; texts for v2t, whose queries and bank are videos (`scores.Transposed`). Terms that
are the same for all items of a query cannot change its ranking and are left out.

    method            factor           bias[item]
    none              1                -
    inverted-softmax  logit_scale / T  LSE over B (logit / T)                            Smith et al. 2017
    dsl               the same         the same; with the log term it is the logarithm of
                                       logit x softmax over B: the paper's product      CAMoE, inference
    mutual-softmax    2 logit_scale/T  the same. Two softmaxes multiplied, over queries
                                       and over items, as image matching does (LoFTR,
                                       Sun et al. 2021); the second one's normaliser is
                                       the query's own and cannot change its ranking. Not
                                       DualIS (Wang et al. 2023), whose second softmax
                                       runs over a bank of videos for each video
    sinkhorn          logit_scale / T  item potential after alternating normalisations, arXiv 2311.08143
    csls              2                mean of the k largest s over B                    Conneau et al. 2018
    nnn               1                alpha x mean of the k largest s over B            arXiv 2410.24114
    qb-norm           logit_scale / T  as inverted-softmax, but 0 for a query whose best item is among the
                                       k best of no bank query                           Bogolin et al. 2022

`dsl` is the product in log form, log(max(logit, tiny)) + logit / T - bias. Where logits are positive its ranking is
that of the product, and an item with a positive score stays above one without, as there. Among scores of 0 or below a
product would turn the order round (the more negative, the better the softmax shrinks it); here they rank as
under inverted-softmax. Our choice. For a model that was trained with a sigmoid, whose cosines lie about 0, it is the
weaker of the two for that (docs/experiments.md).
A given bank does not hold the query: `dsl` then adds the query's own term to the softmax of each item, so that an
empty bank would leave the score as it is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from vtrcli.errors import UsageError
from vtrcli.ranking.scores import ScoreSource, Tile, Transposed, tiles

MethodName = str  # a key of METHODS
# What told a logit scale: the caller, or the scores themselves, which look like cosines, like logits, or like neither
# and get the scale that makes them spread as CLIP's logits do.
ScaleOrigin = Literal["given", "cosines", "logits", "spread"]
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
# Cosines of rounded vectors pass 1 by a little.
COSINE_TOLERANCE = 1e-3
TINY = float(np.finfo(np.float32).tiny)
_SPREAD_TEXTS = 64
_SPREAD_ITEMS = 1 << 17


@dataclass(frozen=True, kw_only=True)
class Method:
    """One way to correct scores before ranking; its formula is a branch of `correction`.

    Attributes:
        uses_temperature: has a temperature, on logits (logit scale x score).
        uses_alpha: weighs by the setting of that name.
        default_k: how many nearest neighbours it looks at; None: it has no k.
        transductive: without a bank it looks at all test queries at once.
    """

    uses_temperature: bool = False
    uses_alpha: bool = False
    default_k: int | None = None
    transductive: bool = True


METHODS: dict[MethodName, Method] = {
    "none": Method(transductive=False),
    "dsl": Method(uses_temperature=True),
    "inverted-softmax": Method(uses_temperature=True),
    "sinkhorn": Method(uses_temperature=True),
    "csls": Method(default_k=CSLS_NEIGHBOURS),
    "qb-norm": Method(uses_temperature=True, default_k=1),
    "nnn": Method(uses_alpha=True, default_k=NNN_NEIGHBOURS),
    "mutual-softmax": Method(uses_temperature=True),
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
            names = ", ".join(METHODS)
            to_do = "choose one of them"
            if self.method == "dual-is":
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


@dataclass(frozen=True, kw_only=True)
class Correction:
    """The formula with its numbers; element by element, so that a score is corrected alike in every tile.

    Attributes:
        bias: [num_items] in the scores' dtype; None: the plain scores stay as they are.
        log_scale: the logit scale of dsl's log term; None: there is none.
        gated: bool [num_queries]: queries that the bias applies to, or None for all.
        own_query: the bias lacks the query itself, which joins each item's softmax.
    """

    factor: float = 1.0
    bias: np.ndarray | None = None
    log_scale: float | None = None
    gated: np.ndarray | None = None
    own_query: bool = False

    def apply(self, tile: Tile) -> np.ndarray:
        """Corrected scores [rows, columns] of a tile; not to be written to."""
        return self._apply(tile.scores, (tile.rows, None), (None, tile.columns))

    def of_pairs(self, scores: np.ndarray, queries: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Corrected scores [num_pairs] of single pairs, with the bits that `apply` gives them."""
        return self._apply(scores, queries, items)

    def _apply(self, scores: np.ndarray, queries: Any, items: Any) -> np.ndarray:
        if self.bias is None:
            return scores
        bias = self.bias[items] if self.gated is None else self.bias[items] * self.gated[queries]
        if self.factor == 1.0:
            corrected = scores - bias
        else:
            corrected = scores * self.factor
            corrected -= bias
        if self.own_query:
            corrected = -np.logaddexp(-corrected, np.zeros_like(corrected))
        if self.log_scale is not None:
            logits = scores * self.log_scale
            corrected += np.log(np.maximum(logits, TINY, out=logits), out=logits)
        return np.asarray(corrected)


def correction(
    source: ScoreSource,
    settings: Settings,
    *,
    logit_scale: float,
    edge: int,
    bank: ScoreSource | None = None,
) -> Correction:
    """Go over the bank, once or more, and keep one number per item.

    Args:
        source: the test scores [num_queries, num_items].
        edge: of the tiles.
        bank: scores [num_bank_queries, num_items] of other queries; None: the test queries are the bank.

    Raises:
        UsageError: k is larger than the bank.
    """
    method, scale = settings.method, logit_scale / settings.temperature
    reference = source if bank is None else bank
    if method == "none":
        return Correction()
    if method == "csls" or method == "nnn":
        mean = mean_of_largest(reference, settings.neighbours(reference.shape[0]), edge=edge)
        return (
            Correction(factor=2.0, bias=mean) if method == "csls" else Correction(bias=settings.alpha * mean)
        )
    if method == "sinkhorn":
        return Correction(factor=scale, bias=_potential(reference, scale, settings.num_rounds, edge=edge))
    bias = log_sum_exp(reference, scale, edge=edge)
    if method == "dsl":
        if bank is None and source.shape[0] == 1:
            return Correction()  # its softmax is 1 for every item, exactly and not only up to rounding
        return Correction(factor=scale, bias=bias, log_scale=logit_scale, own_query=bank is not None)
    if method == "qb-norm":
        return Correction(factor=scale, bias=bias, gated=_gate(source, bank, settings, edge=edge))
    return Correction(factor=2 * scale if method == "mutual-softmax" else scale, bias=bias)


def log_sum_exp(
    source: ScoreSource, scale: float, *, edge: int, minus: np.ndarray | None = None
) -> np.ndarray:
    """[num_items]: log of the sum over the queries of exp(scale x score - minus[query]); 0 where all is padding (-inf).

    The sums are float64 and relative to the largest term, so that a single term gives itself exactly and the grid
    does not show.
    """
    maximum, total = np.full(source.shape[1], -np.inf, source.dtype), np.zeros(source.shape[1])
    for tile in tiles(source, edge=edge):
        items = tile.columns
        logits = tile.scores * scale
        if minus is not None:
            logits -= minus[tile.rows, None]
        before = maximum[items]
        after = np.maximum(before, logits.max(0))
        top = _or_zero(after)  # nothing but padding so far: -inf - -inf would be NaN
        logits -= top
        terms = np.exp(logits, out=logits).sum(0, dtype=np.float64)
        total[items] = total[items] * np.exp((before - top).astype(np.float64)) + terms
        maximum[items] = after
    log_total = np.log(np.where(total > 0, total, 1.0))
    return np.asarray(_or_zero(maximum) + log_total.astype(source.dtype))


def _potential(source: ScoreSource, scale: float, num_rounds: int, *, edge: int) -> np.ndarray:
    """[num_items]: Sinkhorn's potential. A round normalises over the queries and then over the items; the last one ends
    with the queries, so that one round is the inverted softmax. Uniform marginals."""
    of_items = log_sum_exp(source, scale, edge=edge)
    for _ in range(num_rounds - 1):
        of_queries = log_sum_exp(Transposed(source), scale, edge=edge, minus=of_items)
        of_items = log_sum_exp(source, scale, edge=edge, minus=of_queries)
    return of_items


def largest_scores(source: ScoreSource, k: int, *, edge: int) -> np.ndarray:
    """[min(k, num_queries), num_items]: the k largest scores of each item, ascending."""
    k = min(k, source.shape[0])
    top = np.full((k, source.shape[1]), -np.inf, source.dtype)
    for tile in tiles(source, edge=edge):
        of_tile = _k_largest(tile.scores, min(k, tile.scores.shape[0]))
        top[:, tile.columns] = _k_largest(np.concatenate([top[:, tile.columns], of_tile]), k)
    return np.sort(top, axis=0)  # sorted, so that a sum does not depend on the order of arrival


def _k_largest(values: np.ndarray, k: int) -> np.ndarray:
    if k == 1:
        return np.asarray(values.max(axis=0, keepdims=True))
    return np.partition(values, len(values) - k, axis=0)[-k:]


def mean_of_largest(source: ScoreSource, k: int, *, edge: int) -> np.ndarray:
    """[num_items]: the mean of the k largest scores of each item that are no padding; 0 for none."""
    largest = largest_scores(source, k, edge=edge)
    scored = largest > -np.inf
    if scored.all():
        return np.asarray(largest.mean(0))
    return np.asarray(_or_zero(largest).sum(0) / np.maximum(scored.sum(0), 1).astype(largest.dtype))


def _gate(
    source: ScoreSource, bank: ScoreSource | None, settings: Settings, *, edge: int
) -> np.ndarray | None:
    """bool [num_queries]: is the best item of the query among the k best of any bank query?

    None for all: with the test queries as bank each query's best item is its own.
    """
    k = settings.neighbours(source.shape[1])
    if bank is None:
        return None
    thresholds = largest_scores(Transposed(bank), k, edge=edge)[0]
    is_hub = np.zeros(source.shape[1], np.bool_)
    for tile in tiles(bank, edge=edge):
        is_hub[tile.columns] |= (tile.scores >= thresholds[tile.rows, None]).any(0)
    best, best_hub = (np.full(source.shape[0], -np.inf, source.dtype) for _ in range(2))
    for tile in tiles(source, edge=edge):
        hubs = np.where(is_hub[tile.columns], tile.scores, -np.inf)
        best[tile.rows] = np.maximum(best[tile.rows], tile.scores.max(1))
        best_hub[tile.rows] = np.maximum(best_hub[tile.rows], hubs.max(1))
    return np.asarray(best == best_hub)


def _or_zero(values: np.ndarray) -> np.ndarray:
    """`values` with 0 in the place of -inf."""
    return np.where(values > -np.inf, values, np.zeros_like(values))


class FoundScale(NamedTuple):
    """The logit scale in use, the largest score, and what told the scale."""

    logit_scale: float
    bound: float
    told_by: ScaleOrigin


def resolve_logit_scale(source: ScoreSource, settings: Settings, logit_scale: float | None) -> FoundScale:
    """The given logit scale or the detected one, and the source's bound.

    Detected: scores within -1 and 1 are cosines and get 100. Others are logits already, unless the deviation of a
    text's scores is outside LOGIT_SPREADS: then they are in no known unit, and get the scale that makes it that of
    100 x CLIP's cosines. Temperatures are for that unit.

    Raises:
        InputError: the scores are not finite.
        UsageError: a scale of 0 or below, or a temperature so small that the logits overflow.
    """
    bound = source.bound()
    told_by: ScaleOrigin = "given"
    if logit_scale is None:
        logit_scale, told_by = _detected_scale(source, bound)
    if not (math.isfinite(logit_scale) and logit_scale > 0):
        raise UsageError(
            f"a logit scale of {logit_scale:g}",
            allowed="it multiplies the scores and is a number above 0",
            to_do="use 100 for CLIP's cosines, 1 for scores that are logits already",
        )
    if 4 * bound * logit_scale / settings.temperature > float(np.finfo(source.dtype).max):
        raise UsageError(
            f"a temperature of {settings.temperature:g} with scores up to {bound:g}",
            allowed=f"score x logit scale / temperature must fit in {source.dtype}",
            to_do="use a temperature around 1",
        )
    return FoundScale(logit_scale, bound, told_by)


def score_spread(source: ScoreSource) -> float:
    """The standard deviation of a text's finite scores, the median over some of the texts; 0 for equal scores."""
    texts = np.unique(np.linspace(0, source.shape[0] - 1, _SPREAD_TEXTS).astype(np.int64))
    at_once = max(1, _SPREAD_ITEMS // source.shape[1])
    deviations = []
    for start in range(0, len(texts), at_once):
        for row in source.block(texts[start : start + at_once], slice(0, source.shape[1])):
            finite = row[np.isfinite(row)].astype(np.float64)
            deviations.append(finite.std() if finite.size else 0.0)
    return float(np.median(deviations))


def _detected_scale(source: ScoreSource, bound: float) -> tuple[float, ScaleOrigin]:
    if bound <= 1 + COSINE_TOLERANCE:
        return COSINE_LOGIT_SCALE, "cosines"
    spread = score_spread(source)
    if spread == 0 or LOGIT_SPREADS[0] <= spread <= LOGIT_SPREADS[1]:
        return 1.0, "logits"
    return CLIP_LOGIT_SPREAD / spread, "spread"
