"""Scores and truth in, trusted numbers out: the one function behind `vtr eval`, with any method and any size.

Reading files is `files`' work, drawing tables the command's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from vtrcli.errors import InputError, UsageError
from vtrcli.ranking.gains import mean_values
from vtrcli.ranking.listed import ListedScores
from vtrcli.ranking.methods import (
    CLIP_LOGIT_SPREAD,
    COSINE_LOGIT_SCALE,
    DEFAULT_ALPHA,
    DEFAULT_NUM_ROUNDS,
    DEFAULT_TEMPERATURE,
    LOGIT_SPREADS,
    METHODS,
    Correction,
    FoundScale,
    MethodName,
    ScaleOrigin,
    Settings,
    correction,
    resolve_logit_scale,
    score_spread,
)
from vtrcli.ranking.metrics import (
    DEFAULT_NUM_BOOTSTRAP,
    Direction,
    DirectionMetrics,
    Over,
    Ties,
    metrics_from_ranks,
)
from vtrcli.ranking.ranks import RankCounts, count_listed_ranks, count_ranks
from vtrcli.ranking.scores import (
    DEFAULT_MEMORY_BYTES,
    DenseScores,
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
class Evaluation:
    """One method in both directions.

    Attributes:
        temperature: None where the method has none.
        alpha: None where the method has none.
        logit_scale: what scores were multiplied by before the temperature.
        scale_told_by: what told it; detected unless given.
        transductive: the correction looked at all test queries at once.
        v2t: None if a bank of texts was given but none of videos, and of a run that does not list all pairs.
        warnings: sentences for the user.
    """

    method: MethodName
    temperature: float | None
    alpha: float | None
    logit_scale: float
    scale_told_by: ScaleOrigin
    transductive: bool
    ties: Ties
    num_texts: int
    num_videos: int
    t2v: DirectionMetrics
    v2t: DirectionMetrics | None
    warnings: tuple[str, ...]

    @property
    def uses_bank(self) -> bool:
        """Whether other queries than the test queries were the reference."""
        return METHODS[self.method].transductive and not self.transductive

    def of(self, direction: Direction) -> DirectionMetrics | None:
        """One direction's metrics."""
        return self.t2v if direction == "t2v" else self.v2t

    def to_json(self) -> list[dict[str, Any]]:
        """The rows of `results` in `vtr eval --json`, one per direction."""
        how = {"method": self.method, "temperature": self.temperature, "transductive": self.transductive}
        if self.alpha is not None:
            how["alpha"] = self.alpha
        rows = (row.to_json() for row in (self.t2v, self.v2t) if row)
        return [{"direction": row.pop("direction"), **how, **row} for row in rows]


def evaluate(
    source: ScoreSource | np.ndarray,
    truth: Truth,
    *,
    method: MethodName = "none",
    temperature: float = DEFAULT_TEMPERATURE,
    logit_scale: float | None = None,
    k: int | None = None,
    alpha: float = DEFAULT_ALPHA,
    num_rounds: int = DEFAULT_NUM_ROUNDS,
    bank: ScoreSource | np.ndarray | None = None,
    video_bank: ScoreSource | np.ndarray | None = None,
    v2t_over: Over | None = None,
    ties: Ties = "average",
    memory_bytes: int = DEFAULT_MEMORY_BYTES,
    metrics: Sequence[str] = (),
    num_bootstrap: int = DEFAULT_NUM_BOOTSTRAP,
    seed: int = 0,
) -> Evaluation:
    """Rank every text's videos and every video's texts.

    Args:
        source: scores [num_texts, num_videos].
        temperature: divides the logits, which are logit_scale x score.
        logit_scale: None: 100 if all scores lie within -1 and 1 (cosines); else 1 if a text's scores spread as logits
            do, and what makes them do so if not (`resolve_logit_scale`).
        k, alpha, num_rounds: of the methods that have them; k None is the method's default.
        bank: scores [num_bank_texts, num_videos] of other texts with the test videos, for t2v; None: the test
            queries are their own bank (transductive).
        video_bank: scores [num_texts, num_bank_videos] of the test texts with other videos, for v2t.
        v2t_over: what v2t ranks: `videos`, each by its best caption (CLIP4Clip, X-CLIP, X-Pool, TS2-Net), or
            `captions`; None: videos where a video has several. Captions are corrected, then the best is taken.
        metrics: others, by the names of `gains.Metric`; for v2t over captions.
        memory_bytes: for the blocks in work, beside the inputs and a few numbers per text and video.

    Raises:
        InputError: scores that are NaN or infinite (-inf is padding: allowed but for right answers, ranked last), or
            shapes that do not fit.
        UsageError: a number out of bounds.
    """
    settings = Settings(method=method, temperature=temperature, k=k, alpha=alpha, num_rounds=num_rounds)
    source = as_source(source)
    check_shape(source, (truth.num_texts, truth.num_videos), "the scores")
    if isinstance(source, ListedScores) and method != "none":
        raise source.lacks_pairs(method)
    found = resolve_logit_scale(source, settings, logit_scale)
    scale = found.logit_scale
    require_scored_truth(source, truth)
    banks = {} if method == "none" else _banks(source, settings, texts=bank, videos=video_bank)
    directions: tuple[Direction, ...] = tuple(banks) or ("t2v", "v2t")
    over: dict[Direction, Over] = {"t2v": "videos", "v2t": resolve_over(truth, v2t_over)}
    counts, more = _count(
        source,
        truth,
        settings,
        logit_scale=scale,
        memory_bytes=memory_bytes,
        banks={direction: banks.get(direction) for direction in directions},
        over_videos=over["v2t"] == "videos",
        metrics=metrics,
        ties=ties,
    )
    clusters = dict(zip(("t2v", "v2t"), truth.clusters(), strict=True))
    rows = {
        direction: metrics_from_ranks(
            counted.ranks(ties),
            direction=direction,
            over=over[direction],
            num_tied=counted.num_tied,
            is_listed=counted.is_listed,
            clusters=clusters[direction],
            more=more.get(direction),
            ties=ties,
            num_bootstrap=num_bootstrap,
            seed=seed,
        )
        for direction, counted in counts.items()
    }
    return Evaluation(
        method=method,
        temperature=temperature if METHODS[method].uses_temperature else None,
        alpha=alpha if METHODS[method].uses_alpha else None,
        logit_scale=scale,
        scale_told_by=found.told_by,
        transductive=METHODS[method].transductive and not banks,
        ties=ties,
        num_texts=truth.num_texts,
        num_videos=truth.num_videos,
        t2v=rows["t2v"],
        v2t=rows.get("v2t"),
        warnings=(
            *(() if isinstance(source, ListedScores) else _left_out(truth)),
            *_about_banks(truth, settings, banks),
            *_about_scale(source, settings, found),
        ),
    )


def sweep(
    source: ScoreSource | np.ndarray, truth: Truth, temperatures: Sequence[float], **options: Any
) -> tuple[Evaluation, ...]:
    """`evaluate` at each temperature, with the same other options."""
    return tuple(evaluate(source, truth, temperature=value, **options) for value in temperatures)


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
    """What a correction gives when the queries come in batches instead of all at once: one `Arrival` per batch size; a
    size above the number of queries means all at once.

    A correction that uses the test queries as its bank sees only the queries of one batch; the gallery stays whole.
    With batches of one most of them fall back to plain scores or to chance, in between dual softmax is worse than
    nothing.
    Videos without text are no queries here, so for v2t they are not in the batches either.

    Raises:
        InputError: as `evaluate`.
        UsageError: a batch size below 1, or as `evaluate`.
    """
    settings = Settings(method=method, temperature=temperature, k=k, alpha=alpha, num_rounds=num_rounds)
    source = as_source(source)
    check_shape(source, (truth.num_texts, truth.num_videos), "the scores")
    scale = resolve_logit_scale(source, settings, logit_scale).logit_scale
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
        ranks, tied = _batch_ranks(source, truth, settings, orders, batch_size, scale, edge, ties, groups)
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


def _batch_ranks(
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


def _count(
    source: ScoreSource,
    truth: Truth,
    settings: Settings,
    *,
    logit_scale: float,
    memory_bytes: int,
    banks: Mapping[Direction, ScoreSource | None],
    over_videos: bool,
    metrics: Sequence[str],
    ties: Ties,
) -> tuple[dict[Direction, RankCounts], dict[Direction, dict[str, float]]]:
    """Rank counts for the directions of `banks`; queries in the order of the truth's texts and `videos_with_text`. And
    the other metrics, where any were asked for."""
    if isinstance(source, ListedScores):
        listed = count_listed_ranks(source, truth.text_index, truth.video_index)
        right = (truth.text_index, truth.video_index, truth.grades)
        values = mean_values(source, right, Correction(), metrics, ties=ties, edge=1) if metrics else {}
        return {"t2v": listed}, {"t2v": values}
    edge = tile_edge(source, memory_bytes=memory_bytes)
    order = truth.texts_by_video()
    in_order = bool((order[1:] > order[:-1]).all())
    if not in_order:
        source, truth = TakenTexts(source, order), truth.take_texts(order)
    source = held(source, edge=edge, memory_bytes=memory_bytes)
    counts, more = {}, {}
    for direction, bank in banks.items():
        scores, groups, pairs = source, None, (truth.text_index, truth.video_index)
        if direction == "v2t":
            scores, pairs = Transposed(source), pairs[::-1]
            groups = truth.video_index if over_videos else None
            if bank is not None:
                bank = Transposed(bank if in_order else TakenTexts(bank, order))
        found = correction(scores, settings, logit_scale=logit_scale, edge=edge, bank=bank)
        counts[direction] = count_ranks(scores, *pairs, found, edge=edge, groups=groups)
        if metrics:
            right = (*pairs, truth.grades)
            more[direction] = mean_values(scores, right, found, metrics, ties=ties, edge=edge)
    if "t2v" in counts and not in_order:
        counts["t2v"] = counts["t2v"].take(np.argsort(order))
    return counts, more


def check_shape(source: ScoreSource, shape: tuple[int, int], name: str) -> None:
    """Raise InputError unless the source has this shape; -1 allows any number."""
    if any(want not in (-1, have) for have, want in zip(source.shape, shape, strict=True)):
        texts, videos = ("any number of" if size < 0 else size for size in shape)
        raise InputError(
            f"{name}: an array of shape {source.shape}",
            allowed=f"{texts} texts (rows) and {videos} videos (columns) are expected",
            to_do="check that the files belong together, and whether one must be transposed",
        )


def require_scored_truth(source: ScoreSource, truth: Truth) -> None:
    """Raises InputError when a right answer has the score -inf, which is padding."""
    if isinstance(source, DenseScores):
        source.require_scored(truth.text_index, truth.video_index)


def resolve_over(truth: Truth, v2t_over: Over | None) -> Over:
    """What v2t ranks.

    Raises:
        UsageError: videos, where a text has several: it would stand for the right video and for a wrong one.
    """
    if v2t_over is None:
        return "videos" if truth.has_several_texts and truth.one_video_each else "captions"
    if v2t_over == "videos" and not truth.one_video_each:
        raise UsageError(
            "v2t over videos, but some texts belong to several videos",
            allowed="a rank over videos needs one video per text",
            to_do="use --v2t-over captions",
        )
    return v2t_over


def _banks(
    source: ScoreSource,
    settings: Settings,
    *,
    texts: ScoreSource | np.ndarray | None,
    videos: ScoreSource | np.ndarray | None,
) -> dict[Direction, ScoreSource]:
    if texts is None and videos is None:
        return {}
    if texts is None:
        raise UsageError(
            "a bank of videos but none of texts",
            allowed="text-to-video is corrected by a bank of texts; the bank of videos is for the other direction",
            to_do="give the bank of texts as well",
        )
    banks: dict[Direction, ScoreSource] = {"t2v": as_source(texts)}
    check_shape(banks["t2v"], (-1, source.shape[1]), "the bank of texts")
    if videos is not None:
        banks["v2t"] = as_source(videos)
        check_shape(banks["v2t"], (source.shape[0], -1), "the bank of videos")
    for bank in banks.values():
        if isinstance(bank, DenseScores):
            bank.bound(padding=False)
        resolve_logit_scale(bank, settings, 1.0)
    return banks


def _left_out(truth: Truth) -> list[str]:
    without_text = truth.num_videos - len(truth.videos_with_text)
    if not without_text:
        return []
    return [f"{without_text} of {truth.num_videos} videos have no text: they are no queries for v2t"]


def _about_banks(truth: Truth, settings: Settings, banks: Mapping[Direction, ScoreSource]) -> list[str]:
    if settings.method == "none":
        return []
    found = _bank_sizes(truth, banks)
    if banks and "v2t" not in banks:
        found.append("v2t is left out: the bank holds texts, and correcting v2t needs a bank of videos")
    if settings.method == "qb-norm" and not banks:
        found.append(
            "qb-norm with the test queries as bank is inverted-softmax: the first hit of every query is in the bank"
        )
    return found


def _about_scale(source: ScoreSource, settings: Settings, scale: FoundScale) -> list[str]:
    """A scale that makes a correction idle; and where it was detected, what the scores were taken for."""
    if not METHODS[settings.method].uses_temperature:
        return []
    found = []
    if scale.bound <= 1 and scale.logit_scale < COSINE_LOGIT_SCALE / 10:
        found.append(
            f"a logit scale of {scale.logit_scale:g} leaves cosines so close together that the softmax is almost even"
            f" and {settings.method} does little; CLIP's scale is {COSINE_LOGIT_SCALE:g}"
        )
    spread = 0.0 if scale.told_by == "given" else score_spread(source)
    return found + (_taken_for(scale, spread) if spread else [])


def _taken_for(scale: FoundScale, spread: float) -> list[str]:
    """What scores that are no cosines of CLIP's spread were taken for."""
    if scale.told_by == "cosines":
        low, high = (value / COSINE_LOGIT_SCALE for value in LOGIT_SPREADS)
        if low <= spread <= high:
            return []
        return [
            f"scores within -1 and 1 are taken as cosines and multiplied by {COSINE_LOGIT_SCALE:g}, but a text's scores"
            f" deviate by {spread:.2g} and CLIP's by about {CLIP_LOGIT_SPREAD / COSINE_LOGIT_SCALE:.2g}:"
            " --logit-scale sets another factor"
        ]
    if scale.told_by == "logits":
        return [
            f"scores up to {scale.bound:.3g} are no cosines and are taken as logits: --logit-scale multiplies them"
        ]
    return [
        f"scores up to {scale.bound:.3g} are neither cosines nor logits, by their spread: they are multiplied by"
        f" {scale.logit_scale:.3g}, so that they spread as {COSINE_LOGIT_SCALE:g} x CLIP's cosines do; --logit-scale"
        " sets another factor"
    ]


def _bank_sizes(truth: Truth, banks: Mapping[Direction, ScoreSource]) -> list[str]:
    sizes: dict[Direction, tuple[int, int]] = {"t2v": (truth.num_texts, truth.num_videos)}
    if banks:
        sizes = {direction: bank.shape for direction, bank in banks.items()}
    else:
        sizes["v2t"] = (truth.num_texts, truth.num_videos)
    found = []
    for direction, (num_texts, num_videos) in sizes.items():
        queries, items = (num_texts, num_videos) if direction == "t2v" else (num_videos, num_texts)
        query_name, item_name = ("texts", "videos") if direction == "t2v" else ("videos", "texts")
        if queries < items:
            found.append(
                f"{direction}: a bank of {queries} {query_name} for {items} {item_name} is small: many {item_name}"
                " are claimed by no query of the bank, and the correction may do harm"
            )
    return found
