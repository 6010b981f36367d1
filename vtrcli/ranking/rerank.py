"""Collects what a method needs to know of the bank (`running`) and hands out its corrections (`corrections`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vtrcli.ranking.corrections import Correction, Terms
from vtrcli.ranking.methods import Settings
from vtrcli.ranking.metrics import Direction
from vtrcli.ranking.running import AnyAtLeast, Axis, Largest, LogSumExp, TopMean, collect
from vtrcli.ranking.tiles import Tiles

QUERY_AXIS: dict[Direction, Axis] = {"t2v": 0, "v2t": 1}


@dataclass(frozen=True)
class Plan:
    """How to correct every score, for the directions that are in `corrections`."""

    terms: Terms
    corrections: Mapping[Direction, Correction]


def plan_corrections(
    tiles: Tiles, settings: Settings, *, logit_scale: float, banks: Mapping[Direction, Tiles]
) -> Plan:
    """Go over the banks, once or more, and keep one number per item.

    Args:
        tiles: the test scores.
        banks: per wanted direction the scores of its bank: [num_bank_texts, num_videos] for t2v,
            [num_texts, num_bank_videos] for v2t; `tiles` itself means that the test queries are the bank.

    Raises:
        UsageError: k is larger than the bank.
    """
    method, scale = settings.method, logit_scale / settings.temperature
    if method == "none":
        return Plan(Terms(), {d: Correction(axis=QUERY_AXIS[d]) for d in banks})
    if method in ("csls", "nnn"):
        factor, share = (2.0, 1.0) if method == "csls" else (1.0, settings.alpha)
        means = _neighbour_means(banks, settings)
        return Plan(Terms(factor=factor), {d: _correction(d, bias * share) for d, bias in means.items()})
    if method == "sinkhorn":
        potentials = {d: _potential(bank, d, scale, settings.num_rounds) for d, bank in banks.items()}
        return Plan(Terms(factor=scale), {d: _correction(d, bias) for d, bias in potentials.items()})
    sums = {d: LogSumExp(bank, QUERY_AXIS[d], scale=scale) for d, bank in banks.items()}
    _collect(sums, banks)
    biases = {d: total.result() for d, total in sums.items()}
    if method == "dsl":
        corrections = {d: _dsl(d, biases[d], tiles, banks[d]) for d in banks}
        return Plan(Terms(factor=scale, log_scale=logit_scale), corrections)
    gates = {d: _gate(tiles, banks[d], d, settings) for d in banks} if method == "qb-norm" else {}
    factor = 2 * scale if method == "mutual-softmax" else scale
    return Plan(Terms(factor=factor), {d: _correction(d, biases[d], gated=gates.get(d)) for d in banks})


def _dsl(direction: Direction, bias: Any, tiles: Tiles, bank: Tiles) -> Correction:
    if bank is not tiles:
        return _correction(direction, bias, own_query=True)
    # One query alone: its softmax is 1 for every item, exactly and not only up to rounding.
    alone = bank.shape[QUERY_AXIS[direction]] == 1
    return _correction(direction, None if alone else bias)


def _correction(direction: Direction, bias: Any, **more: Any) -> Correction:
    return Correction(axis=QUERY_AXIS[direction], bias=bias, **more)


def _collect(statistics: Mapping[Direction, Any], banks: Mapping[Direction, Tiles]) -> None:
    """One pass per distinct bank."""
    for tiles in {id(bank): bank for bank in banks.values()}.values():
        collect(tiles, *(statistics[d] for d in banks if banks[d] is tiles))


def _neighbour_means(banks: Mapping[Direction, Tiles], settings: Settings) -> dict[Direction, Any]:
    means = {}
    for direction, bank in banks.items():
        axis = QUERY_AXIS[direction]
        means[direction] = TopMean(bank, axis, k=settings.neighbours(bank.shape[axis]))
    _collect(means, banks)
    return {d: mean.result() for d, mean in means.items()}


def _potential(bank: Tiles, direction: Direction, scale: float, num_rounds: int) -> Any:
    """The items' potential. A round normalises over the queries and then over the items; the last one ends
    with the queries, so that one round is the inverted softmax. Uniform marginals."""
    over_queries: Axis = QUERY_AXIS[direction]
    over_items: Axis = 1 if over_queries == 0 else 0
    of_queries = None
    for left in reversed(range(num_rounds)):
        items = LogSumExp(bank, over_queries, scale=scale, minus=of_queries)
        collect(bank, items)
        if left:
            queries = LogSumExp(bank, over_items, scale=scale, minus=items.result())
            collect(bank, queries)
            of_queries = queries.result()
    return items.result()


def _gate(tiles: Tiles, bank: Tiles, direction: Direction, settings: Settings) -> Any:
    """bool [num_queries]: is the best item of the query among the k best of any bank query?

    None for all: with the test queries as bank each query's best item is its own.
    """
    over_queries: Axis = QUERY_AXIS[direction]
    over_items: Axis = 1 if over_queries == 0 else 0
    k = settings.neighbours(bank.shape[over_items])
    if bank is tiles:
        return None
    nearest = TopMean(bank, over_items, k=k)
    collect(bank, nearest)
    hubs = AnyAtLeast(bank, over_queries, thresholds=nearest.smallest())
    collect(bank, hubs)
    best = Largest(tiles, over_items)
    best_hub = Largest(tiles, over_items, only=hubs.result())
    collect(tiles, best, best_hub)
    return best.result() == best_hub.result()
