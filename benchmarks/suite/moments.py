"""Metrics of moments: all queries at once, beside QVHighlights' loops over queries, windows and thresholds."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator

from moment_metrics import in_loops, largest_difference, made_predictions, made_truth

from suite.measure import Row, take_turns
from vtrcli.moments.metrics import reference_metrics, score_moments


def rows(options: Namespace) -> Iterator[Row]:
    truth = made_truth(options.moment_queries)
    windows, saliency = made_predictions(truth)
    ours = reference_metrics(score_moments(truth, windows, saliency))
    assert largest_difference(ours, in_loops(truth, windows, saliency)) < 0.00501, "the two ways differ"
    found = take_turns(
        {
            "score_moments": lambda: score_moments(truth, windows, saliency),
            "loops over queries, windows and thresholds": lambda: in_loops(truth, windows, saliency),
        },
        rounds=3,
    )
    first, peer = found.values()
    yield Row(
        f"all metrics of {len(truth):,} queries for moments",
        first,
        [peer],
        notes=["the same numbers to two decimals, checked first"],
    )
