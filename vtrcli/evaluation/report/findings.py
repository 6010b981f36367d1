"""What the report says beyond the table: curves, histograms, hubs, groups of texts, the worst queries. Numbers only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vtrcli.evaluation.evaluate import EvaluationResult, EvaluationSettings
from vtrcli.ranking.evaluate import Evaluation
from vtrcli.ranking.methods import Settings
from vtrcli.ranking.metrics import (
    DirectionMetrics,
    Ties,
    means_ci95,
    metrics_from_ranks,
    recall_hits,
)
from vtrcli.ranking.ranks import TopItems, top_videos

TOP_K = 10
NUM_HUBS = 10
NUM_WORST = 12
NUM_FOUND = 3
MAX_CATEGORIES = 40
_CURVE_POINTS = 60
_RANK_BINS = (1, 5, 10, 50, 100, 500, 1000, 10_000, 100_000)
_WORD_BINS = (4, 6, 8, 10, 13, 20, 40, 80)


@dataclass(frozen=True, kw_only=True)
class Group:
    """Some of the texts. `metrics` in the order of the evaluations that were asked for."""

    name: str
    metrics: tuple[DirectionMetrics, ...]


@dataclass(frozen=True, kw_only=True)
class Hubs:
    """In how many texts' first `k` each video is, int64 [num_videos]; `corrected` None without a correction."""

    k: int
    plain: np.ndarray
    corrected: np.ndarray | None

    @property
    def worst(self) -> list[int]:
        """The videos that are found most often on plain scores, most first."""
        order = np.argsort(-self.plain, kind="stable")
        return [int(video) for video in order[:NUM_HUBS]]


@dataclass(frozen=True, kw_only=True)
class WorstQuery:
    """A text whose right video stands far behind on plain scores; indices of rows and columns.

    `found`: the first wrong videos, best first.
    """

    text: int
    rank: float
    corrected_rank: float | None
    right: tuple[int, ...]
    found: tuple[int, ...]


def plain_and_first(result: EvaluationResult) -> tuple[Evaluation, ...]:
    """The plain evaluation, and the first corrected one if there is one."""
    return result.evaluations[:2]


def recall_gain(
    plain: DirectionMetrics, corrected: DirectionMetrics, *, k: int, ties: Ties, options: EvaluationSettings
) -> tuple[float, tuple[float, float] | None]:
    """R@k corrected - plain in percent points, and its 95 % interval over the same queries (None without bootstrap)."""
    hits = [recall_hits(side.ranks, k, num_tied=side.num_tied, ties=ties) for side in (plain, corrected)]
    differences = 100 * (hits[1] - hits[0])
    intervals = means_ci95(
        differences[:, None], clusters=plain.clusters, num_bootstrap=options.num_bootstrap, seed=options.seed
    )
    return float(differences.mean()), intervals[0] if intervals else None


def recall_curve(metrics: DirectionMetrics, *, num_items: int, ties: Ties) -> tuple[list[float], list[float]]:
    """(k, R@k in percent), k from 1 to `num_items` in even steps of its logarithm."""
    ks = np.unique(np.geomspace(1, num_items, _CURVE_POINTS).round().astype(np.int64))
    recalls = [
        100 * float(recall_hits(metrics.ranks, int(k), num_tied=metrics.num_tied, ties=ties).mean())
        for k in ks
    ]
    return ks.tolist(), recalls


def rank_bins(num_items: int) -> list[int]:
    """The last rank of each bin of the histogram; the last bin ends with the last item."""
    return [edge for edge in _RANK_BINS if edge < num_items] + [num_items]


def rank_shares(metrics: DirectionMetrics, edges: Sequence[int]) -> list[float]:
    """Percent of the queries in each bin of `rank_bins`; rank 1.5 (a tie) lies above 1."""
    bins = np.searchsorted(edges, metrics.ranks, side="left")
    shares = 100 * np.bincount(bins, minlength=len(edges)) / metrics.num_queries
    return [float(share) for share in shares]


def range_names(edges: Sequence[int], *, first: int = 1) -> list[str]:
    """1, 2–5, 6–10, ... for the bins that end at `edges`."""
    starts = [first, *(edge + 1 for edge in edges[:-1])]
    return [
        _short(end) if start == end else f"{_short(start)}–{_short(end)}"
        for start, end in zip(starts, edges, strict=True)
    ]


def _short(number: int) -> str:
    """10k for 10,000: names of bars stand close together."""
    return f"{number / 1000:.3g}k" if number >= 1000 else str(number)


def top_lists(result: EvaluationResult) -> tuple[TopItems, ...]:
    """The first videos of every text, for `plain_and_first`. Goes over all scores once or twice for each."""
    options = result.options
    return tuple(
        top_videos(
            result.inputs.source,
            k=TOP_K,
            settings=_settings(evaluation, options),
            logit_scale=evaluation.logit_scale,
            memory_bytes=options.memory_bytes,
        )
        for evaluation in plain_and_first(result)
    )


def _settings(evaluation: Evaluation, options: EvaluationSettings) -> Settings:
    if evaluation.method == "none":
        return Settings()
    return Settings(
        method=evaluation.method, temperature=options.temperature, k=options.k, alpha=options.alpha
    )


def hubs(tops: Sequence[TopItems], *, num_videos: int) -> Hubs | None:
    """None where there are so few videos that most are in every list."""
    k = tops[0].videos.shape[1]
    if num_videos < 2 * k:
        return None
    counts = [top.counts(num_videos) for top in tops]
    return Hubs(k=k, plain=counts[0], corrected=counts[1] if len(counts) > 1 else None)


def skewness(counts: np.ndarray) -> float:
    """Third standardised moment: 0 for an even spread, large where few videos are found everywhere.

    The measure of hubness of Radovanović et al. 2010 (their S_N_k).
    """
    deviations = counts - counts.mean()
    spread = float(np.sqrt(np.mean(deviations**2)))
    return float(np.mean(deviations**3)) / spread**3 if spread else 0.0


def by_length(result: EvaluationResult) -> list[Group]:
    """t2v by the number of words of the text; nothing where the texts are not known."""
    lengths = np.array([len(text.split()) for text in result.inputs.texts], np.int64)
    if not lengths.size:
        return []
    edges = [edge for edge in _WORD_BINS if edge < lengths.max()] + [max(1, int(lengths.max()))]
    bins = np.searchsorted(edges, lengths, side="left")
    names = range_names(edges)
    return [
        _group(result, names[number], np.flatnonzero(bins == number)) for number in np.unique(bins).tolist()
    ]


def by_category(result: EvaluationResult) -> list[Group]:
    """t2v by the category of the right video, the largest first; nothing where no category is known."""
    inputs, truth = result.inputs, result.inputs.truth
    if not inputs.categories or not inputs.video_ids:
        return []
    first_pairs = np.searchsorted(truth.text_index, np.arange(truth.num_texts))
    texts_of: dict[str, list[int]] = {}
    for text, video in enumerate(truth.video_index[first_pairs].tolist()):
        texts_of.setdefault(inputs.categories.get(inputs.video_ids[video], "not known"), []).append(text)
    largest = sorted(texts_of, key=lambda name: (-len(texts_of[name]), name))[:MAX_CATEGORIES]
    return [_group(result, name, np.array(texts_of[name])) for name in largest]


def _group(result: EvaluationResult, name: str, texts: np.ndarray) -> Group:
    options = result.options
    return Group(
        name=name,
        metrics=tuple(
            metrics_from_ranks(
                evaluation.t2v.ranks[texts],
                direction="t2v",
                num_tied=evaluation.t2v.num_tied[texts],
                clusters=evaluation.t2v.clusters[texts],
                ties=evaluation.ties,
                num_bootstrap=options.num_bootstrap,
                seed=options.seed,
            )
            for evaluation in plain_and_first(result)
        ),
    )


def worst_queries(result: EvaluationResult, top: TopItems) -> list[WorstQuery]:
    """The texts with the largest rank on plain scores, one per video, of those whose right video is not the first."""
    ranks = [evaluation.t2v.ranks for evaluation in plain_and_first(result)]
    truth = result.inputs.truth
    worst: list[WorstQuery] = []
    seen: set[int] = set()
    for text in np.argsort(-ranks[0], kind="stable").tolist():
        if ranks[0][text] <= 1 or len(worst) == NUM_WORST:
            break
        right = truth.video_index[slice(*np.searchsorted(truth.text_index, (text, text + 1)))].tolist()
        if right[0] in seen:
            continue
        seen.add(right[0])
        shown = top.videos[text][np.isfinite(top.scores[text])].tolist()
        found = [video for video in shown if video not in right]
        worst.append(
            WorstQuery(
                text=text,
                rank=float(ranks[0][text]),
                corrected_rank=float(ranks[1][text]) if len(ranks) > 1 else None,
                right=tuple(right),
                found=tuple(found[:NUM_FOUND]),
            )
        )
    return worst
