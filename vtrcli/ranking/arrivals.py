"""What a correction gives when the test queries come in batches instead of all at once.

A correction that uses the test queries as its bank sees only the queries of one batch; the gallery stays whole. With
batches of one most of them fall back to plain scores or to chance, in between dual softmax is worse than nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from vtrcli.errors import UsageError
from vtrcli.ranking.evaluate import check_shape, require_scored_truth, resolve_over
from vtrcli.ranking.methods import (
    DEFAULT_ALPHA,
    DEFAULT_NUM_ROUNDS,
    DEFAULT_TEMPERATURE,
    MethodName,
    Settings,
    correction,
    resolve_logit_scale,
)
from vtrcli.ranking.metrics import Direction, Over, Ties, metrics_from_ranks
from vtrcli.ranking.ranks import count_ranks
from vtrcli.ranking.scores import (
    DEFAULT_MEMORY_BYTES,
    ScoreSource,
    TakenTexts,
    Transposed,
    as_source,
    held,
    tile_edge,
)
from vtrcli.ranking.truth import Truth

DEFAULT_NUM_SHUFFLES = 5


@dataclass(frozen=True, kw_only=True)
class Arrival:
    """Means over the shuffles. `recall`: k -> percent. The last batch of a shuffle may be smaller."""

    batch_size: int
    num_shuffles: int
    recall: dict[int, float]
    median_rank: float
    mean_rank: float


def arrivals(
    source: ScoreSource | np.ndarray,
    truth: Truth,
    batch_sizes: Sequence[int],
    *,
    method: MethodName = "dsl",
    direction: Direction = "t2v",
    temperature: float = DEFAULT_TEMPERATURE,
    logit_scale: float | None = None,
    k: int | None = None,
    alpha: float = DEFAULT_ALPHA,
    num_rounds: int = DEFAULT_NUM_ROUNDS,
    v2t_over: Over | None = None,
    ties: Ties = "average",
    num_shuffles: int = DEFAULT_NUM_SHUFFLES,
    seed: int = 0,
    memory_bytes: int = DEFAULT_MEMORY_BYTES,
) -> tuple[Arrival, ...]:
    """One `Arrival` per batch size; a size above the number of queries means all at once.

    Videos without text are no queries here, so for v2t they are not in the batches either.

    Raises:
        InputError: as `evaluate.evaluate`.
        UsageError: a batch size below 1, or as `evaluate.evaluate`.
    """
    settings = Settings(method=method, temperature=temperature, k=k, alpha=alpha, num_rounds=num_rounds)
    source = as_source(source)
    check_shape(source, (truth.num_texts, truth.num_videos), "the scores")
    scale, _ = resolve_logit_scale(source, settings, logit_scale)
    require_scored_truth(source, truth)
    groups = None
    if direction == "v2t":
        if resolve_over(truth, v2t_over) == "videos":
            order = truth.texts_by_video()
            source, truth = TakenTexts(source, order), truth.take_texts(order)
            groups = truth.video_index
        source, truth = TakenTexts(Transposed(source), truth.videos_with_text), truth.transposed()
    edge = tile_edge(source, memory_bytes=memory_bytes)
    source = held(source, edge=edge, memory_bytes=memory_bytes)
    results = []
    for batch_size in batch_sizes:
        if batch_size < 1:
            raise UsageError(
                f"a batch of {batch_size} queries",
                allowed="queries come at least one at a time",
                to_do="use 1 or more",
            )
        # With one query per batch, or all in one, the order does not matter.
        shuffles = 1 if batch_size == 1 or batch_size >= truth.num_texts else num_shuffles
        generator = np.random.default_rng(seed)
        orders = [generator.permutation(truth.num_texts) for _ in range(shuffles)]
        ranks, tied = _ranks(source, truth, settings, orders, batch_size, scale, edge, ties, groups)
        metrics = metrics_from_ranks(ranks, direction=direction, num_tied=tied, ties=ties, num_bootstrap=0)
        results.append(
            Arrival(
                batch_size=batch_size,
                num_shuffles=shuffles,
                recall=metrics.recall,
                median_rank=metrics.median_rank,
                mean_rank=metrics.mean_rank,
            )
        )
    return tuple(results)


def _ranks(
    source: ScoreSource,
    truth: Truth,
    settings: Settings,
    orders: Sequence[np.ndarray],
    batch_size: int,
    logit_scale: float,
    edge: int,
    ties: Ties,
    groups: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Ranks and ties of all batches of all orders, one after the other."""
    ranks, tied = [], []
    for order in orders:
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            scores, pairs = TakenTexts(source, batch), truth.take_texts(batch)
            k = None if settings.k is None else min(settings.k, len(batch))
            found = correction(scores, replace(settings, k=k), logit_scale=logit_scale, edge=edge)
            counts = count_ranks(scores, pairs.text_index, pairs.video_index, found, edge=edge, groups=groups)
            ranks.append(counts.ranks(ties))
            tied.append(counts.num_tied)
    return np.concatenate(ranks), np.concatenate(tied)
