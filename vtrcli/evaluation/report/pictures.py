"""The sections that are drawn of ranks alone: recall curves and the rank histogram."""

from __future__ import annotations

from vtrcli.evaluation.report.charts import Axes, Line, bar_chart, line_chart
from vtrcli.evaluation.report.findings import (
    direction_of,
    plain_and_first,
    range_names,
    rank_bins,
    rank_shares,
    recall_curve,
    uses_bank,
)
from vtrcli.evaluation.report.parts import (
    DIRECTION_NAMES,
    DIRECTIONS,
    chart_pair,
    color_of,
    legend,
    section,
)
from vtrcli.evaluation.run import EvaluationResult
from vtrcli.html import Html
from vtrcli.ranking.metrics import Direction, Over


def curve_section(result: EvaluationResult) -> Html:
    """R@k over k."""
    charts = []
    for direction in DIRECTIONS:
        lines = []
        for evaluation in result.evaluations:
            metrics = direction_of(evaluation, direction)
            if metrics is None:
                continue
            k, recall = recall_curve(metrics, num_items=_num_items(result, direction), ties=evaluation.ties)
            color = color_of(evaluation.method)
            lines.append(Line(x=k, y=recall, color=color, dashed=uses_bank(evaluation)))
        axes = Axes(
            x_label=f"k (first {_items(result, direction)} looked at)",
            y_label="R@k, %",
            description=f"Recall over k, {DIRECTION_NAMES[direction].lower()}",
            log_x=True,
            y_limits=(0, 100),
        )
        charts.append((DIRECTION_NAMES[direction], line_chart(lines, axes)))
    how = (
        "How many queries have their right answer among the first k, for every k: the higher and the further left "
        "a line rises, the better."
    )
    return section("Recall at every k", how, chart_pair(charts, legend(result.evaluations, result.inputs)))


def rank_section(result: EvaluationResult) -> Html:
    """Histogram of the ranks, plain and with the first correction."""
    evaluations = plain_and_first(result)
    charts = []
    for direction in DIRECTIONS:
        edges = rank_bins(_num_items(result, direction))
        series = [
            (color_of(evaluation.method), rank_shares(metrics, edges))
            for evaluation in evaluations
            if (metrics := direction_of(evaluation, direction)) is not None
        ]
        axes = Axes(
            x_label="rank of the right answer",
            y_label="queries, %",
            description=f"Histogram of the ranks, {DIRECTION_NAMES[direction].lower()}",
        )
        charts.append((DIRECTION_NAMES[direction], bar_chart(range_names(edges), series, axes)))
    how = (
        "Where the right answer stands: bars at the left are good, bars at the right are queries that failed."
    )
    return section("Ranks", how, chart_pair(charts, legend(evaluations, result.inputs)))


def _items(result: EvaluationResult, direction: Direction) -> Over:
    """What the ranks of a direction count."""
    metrics = direction_of(result.evaluations[0], direction)
    return "videos" if metrics is None else metrics.over


def _num_items(result: EvaluationResult, direction: Direction) -> int:
    truth = result.inputs.truth
    if direction == "t2v":
        return truth.num_videos
    return len(truth.videos_with_text) if _items(result, direction) == "videos" else truth.num_texts
