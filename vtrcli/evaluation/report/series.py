"""The sections about what a correction depends on: its temperature, and how many queries come at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from vtrcli.evaluation.report.charts import Axes, Line, line_chart
from vtrcli.evaluation.report.findings import direction_of
from vtrcli.evaluation.report.parts import (
    DIRECTION_NAMES,
    DIRECTIONS,
    chart_pair,
    color_of,
    legend_of,
    section,
)
from vtrcli.evaluation.run import EvaluationResult
from vtrcli.html import Html, table, tag
from vtrcli.ranking.arrivals import Arrival
from vtrcli.ranking.methods import MethodName
from vtrcli.ranking.metrics import Direction, DirectionMetrics

# Numbers of one direction in the tables, and with how many decimals they are shown and compared.
_RECALLS = (1, 5, 10)
_COLUMNS = (*(f"R@{k}" for k in _RECALLS), "MdR", "MnR")
_DECIMALS = (1, 1, 1, 1, 2)

Points = Mapping[tuple[MethodName, Direction], list[tuple[float, float]]]


def sweep_section(result: EvaluationResult) -> Html:
    """R@1 over the temperature; nothing where none was asked for."""
    if not result.sweeps:
        return Html()
    rows = [
        (method, evaluation.temperature or 0.0, (evaluation.t2v, evaluation.v2t))
        for method, evaluations in result.sweeps.items()
        for evaluation in evaluations
    ]
    points = {
        (method, direction): sorted(
            (temperature, metrics.recall[1])
            for its_method, temperature, both in rows
            if its_method == method and (metrics := both[place]) is not None
        )
        for method in result.sweeps
        for place, direction in enumerate(DIRECTIONS)
    }
    how = (
        "R@1 for each temperature; the dashed line is no correction. The best point of this curve was found on the "
        "test queries: choose a temperature on a validation split."
    )
    plain = result.evaluations[0]
    return section(
        "Temperature",
        how,
        _curves(result, points, "temperature"),
        _details((plain.t2v, plain.v2t), "T", rows),
    )


def arrival_section(result: EvaluationResult) -> Html:
    """R@1 over the number of queries that come at once; nothing where none was asked for."""
    if not result.arrivals:
        return Html()
    plain = result.evaluations[0]
    num_queries = {each.direction: each.num_queries for each in (plain.t2v, plain.v2t) if each}
    points = {
        key: sorted((float(min(each.batch_size, num_queries[key[1]])), each.recall[1]) for each in found)
        for key, found in result.arrivals.items()
    }
    rows = [
        (method, t2v.batch_size, (t2v, v2t))
        for method in dict.fromkeys(method for method, _ in result.arrivals)
        for t2v, v2t in zip(result.arrivals[method, "t2v"], result.arrivals[method, "v2t"], strict=True)
    ]
    how = (
        "R@1 when the queries come in batches of this size instead of all at once (mean over several shuffles); the "
        "dashed line is no correction. Where a line is below it, the correction does harm at that size."
    )
    return section(
        "Arrivals",
        how,
        _curves(result, points, "queries in a batch"),
        _details((plain.t2v, plain.v2t), "batch", rows),
    )


def _curves(
    result: EvaluationResult,
    points: Points,
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
    plain: tuple[DirectionMetrics, DirectionMetrics | None],
    first_column: str,
    rows: Iterable[tuple[MethodName, float, tuple[DirectionMetrics | Arrival | None, ...]]],
) -> Html:
    """All numbers, those that are worse than plain marked."""
    none = [_numbers(metrics) for metrics in plain]
    written: list[list[object]] = [["none (plain)", "–", *_cells(none, none)]]
    for method, value, both in rows:
        written.append([method, f"{value:,g}", *_cells([_numbers(each) for each in both], none)])
    columns = [f"{direction} {name}" for direction in DIRECTIONS for name in _COLUMNS]
    remark = tag("p", "In red: worse than no correction.", class_="quiet")
    whole = table(["method", first_column, *columns], written)
    return tag("details", tag("summary", "All numbers"), remark, whole, open="")


def _numbers(metrics: DirectionMetrics | Arrival | None) -> list[float] | None:
    if metrics is None:
        return None
    return [*(metrics.recall[k] for k in _RECALLS), metrics.median_rank, metrics.mean_rank]


def _cells(both: list[list[float] | None], plain: list[list[float] | None]) -> list[object]:
    cells: list[object] = []
    for numbers, others in zip(both, plain, strict=True):
        if numbers is None or others is None:
            cells += ["–"] * len(_COLUMNS)
            continue
        for place, (number, other) in enumerate(zip(numbers, others, strict=True)):
            decimals = _DECIMALS[place]
            gain = round(number, decimals) - round(other, decimals)
            is_worse = gain < 0 if place < len(_RECALLS) else gain > 0
            cells.append(tag("span", f"{number:,.{decimals}f}", class_="worse" if is_worse else None))
    return cells
