"""Metrics of moments: those of QVHighlights, Charades-STA, ActivityNet and TACoS, and over a corpus TVR's.

Where published evaluators agree on a name and not on a number, the choice is an option (`Conventions`); the defaults
are those of QVHighlights' evaluator (Lei, Berg and Bansal 2021, "QVHighlights"), which most papers run. docs/moments.md
says where each matters.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from vtrcli.datasets.moments import MomentTruth, Ragged
from vtrcli.errors import InputError
from vtrcli.ranking.metrics import PairedTest, means_ci95, paired_test

First = Literal["listed", "scored"]
WindowTies = Literal["listed", "optimistic", "pessimistic"]
AveragePrecision = Literal["interpolated", "plain"]
GroupName = Literal["full", "short", "middle", "long"]
Task = Literal["VCMR", "SVMR", "VR"]

AP_IOUS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))  # 0.5, 0.55 … 0.95
RECALL_IOUS = (0.3, *AP_IOUS)
SHOWN_IOUS = (0.3, 0.5, 0.7)
RECALL_AT = (1, 5)
# Seconds, by the length of the true window: longer than the first, up to the second.
LENGTHS: dict[GroupName, tuple[float, float]] = {
    "full": (0.0, np.inf),
    "short": (0.0, 10.0),
    "middle": (10.0, 30.0),
    "long": (30.0, np.inf),
}
SALIENCY_LEVELS = {"Fair": 2.0, "Good": 3.0, "VeryGood": 4.0}  # a clip counts from this score on
CORPUS_AT = (1, 5, 10, 100)
CORPUS_IOUS = (0.5, 0.7)
TASKS: tuple[Task, ...] = ("VCMR", "SVMR", "VR")
MAX_WINDOWS = 50_000_000  # 1.2 GB
_CELLS_AT_ONCE = 4_000_000


@dataclass(frozen=True, kw_only=True)
class Conventions:
    """What evaluators do differently; the defaults are QVHighlights'.

    Attributes:
        first: what R@1 and R@5 take: the windows in the order in which they are listed, or the best scored. mAP always
            goes by the score.
        max_windows: how many listed windows of a query count; None: all.
        ties: among windows of equal score (and, for HIT@1, clips): the one that is listed first comes first; the
            better one (optimistic), the worse one (pessimistic).
        ap: the area under the precision-recall curve made monotone, as PASCAL VOC has it since 2010 (interpolated), or
            under the curve as it is (plain). Of highlights interpolated is the mean over the thresholds at which a
            positive clip comes in, each counting once however many come; plain weighs them by how many come.
    """

    first: First = "listed"
    max_windows: int | None = 10
    ties: WindowTies = "listed"
    ap: AveragePrecision = "interpolated"


REFERENCE = Conventions()


@dataclass(frozen=True, kw_only=True, repr=False)
class Scores:
    """Some queries with what each of them got, 0 to 1: `values` name -> float64 [num_queries]; `queries` int64, their
    numbers in the truth; `clusters` int64, equal for queries about one video."""

    queries: np.ndarray
    clusters: np.ndarray
    values: dict[str, np.ndarray]

    @property
    def num_queries(self) -> int:
        """How many queries."""
        return len(self.queries)

    def percent(self, name: str) -> float:
        """The mean in percent; NaN without queries."""
        return 100 * float(self.values[name].mean()) if self.num_queries else float("nan")

    def intervals(
        self, names: tuple[str, ...], *, num_bootstrap: int, seed: int
    ) -> dict[str, tuple[float, float]]:
        """name -> (low, high) in percent, by the bootstrap over videos; empty where there are too few."""
        columns = np.stack([100 * self.values[name] for name in names], axis=1)
        found = means_ci95(columns, clusters=self.clusters, num_bootstrap=num_bootstrap, seed=seed)
        return dict(zip(names, found, strict=True)) if found else {}


@dataclass(frozen=True, kw_only=True, repr=False)
class MomentScores:
    """What every query got.

    Attributes:
        groups: `full`, and by the length of the true windows; a query counts in each group that has one of its windows.
        highlights: HIT@1 and mAP at each level, of all queries; None without saliency on both sides.
        best_ious: float64 [num_queries], of the first window with the best fitting true one: what mIoU is the mean of.
    """

    groups: dict[GroupName, Scores]
    highlights: Scores | None
    best_ious: np.ndarray


def recall_name(k: int, iou: float) -> str:
    """R1@0.5."""
    return f"R{k}@{iou:g}"


def ap_name(iou: float) -> str:
    """mAP@0.75."""
    return f"mAP@{iou:g}"


MOMENT_COLUMNS = (
    *(recall_name(k, iou) for k in RECALL_AT for iou in SHOWN_IOUS),
    "mIoU",
    "mAP",
    ap_name(0.5),
    ap_name(0.75),
)
HIGHLIGHT_COLUMNS = tuple(f"{level} {what}" for level in SALIENCY_LEVELS for what in ("mAP", "HIT@1"))


def score_moments(
    truth: MomentTruth,
    windows: Ragged,
    saliency: Ragged | None = None,
    *,
    conventions: Conventions = REFERENCE,
) -> MomentScores:
    """Score predicted windows, and saliency where both sides have it.

    Args:
        windows: float64 [total, 3], start, end in seconds and score, of the truth's queries in their order.
        saliency: float64 [total clips], higher is more salient, one clip per `CLIP_SECONDS`.

    Raises:
        InputError: more windows than there is memory for, where all count.
    """
    clusters = truth.video_numbers()
    counted, mask = _counted(windows, conventions)
    groups, best_ious = _score_windows(truth, counted, mask, clusters, conventions)
    highlights = None
    if saliency is not None and truth.saliency is not None:
        values = score_highlights(truth.saliency, saliency, conventions=conventions)
        highlights = Scores(queries=np.arange(len(truth)), clusters=clusters, values=values)
    return MomentScores(groups=groups, highlights=highlights, best_ious=best_ious)


def _counted(windows: Ragged, conventions: Conventions) -> tuple[np.ndarray, np.ndarray]:
    """The windows that count, float64 [num_queries, longest, 3] as they are listed, and bool, which are there."""
    longest = int(windows.counts.max(initial=0))
    if conventions.max_windows is None and len(windows) * longest > MAX_WINDOWS:
        raise InputError(
            f"{len(windows):,} queries, one of them with {longest:,} windows",
            allowed=f"at most {MAX_WINDOWS:,} windows, counted as if each query had as many as that one",
            to_do="let fewer count, with --max-windows",
        )
    padded, mask = windows.padded(conventions.max_windows)
    if padded.shape[1] == 0:  # nobody predicted anything
        padded, mask = np.zeros((len(windows), 1, 3)), np.zeros((len(windows), 1), bool)
    return padded, mask


def window_ious(predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Intersection over union of float64 [..., num_predicted, 2 or more] and [..., num_true, 2]:
    [..., num_predicted, num_true].

    The union is taken as the span of both, which is it wherever they meet; where they do not, the result is 0 anyway.
    An empty window has 0 with all.
    """
    start, end = predicted[..., :, None, 0], predicted[..., :, None, 1]
    true_start, true_end = true[..., None, :, 0], true[..., None, :, 1]
    shared = np.minimum(end, true_end) - np.maximum(start, true_start)
    span = np.maximum(end, true_end) - np.minimum(start, true_start)
    return np.asarray(np.maximum(shared, 0) / np.where(span > 0, span, 1))


def _score_windows(
    truth: MomentTruth,
    windows: np.ndarray,
    is_window: np.ndarray,
    clusters: np.ndarray,
    conventions: Conventions,
) -> tuple[dict[GroupName, Scores], np.ndarray]:
    """Every query once per group that one of its true windows belongs to, those with as many true windows together."""
    lengths = truth.windows.values[:, 1] - truth.windows.values[:, 0]
    groups: dict[GroupName, Scores] = {}
    best_ious = np.zeros(len(truth))
    for name, (above, up_to) in LENGTHS.items():
        spans = truth.windows.where((lengths > above) & (lengths <= up_to))
        counts = spans.counts
        queries = np.flatnonzero(counts)
        parts: dict[str, np.ndarray] = {}
        for chosen in _alike(counts[queries], windows.shape[1]):
            here = queries[chosen]
            true, is_true = _rows(spans, here, int(counts[here].max()))
            for key, found in _values(windows[here], is_window[here], true, is_true, conventions).items():
                parts.setdefault(key, np.zeros(len(queries)))[chosen] = found
        if not parts:  # no window of this length: nothing to score, under the same names
            parts = {key: np.zeros(0) for key in groups["full"].values}
        groups[name] = Scores(queries=queries, clusters=clusters[queries], values=parts)
        if name == "full":
            best_ious[queries] = parts["mIoU"]
    return groups, best_ious


def _alike(counts: np.ndarray, num_windows: int) -> Iterator[np.ndarray]:
    """Numbers of queries whose true windows are about as many, so that little is padded, and few enough at once."""
    size = np.ceil(np.log2(counts)).astype(np.int64) if len(counts) else counts
    for exponent in np.unique(size):
        alike = np.flatnonzero(size == exponent)
        at_once = max(1, _CELLS_AT_ONCE // (2 ** int(exponent) * num_windows * len(AP_IOUS)))
        for first in range(0, len(alike), at_once):
            yield alike[first : first + at_once]


def _rows(spans: Ragged, queries: np.ndarray, longest: int) -> tuple[np.ndarray, np.ndarray]:
    """As `Ragged.padded`, of some queries."""
    places = spans.offsets[queries, None] + np.arange(longest)
    mask = places < spans.offsets[queries + 1, None]
    return spans.values[np.where(mask, places, 0)], mask


def _values(
    windows: np.ndarray,
    is_window: np.ndarray,
    true: np.ndarray,
    is_true: np.ndarray,
    conventions: Conventions,
) -> dict[str, np.ndarray]:
    """Of some queries: name -> float64 [num_queries], 0 to 1."""
    ious = window_ious(windows, true) * (is_window[:, :, None] & is_true[:, None, :])
    best: np.ndarray = ious.max(axis=2)
    by_score = _by_score(windows[:, :, 2], is_window, best, conventions.ties)
    first = best if conventions.first == "listed" else np.take_along_axis(best, by_score, axis=1)
    values: dict[str, np.ndarray] = {}
    for k in RECALL_AT:
        reached = first[:, :k].max(axis=1)
        for iou in RECALL_IOUS if k == 1 else SHOWN_IOUS:
            values[recall_name(k, iou)] = (reached >= iou).astype(np.float64)
    values["mIoU"] = first[:, 0]
    hits = _greedy_hits(np.take_along_axis(ious, by_score[:, :, None], axis=1))
    precisions = _average_precisions(hits, is_true.sum(axis=1), conventions.ap)
    values["mAP"] = precisions.mean(axis=1)
    values.update((ap_name(iou), precisions[:, place]) for place, iou in enumerate(AP_IOUS))
    return values


def _by_score(scores: np.ndarray, is_there: np.ndarray, best: np.ndarray, ties: WindowTies) -> np.ndarray:
    """int64 [num_queries, longest]: the windows from the best scored on; what is none stands last."""
    falling = np.where(is_there, -scores, np.inf)
    if ties == "listed":
        return np.argsort(falling, axis=1, kind="stable")
    return np.lexsort((-best if ties == "optimistic" else best, falling), axis=1)


def _greedy_hits(ious: np.ndarray) -> np.ndarray:
    """bool [num_queries, len(AP_IOUS), num_windows]: a window hits when it takes the best fitting true window that no
    better scored one has taken, at each IoU on its own; of true windows that fit equally well the later one.

    Args:
        ious: float64 [num_queries, num_windows, num_true], the best scored window first.
    """
    num_queries, num_windows, num_true = ious.shape
    least = np.array(AP_IOUS)
    hits = np.zeros((num_queries, len(least), num_windows), bool)
    free = np.ones((num_queries, len(least), num_true), bool)
    backwards = ious[:, :, ::-1]  # argmax takes the first of equals
    for place in range(num_windows):
        fit = backwards[:, None, place] * free
        taken = fit.argmax(axis=2)[:, :, None]
        is_hit = np.take_along_axis(fit, taken, axis=2)[:, :, 0] >= least
        hits[:, :, place] = is_hit
        np.put_along_axis(free, taken, np.take_along_axis(free, taken, axis=2) & ~is_hit[:, :, None], axis=2)
    return hits


def _average_precisions(hits: np.ndarray, num_true: np.ndarray, how: AveragePrecision) -> np.ndarray:
    """float64 [num_queries, len(AP_IOUS)]. What is no window stands behind all, and changes nothing there."""
    precision = np.cumsum(hits, axis=2) / np.arange(1, hits.shape[2] + 1)
    if how == "interpolated":
        precision = np.maximum.accumulate(precision[:, :, ::-1], axis=2)[:, :, ::-1]
    return np.asarray((precision * hits).sum(axis=2) / num_true[:, None])


def score_highlights(
    true: Ragged, predicted: Ragged, *, conventions: Conventions = REFERENCE
) -> dict[str, np.ndarray]:
    """`Good HIT@1`, `Good mAP` …: float64 [num_queries], 0 to 1.

    HIT@1: an annotator gave the most salient clip at least the level. mAP: the mean over the annotators.
    Scores of clips that the video does not have are cut off; where there are too few, the others count as 0.

    Args:
        true: float64 [total clips, num_annotators].
        predicted: float64 [total clips].
    """
    scores, is_clip = true.padded()
    num_clips = scores.shape[1]
    guessed = predicted.padded(num_clips)[0]
    guessed = np.pad(guessed, ((0, 0), (0, num_clips - guessed.shape[1])))
    top = _most_salient(scores, is_clip, predicted, guessed, conventions.ties)
    falling = np.where(is_clip, -guessed, np.inf)
    if conventions.ties == "listed":
        order = np.argsort(falling, axis=1, kind="stable")[:, :, None]
        is_end = _ends_of_ties(np.take_along_axis(falling, order[:, :, 0], axis=1))[:, :, None]
    values: dict[str, np.ndarray] = {}
    for level, least in SALIENCY_LEVELS.items():
        is_good = scores >= least
        if conventions.ties != "listed":
            sign = -1 if conventions.ties == "optimistic" else 1
            order = np.lexsort((sign * is_good, np.broadcast_to(falling[:, :, None], is_good.shape)), axis=1)
            is_end = np.ones((1, 1, 1), bool)
        ranked = np.take_along_axis(is_good, order, axis=1)
        values[f"{level} mAP"] = np.asarray(_clip_precision(ranked, is_end, conventions.ap).mean(axis=1))
        values[f"{level} HIT@1"] = np.any(top >= least, axis=1).astype(np.float64)
    return values


def _most_salient(
    scores: np.ndarray, is_clip: np.ndarray, predicted: Ragged, guessed: np.ndarray, ties: WindowTies
) -> np.ndarray:
    """float64 [num_queries, num_annotators]: their scores of the clip that the prediction likes best; 0 where that lies
    behind the video's end, or nothing was predicted."""
    everything, is_guess = predicted.padded()
    liked = np.where(is_guess, everything, -np.inf)
    place = liked.argmax(axis=1) if liked.shape[1] else np.zeros(len(liked), np.int64)
    if ties != "listed":
        limit = np.where(is_clip, guessed, -np.inf).max(axis=1, keepdims=True)
        worth = scores.max(axis=2) * (1 if ties == "optimistic" else -1)
        place = np.where(is_clip & (guessed == limit), worth, -np.inf).argmax(axis=1)
    inside = (place < is_clip.sum(axis=1)) & (predicted.counts > 0)
    rows = scores[np.arange(len(scores)), np.minimum(place, scores.shape[1] - 1)]
    return np.asarray(rows * inside[:, None])


def _ends_of_ties(ordered: np.ndarray) -> np.ndarray:
    """bool [num_queries, num_clips]: the last of each run of equal scores."""
    return np.concatenate([ordered[:, 1:] != ordered[:, :-1], np.ones((len(ordered), 1), bool)], axis=1)


def _clip_precision(ranked: np.ndarray, is_end: np.ndarray, how: AveragePrecision) -> np.ndarray:
    """Average precision float64 [num_queries, num_annotators] of clips in order, bool [num_queries, num_clips,
    num_annotators]; clips of equal score come in together, at `is_end`."""
    num_found = np.cumsum(ranked, axis=1, dtype=np.int32)
    precision = num_found / np.arange(1, ranked.shape[1] + 1, dtype=np.float64)[:, None] * is_end
    at_ends = np.maximum.accumulate(np.where(is_end, num_found, 0), axis=1)
    before = np.concatenate([np.zeros_like(at_ends[:, :1]), at_ends[:, :-1]], axis=1)
    weight = (at_ends - before) * is_end
    if how == "interpolated":
        precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        weight = weight > 0
    total = weight.sum(axis=1)
    return np.asarray((precision * weight).sum(axis=1) / np.maximum(total, 1))


@dataclass(frozen=True)
class CorpusTruth:
    """Queries, the number of each one's video, int64 [num_queries], and its windows, float64 [total, 2]."""

    videos: np.ndarray
    windows: Ragged


def score_corpus(truth: CorpusTruth, found: Mapping[Task, Ragged]) -> dict[Task, Scores]:
    """Recall of moments over a corpus (VCMR), in the right video (SVMR), and of videos (VR), as TVR has them: among the
    first 1, 5, 10 and 100 as they are listed, one at IoU 0.5 or 0.7 with a true window. In 32 bits, as there: an IoU
    that meets the bound exactly then falls on the same side.

    Args:
        found: float64 [total, 3 or more] per task: number of the video, start and end in seconds. For SVMR other videos
            than the right one are passed over.
    """
    return {task: _score_task(task, truth, rows) for task, rows in found.items()}


def _score_task(task: Task, truth: CorpusTruth, rows: Ragged) -> Scores:
    if task == "SVMR":
        rows = rows.where(rows.values[:, 0] == truth.videos[rows.owners])
    listed, is_there = rows.padded(max(CORPUS_AT))
    is_right = is_there & (listed[:, :, 0] == truth.videos[:, None])
    values: dict[str, np.ndarray] = {}
    if task == "VR":
        for k in CORPUS_AT:
            values[f"R{k}"] = is_right[:, :k].any(axis=1).astype(np.float64)
    else:
        true, is_true = truth.windows.padded()
        ious = window_ious(listed[:, :, 1:3].astype(np.float32), true.astype(np.float32))
        best = np.where(is_true[:, None], ious, 0).max(axis=2) * is_right
        for iou in CORPUS_IOUS:
            for k in CORPUS_AT:
                hit = (best[:, :k] >= np.float32(iou)).any(axis=1)
                values[recall_name(k, iou)] = hit.astype(np.float64)
    return Scores(queries=np.arange(len(truth.videos)), clusters=truth.videos, values=values)


def reference_metrics(scores: MomentScores) -> dict[str, Any]:
    """The numbers under the names, and with the two decimals, of QVHighlights' evaluator."""
    body: dict[str, Any] = {}
    brief: dict[str, float] = {}
    full = scores.groups["full"]
    for iou in (0.5, 0.7):
        brief[f"MR-full-R1@{iou:g}"] = _rounded(full, recall_name(1, iou))
    brief["MR-full-mAP"] = _rounded(full, "mAP")
    for iou in (0.5, 0.75):
        brief[f"MR-full-mAP@{iou:g}"] = _rounded(full, ap_name(iou))
    for name in ("long", "middle", "short"):
        brief[f"MR-{name}-mAP"] = _rounded(scores.groups[name], "mAP")
    body["brief"] = brief
    if scores.highlights is not None:
        for level in SALIENCY_LEVELS:
            both = {
                "HL-mAP": _rounded(scores.highlights, f"{level} mAP"),
                "HL-Hit1": _rounded(scores.highlights, f"{level} HIT@1"),
            }
            body[f"HL-min-{level}"] = both
            brief |= {f"HL-min-{level}-{key.removeprefix('HL-')}": value for key, value in both.items()}
    for group, rows in scores.groups.items():
        precisions = {f"{iou:g}": _rounded(rows, ap_name(iou)) for iou in AP_IOUS}
        body[group] = {
            "MR-mAP": {**precisions, "average": _rounded(rows, "mAP")},
            "MR-R1": {f"{iou:g}": _rounded(rows, recall_name(1, iou)) for iou in AP_IOUS},
        }
    return body


def _rounded(scores: Scores, name: str) -> float:
    return float(f"{scores.percent(name):.2f}")


def compare_scores(a: Scores, b: Scores) -> dict[str, PairedTest]:
    """name of a value that both have -> the paired test of B against A in percent, swapping videos with all their
    queries.

    Raises:
        InputError: they are not of as many queries.
    """
    return {
        name: paired_test(100 * values, 100 * b.values[name], clusters=a.clusters)
        for name, values in a.values.items()
        if name in b.values
    }
