"""The sections that are drawn: recall curves, rank histogram, temperature sweep, arrivals."""

from __future__ import annotations

from collections.abc import Sequence

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
from vtrcli.evaluation.report.html import Html, table, tag
from vtrcli.evaluation.report.parts import (
    DIRECTION_NAMES,
    DIRECTIONS,
    chart_pair,
    color_of,
    legend,
    legend_of,
    percent,
    section,
)
from vtrcli.evaluation.run import EvaluationResult
from vtrcli.retrieval.methods import MethodName
from vtrcli.retrieval.metrics import Direction, DirectionMetrics

ITEMS: dict[Direction, str] = {"t2v": "videos", "v2t": "texts"}


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
            x_label=f"k (first {ITEMS[direction]} looked at)",
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


def sweep_section(result: EvaluationResult) -> Html:
    """R@1 over the temperature; nothing where none was asked for."""
    if not result.sweeps:
        return Html()
    points = {
        (method, direction): [
            (evaluation.temperature or 0.0, metrics.recall[1])
            for evaluation in sorted(evaluations, key=lambda each: each.temperature or 0.0)
            if (metrics := direction_of(evaluation, direction)) is not None
        ]
        for method, evaluations in result.sweeps.items()
        for direction in DIRECTIONS
    }
    rows = [
        [method, f"{evaluation.temperature:g}", *_cells(evaluation.t2v), *_cells(evaluation.v2t)]
        for method, evaluations in result.sweeps.items()
        for evaluation in evaluations
    ]
    how = (
        "R@1 for each temperature; the dashed line is no correction. The best point of this curve was found on the "
        "test queries: choose a temperature on a validation split."
    )
    return section(
        "Temperature",
        how,
        _curves(result, points, "temperature"),
        _details(result, ["method", "T"], rows),
    )


def arrival_section(result: EvaluationResult) -> Html:
    """R@1 over the number of queries that come at once; nothing where none was asked for."""
    if not result.arrivals:
        return Html()
    points = {
        key: sorted(
            (float(min(each.batch_size, _num_queries(result, key[1]))), each.recall[1]) for each in found
        )
        for key, found in result.arrivals.items()
    }
    methods = dict.fromkeys(method for method, _ in result.arrivals)
    rows = []
    for method in methods:
        pairs = zip(result.arrivals[method, "t2v"], result.arrivals[method, "v2t"], strict=True)
        for t2v, v2t in pairs:
            values = [_values(each.recall, each.median_rank, each.mean_rank) for each in (t2v, v2t)]
            rows.append([method, f"{t2v.batch_size:,}", *values[0], *values[1]])
    how = (
        "R@1 when the queries come in batches of this size instead of all at once (mean over several shuffles); the "
        "dashed line is no correction. Where a line is below it, the correction does harm at that size."
    )
    return section(
        "Arrivals",
        how,
        _curves(result, points, "queries in a batch"),
        _details(result, ["method", "batch"], rows, is_open=True),
    )


def _curves(
    result: EvaluationResult,
    points: dict[tuple[MethodName, Direction], list[tuple[float, float]]],
    x_label: str,
) -> Html:
    charts = []
    for direction in DIRECTIONS:
        lines = [
            Line(x=[x for x, _ in found], y=[y for _, y in found], color=color_of(method), marked=True)
            for (method, its_direction), found in points.items()
            if its_direction == direction
        ]
        plain = direction_of(result.evaluations[0], direction)
        across = [x for line in lines for x in line.x]
        if plain is not None:
            ends = [min(across), max(across)]
            lines.insert(0, Line(x=ends, y=[plain.recall[1]] * 2, color=color_of("none"), dashed=True))
        name = DIRECTION_NAMES[direction]
        axes = Axes(
            x_label=x_label, y_label="R@1, %", description=f"R@1 by {x_label}, {name.lower()}", log_x=True
        )
        charts.append((name, line_chart(lines, axes)))
    methods = dict.fromkeys(method for method, _ in points)
    entries = [("plain", color_of("none"), True), *((name, color_of(name), False) for name in methods)]
    return chart_pair(charts, legend_of(entries))


def _details(
    result: EvaluationResult, names: list[str], rows: Sequence[Sequence[object]], *, is_open: bool = False
) -> Html:
    plain = result.evaluations[0]
    first = ["none (plain)", "–", *_cells(plain.t2v), *_cells(plain.v2t)]
    columns = [
        f"{direction} {name}" for direction in DIRECTIONS for name in ("R@1", "R@5", "R@10", "MdR", "MnR")
    ]
    flagged = [[*row[:2], *_flag(row[2:], first[2:])] for row in rows]
    whole = table([*names, *columns], [first, *flagged])
    remark = tag("p", "In red: worse than no correction.", class_="quiet")
    opened = {"open": ""} if is_open else {}
    return tag("details", tag("summary", "All numbers"), remark, whole, **opened)


def _cells(metrics: DirectionMetrics | None) -> list[str]:
    if metrics is None:
        return ["–"] * 5
    return _values(metrics.recall, metrics.median_rank, metrics.mean_rank)


def _values(recall: dict[int, float], median_rank: float, mean_rank: float) -> list[str]:
    return [*(percent(recall[k]) for k in (1, 5, 10)), f"{median_rank:g}", f"{mean_rank:.2f}"]


def _flag(values: Sequence[object], plain: Sequence[object]) -> list[object]:
    """Mark what is worse than plain: recalls lower, ranks higher."""
    return [
        tag("span", value, class_="worse")
        if _is_worse(str(value), str(other), is_rank=column % 5 > 2)
        else value
        for column, (value, other) in enumerate(zip(values, plain, strict=True))
    ]


def _is_worse(value: str, plain: str, *, is_rank: bool) -> bool:
    if "–" in (value, plain):
        return False
    difference = float(value) - float(plain)
    return difference > 0 if is_rank else difference < 0


def _num_items(result: EvaluationResult, direction: Direction) -> int:
    truth = result.inputs.truth
    return truth.num_videos if direction == "t2v" else truth.num_texts


def _num_queries(result: EvaluationResult, direction: Direction) -> int:
    plain = direction_of(result.evaluations[0], direction)
    return plain.num_queries if plain else 1
