"""Scores and truth in, trusted numbers out: the one function behind `vtr eval`, with any method and any size.

Reading files is `matrices`' and `truth_files`' work, drawing tables the command's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vtrcli.errors import InputError, UsageError
from vtrcli.ranking.arrays import arrays_for, block_edge
from vtrcli.ranking.bootstrap import DEFAULT_NUM_BOOTSTRAP
from vtrcli.ranking.cautions import COSINE_TOLERANCE, cautions
from vtrcli.ranking.methods import (
    CLIP_LOGIT_SPREAD,
    COSINE_LOGIT_SCALE,
    DEFAULT_ALPHA,
    DEFAULT_NUM_ROUNDS,
    DEFAULT_TEMPERATURE,
    LOGIT_SPREADS,
    METHODS,
    MethodName,
    Settings,
)
from vtrcli.ranking.metrics import Direction, DirectionMetrics, Over, Ties, metrics_from_ranks
from vtrcli.ranking.ranking import Workplace, rank
from vtrcli.ranking.scores import DenseScores, ScoreSource
from vtrcli.ranking.truth import Truth

DEFAULT_MEMORY_BYTES = 1 << 30
SPREAD_TEXTS = 64


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
    device: str = "cpu",
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
    text_clusters, video_clusters = truth.clusters()
    counts = rank(
        source,
        truth,
        settings,
        logit_scale=scale,
        workplace=workplace_for(source, device=device, memory_bytes=memory_bytes),
        directions=directions,
        banks=banks,
        over_videos=over["v2t"] == "videos",
    )
    metrics = {
        direction: metrics_from_ranks(
            counted.ranks(ties),
            direction=direction,
            over=over[direction],
            num_tied=counted.num_tied,
            clusters=text_clusters if direction == "t2v" else video_clusters,
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
        warnings=cautions(
            truth,
            settings,
            banks=banks,
            logit_scale=scale,
            bound=bound,
            spread=None if logit_scale is not None else score_spread(source),
        ),
    )


def sweep(
    source: ScoreSource | np.ndarray, truth: Truth, temperatures: Sequence[float], **options: Any
) -> tuple[Evaluation, ...]:
    """`evaluate` at each temperature, with the same other options."""
    return tuple(evaluate(source, truth, temperature=value, **options) for value in temperatures)


def as_source(scores: ScoreSource | np.ndarray) -> ScoreSource:
    """A bare matrix becomes `DenseScores`."""
    return DenseScores(scores) if isinstance(scores, np.ndarray) else scores


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


def workplace_for(source: ScoreSource, *, device: str, memory_bytes: int) -> Workplace:
    """Tiles on `device` within `memory_bytes`; UsageError where that cannot be."""
    arrays = arrays_for(device)
    return Workplace(arrays, block_edge(arrays, memory_bytes=memory_bytes, item_bytes=source.dtype.itemsize))


def resolve_logit_scale(
    source: ScoreSource, settings: Settings, logit_scale: float | None
) -> tuple[float, float]:
    """The given logit scale or the detected one, and the source's bound.

    Detected: scores within -1 and 1 are cosines and get 100. Others are logits already, unless the deviation of a
    text's scores is outside LOGIT_SPREADS: then they are in no known unit, and get the scale that makes it that of
    100 x CLIP's cosines. Temperatures are for that unit.

    Raises:
        InputError: the scores are not finite.
        UsageError: a scale of 0 or below, or a temperature so small that the logits overflow.
    """
    bound = source.bound()
    if logit_scale is None:
        logit_scale = COSINE_LOGIT_SCALE if bound <= 1 + COSINE_TOLERANCE else _scale_by_spread(source)
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
    return logit_scale, bound


def score_spread(source: ScoreSource) -> float:
    """The standard deviation of a text's finite scores, the median over some of the texts; 0 for equal scores."""
    texts = np.unique(np.linspace(0, source.shape[0] - 1, SPREAD_TEXTS).astype(np.int64))
    deviations = []
    for text in texts.tolist():
        row = np.asarray(source.block(slice(text, text + 1), slice(0, source.shape[1])), np.float64)
        finite = row[np.isfinite(row)]
        deviations.append(finite.std() if finite.size else 0.0)
    return float(np.median(deviations))


def _scale_by_spread(source: ScoreSource) -> float:
    spread = score_spread(source)
    if spread == 0 or LOGIT_SPREADS[0] <= spread <= LOGIT_SPREADS[1]:
        return 1.0
    return CLIP_LOGIT_SPREAD / spread


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
