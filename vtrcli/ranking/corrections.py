"""The formulas: one score, a few numbers per query and item, the corrected score.

All methods are one form, evaluated element by element:

    corrected = factor x s - bias[item]            (+ log(logit) for dsl)

s is the score, logit = logit_scale x s, T the temperature, B the bank of reference queries (the test queries
themselves unless one is given), LSE the log of a sum of exponentials. An "item" is what is ranked: videos for t2v,
whose queries and bank are texts; texts for v2t, whose queries and bank are videos. Terms that are the same for all
items of a query cannot change its ranking and are left out.

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
under inverted-softmax. Our choice.
A given bank does not hold the query: `dsl` then adds the query's own term to the softmax of each item, so that an
empty bank would leave the score as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from vtrcli.ranking.running import Axis, spread
from vtrcli.ranking.tiles import Tile

TINY = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What does not depend on the direction. `log_scale` None: no log term."""

    factor: float = 1.0
    log_scale: float | None = None

    def of(self, xp: Any, tile: Tile) -> TileTerms:
        """Evaluate them once for a tile."""
        scores = tile.scores
        scaled = scores if self.factor == 1.0 else scores * self.factor
        if self.log_scale is None:
            return TileTerms(tile, scaled, None)
        logits = scores * self.log_scale
        return TileTerms(tile, scaled, xp.log(xp.clip(logits, TINY, None, out=logits), out=logits))


@dataclass(frozen=True)
class TileTerms:
    """`scaled` and `logs` are [texts, videos]; `scaled` may be the source's own block."""

    tile: Tile
    scaled: Any
    logs: Any


@dataclass(frozen=True, kw_only=True)
class Correction:
    """What belongs to one direction. `axis` is that of the queries: 0 for t2v, 1 for v2t.

    Attributes:
        bias: [num_items] in the scores' dtype; None: the plain scores stay as they are.
        gated: bool [num_queries]: queries that the bias applies to, or None for all.
        own_query: the bias lacks the query itself, which joins each item's softmax.
    """

    axis: Axis
    bias: Any = None
    gated: Any = None
    own_query: bool = False

    def apply(self, xp: Any, terms: TileTerms) -> Any:
        """Corrected scores of a tile, [texts, videos]; not to be written to."""
        tile = terms.tile
        if self.bias is None:
            return tile.scores
        queries, items = (tile.texts, tile.videos) if self.axis == 0 else (tile.videos, tile.texts)
        bias = spread(self.axis, self.bias[items])
        if self.gated is not None:
            bias = bias * spread(_other(self.axis), self.gated[queries])
        corrected = terms.scaled - bias
        if self.own_query:
            corrected = -xp.logaddexp(-corrected, xp.zeros_like(corrected))
        if terms.logs is not None:
            corrected += terms.logs
        return corrected


def _other(axis: Axis) -> Axis:
    return 1 if axis == 0 else 0
