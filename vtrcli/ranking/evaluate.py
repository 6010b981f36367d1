"""Scores and truth in, trusted numbers out: the one function behind `vtr eval`, with any method and any size.

Reading files is `files`' work, drawing tables the command's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vtrcli.errors import InputError, UsageError
from vtrcli.ranking.methods import (
    CLIP_LOGIT_SPREAD,
    COSINE_LOGIT_SCALE,
    COSINE_TOLERANCE,
    DEFAULT_ALPHA,
    DEFAULT_NUM_ROUNDS,
    DEFAULT_TEMPERATURE,
    LOGIT_SPREADS,
    METHODS,
    MethodName,
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
from vtrcli.ranking.ranks import RankCounts, count_ranks
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


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """One method in both directions.

    Attributes:
        temperature: None where the method has none.
        alpha: of nnn; None for the others.
        logit_scale: what scores were multiplied by before the temperature; detected unless given.
        transductive: the correction looked at all test queries at once.
        v2t: None if a bank of texts was given but none of videos.
        warnings: sentences for the user.
    """

    method: MethodName
    temperature: float | None
    alpha: float | None
    logit_scale: float
    transductive: bool
    ties: Ties
    num_texts: int
    num_videos: int
    t2v: DirectionMetrics
    v2t: DirectionMetrics | None
    warnings: tuple[str, ...]

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
        memory_bytes: for the blocks in work, beside the inputs and a few numbers per text and video.

    Raises:
        InputError: scores that are NaN or infinite (-inf is padding: allowed but for right answers, ranked last), or
            shapes that do not fit.
        UsageError: a number out of bounds.
    """
    settings = Settings(method=method, temperature=temperature, k=k, alpha=alpha, num_rounds=num_rounds)
    source = as_source(source)
    check_shape(source, (truth.num_texts, truth.num_videos), "the scores")
    scale, bound = resolve_logit_scale(source, settings, logit_scale)
    require_scored_truth(source, truth)
    banks = {} if method == "none" else _banks(source, settings, texts=bank, videos=video_bank)
    directions: tuple[Direction, ...] = tuple(banks) or ("t2v", "v2t")
    over: dict[Direction, Over] = {"t2v": "videos", "v2t": resolve_over(truth, v2t_over)}
    counts = _count(
        source,
        truth,
        settings,
        logit_scale=scale,
        memory_bytes=memory_bytes,
        banks={direction: banks.get(direction) for direction in directions},
        over_videos=over["v2t"] == "videos",
    )
    clusters = dict(zip(("t2v", "v2t"), truth.clusters(), strict=True))
    metrics = {
        direction: metrics_from_ranks(
            counted.ranks(ties),
            direction=direction,
            over=over[direction],
            num_tied=counted.num_tied,
            clusters=clusters[direction],
            ties=ties,
            num_bootstrap=num_bootstrap,
            seed=seed,
        )
        for direction, counted in counts.items()
    }
    return Evaluation(
        method=method,
        temperature=temperature if METHODS[method].uses_temperature else None,
        alpha=alpha if method == "nnn" else None,
        logit_scale=scale,
        transductive=METHODS[method].transductive and not banks,
        ties=ties,
        num_texts=truth.num_texts,
        num_videos=truth.num_videos,
        t2v=metrics["t2v"],
        v2t=metrics.get("v2t"),
        warnings=(
            *_left_out(truth),
            *_about_banks(truth, settings, banks),
            *_about_scale(source, settings, logit_scale=scale, bound=bound, detected=logit_scale is None),
        ),
    )


def sweep(
    source: ScoreSource | np.ndarray, truth: Truth, temperatures: Sequence[float], **options: Any
) -> tuple[Evaluation, ...]:
    """`evaluate` at each temperature, with the same other options."""
    return tuple(evaluate(source, truth, temperature=value, **options) for value in temperatures)


def _count(
    source: ScoreSource,
    truth: Truth,
    settings: Settings,
    *,
    logit_scale: float,
    memory_bytes: int,
    banks: Mapping[Direction, ScoreSource | None],
    over_videos: bool,
) -> dict[Direction, RankCounts]:
    """Rank counts for the directions of `banks`; queries in the order of the truth's texts and `videos_with_text`."""
    edge = tile_edge(source, memory_bytes=memory_bytes)
    order = truth.texts_by_video()
    in_order = bool((order[1:] > order[:-1]).all())
    if not in_order:
        source, truth = TakenTexts(source, order), truth.take_texts(order)
    source = held(source, edge=edge, memory_bytes=memory_bytes)
    counts = {}
    for direction, bank in banks.items():
        scores, groups, pairs = source, None, (truth.text_index, truth.video_index)
        if direction == "v2t":
            scores, pairs = Transposed(source), pairs[::-1]
            groups = truth.video_index if over_videos else None
            if bank is not None:
                bank = Transposed(bank if in_order else TakenTexts(bank, order))
        found = correction(scores, settings, logit_scale=logit_scale, edge=edge, bank=bank)
        counts[direction] = count_ranks(scores, *pairs, found, edge=edge, groups=groups)
    if "t2v" in counts and not in_order:
        counts["t2v"] = counts["t2v"].take(np.argsort(order))
    return counts


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


def _about_scale(
    source: ScoreSource, settings: Settings, *, logit_scale: float, bound: float, detected: bool
) -> list[str]:
    """A scale that makes a correction idle; and where it was detected, what the scores were taken for."""
    if not METHODS[settings.method].uses_temperature:
        return []
    found = []
    if bound <= 1 and logit_scale < COSINE_LOGIT_SCALE / 10:
        found.append(
            f"a logit scale of {logit_scale:g} leaves cosines so close together that the softmax is almost even and"
            f" {settings.method} does little; CLIP's scale is {COSINE_LOGIT_SCALE:g}"
        )
    spread = score_spread(source) if detected else 0.0
    return found + (_detected_scale(logit_scale, bound, spread) if spread else [])


def _detected_scale(logit_scale: float, bound: float, spread: float) -> list[str]:
    """What scores that are no cosines of CLIP's spread were taken for."""
    if bound <= 1 + COSINE_TOLERANCE:
        low, high = (value / COSINE_LOGIT_SCALE for value in LOGIT_SPREADS)
        if low <= spread <= high:
            return []
        return [
            f"scores within -1 and 1 are taken as cosines and multiplied by {COSINE_LOGIT_SCALE:g}, but a text's scores"
            f" deviate by {spread:.2g} and CLIP's by about {CLIP_LOGIT_SPREAD / COSINE_LOGIT_SCALE:.2g}:"
            " --logit-scale sets another factor"
        ]
    if logit_scale == 1:
        return [
            f"scores up to {bound:.3g} are no cosines and are taken as logits: --logit-scale multiplies them"
        ]
    return [
        f"scores up to {bound:.3g} are neither cosines nor logits, by their spread: they are multiplied by"
        f" {logit_scale:.3g}, so that they spread as {COSINE_LOGIT_SCALE:g} x CLIP's cosines do; --logit-scale sets"
        " another factor"
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
