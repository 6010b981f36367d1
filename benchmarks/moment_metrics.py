"""Metrics of moments: all queries at once, beside loops over queries, windows and thresholds, in one run.

    python benchmarks/moment_metrics.py                              # 1,550 made queries
    python benchmarks/moment_metrics.py --truth T.jsonl --moments P.jsonl    # a real file
    python benchmarks/moment_metrics.py --truth T.jsonl --floors     # what one gets without looking at the video
    python benchmarks/moment_metrics.py --truth T.jsonl --moments P.jsonl --conventions    # where they matter

The loops are written from the description of the metrics (QVHighlights, section 5), as evaluators do them: one query,
one threshold, one window after the other. Both must give the same numbers. The best of the rounds counts, in processor
time, which a busy machine does not change; reading the files is not counted.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from vtrcli.datasets.moments import MomentTruth, Ragged, read_moment_truth
from vtrcli.moments.files import read_predictions
from vtrcli.moments.metrics import (
    AP_IOUS,
    LENGTHS,
    MOMENT_COLUMNS,
    SALIENCY_LEVELS,
    Conventions,
    MomentScores,
    reference_metrics,
    score_moments,
)

CLIPS = 75


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--truth", type=Path)
    parser.add_argument("--moments", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--queries", type=int, default=1550)
    parser.add_argument("--floors", action="store_true")
    parser.add_argument("--conventions", action="store_true")
    options = parser.parse_args()
    truth = read_moment_truth(options.truth) if options.truth else made_truth(options.queries)
    if options.floors:
        return print_floors(truth)
    if options.moments:
        given = read_predictions(options.moments, truth)
        assert given.windows is not None
        windows, saliency = given.windows, given.saliency
    else:
        windows, saliency = made_predictions(truth)
    if options.conventions:
        return print_conventions(truth, windows, saliency)
    fast, fast_seconds = best_of(options.rounds, lambda: score_moments(truth, windows, saliency))
    _, with_intervals = best_of(1, lambda: intervals_of(fast))
    slow, slow_seconds = best_of(1, lambda: in_loops(truth, windows, saliency))
    assert largest_difference(reference_metrics(fast), slow) < 0.00501, "the two ways differ"  # two decimals
    print(f"{len(truth):,} queries, {len(windows.values):,} windows")
    print(f"all at once      {fast_seconds:6.3f} s")
    print(f"in loops         {slow_seconds:6.3f} s   {slow_seconds / fast_seconds:.0f} times as long")
    print(f"intervals, 1,000 resamples, all groups  {with_intervals:6.3f} s")


def best_of(rounds: int, work: Callable[[], Any]) -> tuple[Any, float]:
    """The result, and the shortest processor time in seconds."""
    times = []
    for _ in range(rounds):
        start = time.process_time()
        result = work()
        times.append(time.process_time() - start)
    return result, min(times)


def intervals_of(scores: MomentScores) -> None:
    for group in scores.groups.values():
        group.intervals(MOMENT_COLUMNS, num_bootstrap=1000, seed=0)


def made_truth(num_queries: int) -> MomentTruth:
    """Videos of 150 s with one to five windows on a grid of 2 s, three annotators."""
    rng = np.random.default_rng(0)
    windows, saliency = [], []
    for _ in range(num_queries):
        edges = np.sort(rng.choice(CLIPS, 2 * int(rng.choice([1, 1, 1, 2, 3, 5])), replace=False))
        windows.append(2.0 * edges.reshape(-1, 2))
        scores = np.zeros((CLIPS, 3))
        for start, end in edges.reshape(-1, 2):
            scores[start:end] = rng.integers(1, 5, (end - start, 3))
        saliency.append(scores)
    return MomentTruth(
        query_ids=tuple(range(num_queries)),
        texts=("a query",) * num_queries,
        video_ids=tuple(map(str, range(num_queries))),
        durations=np.full(num_queries, 2.0 * CLIPS),
        windows=Ragged.of(windows, width=2),
        saliency=Ragged.of(saliency, width=3),
    )


def made_predictions(truth: MomentTruth) -> tuple[Ragged, Ragged]:
    """Ten windows each, some near the true ones; some scores are equal."""
    rng = np.random.default_rng(1)
    rows = []
    for query in range(len(truth)):
        near = rng.choice(truth.windows[query], 10) + rng.normal(0, 6, (10, 2))
        near = np.sort(np.clip(2 * np.round(near / 2), 0, 2 * CLIPS), axis=1)
        rows.append(np.column_stack([near, np.sort(rng.random(10).round(2))[::-1]]))
    return Ragged.of(rows, width=3), Ragged.of([rng.random(CLIPS).round(2) for _ in range(len(truth))])


def print_floors(truth: MomentTruth) -> None:
    """The whole video, and its middle half."""
    for name, start, end in (("whole video", 0.0, 1.0), ("middle half", 0.25, 0.75)):
        rows = np.column_stack([start * truth.durations, end * truth.durations, np.ones(len(truth))])
        scores = score_moments(truth, Ragged(rows, np.arange(len(truth) + 1)))
        full = scores.groups["full"]
        print(
            f"{name}: {full.percent('R1@0.5'):.2f} / {full.percent('R1@0.7'):.2f} / {full.percent('mAP'):.2f}"
        )


def print_conventions(truth: MomentTruth, windows: Ragged, saliency: Ragged | None) -> None:
    """A row per convention; then the windows of every query in random order."""
    rng = np.random.default_rng(0)
    shuffled = Ragged.of([rng.permutation(windows[query]) for query in range(len(truth))], width=3)
    rows: list[tuple[str, Conventions, Ragged]] = [
        ("QVHighlights'", Conventions(), windows),
        ("first scored", Conventions(first="scored"), windows),
        ("max windows 5", Conventions(max_windows=5), windows),
        ("max windows 1", Conventions(max_windows=1), windows),
        ("ties optimistic", Conventions(ties="optimistic"), windows),
        ("ties pessimistic", Conventions(ties="pessimistic"), windows),
        ("ap plain", Conventions(ap="plain"), windows),
        ("shuffled", Conventions(), shuffled),
        ("shuffled, scored", Conventions(first="scored"), shuffled),
    ]
    names, levels = (
        ("R1@0.5", "R1@0.7", "R5@0.5", "mIoU", "mAP"),
        ("Good mAP", "Good HIT@1", "VeryGood HIT@1"),
    )
    print(f"{'':18}", *(f"{name:>8}" for name in names), *(f"{level:>15}" for level in levels))
    for label, how, given in rows:
        scores = score_moments(truth, given, saliency, conventions=how)
        full, highlights = scores.groups["full"], scores.highlights
        clips = [] if highlights is None else [f"{highlights.percent(level):15.2f}" for level in levels]
        print(f"{label:18}", *(f"{full.percent(name):8.2f}" for name in names), *clips)


def largest_difference(one: dict[str, Any], other: dict[str, Any]) -> float:
    """Over all numbers of two nested results; those of no query are NaN on both sides."""
    assert one.keys() == other.keys()
    found = [0.0]
    for key, value in one.items():
        if isinstance(value, dict):
            found.append(largest_difference(value, other[key]))
        elif not (np.isnan(value) and np.isnan(other[key])):
            found.append(abs(value - other[key]))
    return max(found)


def in_loops(truth: MomentTruth, windows: Ragged, saliency: Ragged | None) -> dict[str, Any]:
    """The same numbers, one after the other, by QVHighlights' conventions."""
    body: dict[str, Any] = {"brief": {}}
    for group, (above, up_to) in LENGTHS.items():
        recalls: dict[float, list[float]] = {iou: [] for iou in AP_IOUS}
        precisions: dict[float, list[float]] = {iou: [] for iou in AP_IOUS}
        for query in range(len(truth)):
            true = [
                window for window in truth.windows[query].tolist() if above < window[1] - window[0] <= up_to
            ]
            if not true:
                continue
            listed = windows[query].tolist()[: Conventions().max_windows]
            best = max((overlap(listed[0], window) for window in true), default=0.0) if listed else 0.0
            ranked = sorted(listed, key=lambda window: -window[2])
            for iou in AP_IOUS:
                recalls[iou].append(float(best >= iou))
                precisions[iou].append(window_precision(ranked, true, iou))
        ap = {f"{iou:g}": percent(precisions[iou]) for iou in AP_IOUS}
        ap["average"] = float(np.mean([ap[f"{iou:g}"] for iou in AP_IOUS]))
        body[group] = {"MR-mAP": ap, "MR-R1": {f"{iou:g}": percent(recalls[iou]) for iou in AP_IOUS}}
    if saliency is not None and truth.saliency is not None:
        body.update(highlights_in_loops(truth.saliency, saliency))
    body["brief"] = brief(body)
    return body


def percent(values: list[float]) -> float:
    return 100 * float(np.mean(values)) if values else float("nan")


def overlap(one: list[float], other: list[float]) -> float:
    shared = max(0.0, min(one[1], other[1]) - max(one[0], other[0]))
    span = max(one[1], other[1]) - min(one[0], other[0])
    return shared / span if span else 0.0


def window_precision(ranked: list[list[float]], true: list[list[float]], iou: float) -> float:
    """Area under the curve that is made monotone from its end."""
    taken = [False] * len(true)
    hits = []
    for window in ranked:
        fits = sorted(
            ((overlap(window, target), place) for place, target in enumerate(true) if not taken[place]),
            reverse=True,
        )
        is_hit = bool(fits) and fits[0][0] >= iou
        hits.append(is_hit)
        if is_hit:
            taken[fits[0][1]] = True
    area, best = 0.0, 0.0
    for place in reversed(range(len(hits))):
        best = max(best, sum(hits[: place + 1]) / (place + 1))
        if hits[place]:
            area += best / len(true)
    return area


def highlights_in_loops(true: Ragged, predicted: Ragged) -> dict[str, Any]:
    body = {}
    for level, least in SALIENCY_LEVELS.items():
        precisions, hits = [], []
        for query in range(len(true)):
            good = true[query] >= least
            guessed = predicted[query]
            place = int(np.argmax(guessed))
            hits.append(float(place < len(good) and good[place].any()))
            guessed = np.pad(guessed, (0, max(0, len(good) - len(guessed))))[: len(good)]
            precisions += [clip_precision(good[:, who], guessed) for who in range(good.shape[1])]
        body[f"HL-min-{level}"] = {"HL-mAP": percent(precisions), "HL-Hit1": percent(hits)}
    return body


def clip_precision(good: np.ndarray, guessed: np.ndarray) -> float:
    """The mean over the thresholds at which a good clip comes in."""
    found, best = [], 0.0
    for threshold in np.unique(guessed):  # the lowest first: all clips
        is_in = guessed >= threshold
        best = max(best, good[is_in].mean())
        if good[guessed == threshold].any():
            found.append(best)
    return float(np.mean(found)) if found else 0.0


def brief(body: dict[str, Any]) -> dict[str, float]:
    rows = {f"MR-full-R1@{iou}": body["full"]["MR-R1"][iou] for iou in ("0.5", "0.7")}
    rows["MR-full-mAP"] = body["full"]["MR-mAP"]["average"]
    rows |= {f"MR-full-mAP@{iou}": body["full"]["MR-mAP"][iou] for iou in ("0.5", "0.75")}
    rows |= {f"MR-{name}-mAP": body[name]["MR-mAP"]["average"] for name in ("long", "middle", "short")}
    for level in SALIENCY_LEVELS:
        for name, value in body.get(f"HL-min-{level}", {}).items():
            rows[f"HL-min-{level}-{name.removeprefix('HL-')}"] = value
    return rows


if __name__ == "__main__":
    main()
