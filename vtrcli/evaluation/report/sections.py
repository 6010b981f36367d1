"""The sections of the page: recall and ranks, worst queries and hubs, temperature and arrivals, groups of texts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from vtrcli.evaluation.evaluate import EvaluationResult
from vtrcli.evaluation.report.charts import Axes, Line, bar_chart, line_chart
from vtrcli.evaluation.report.findings import (
    MAX_CATEGORIES,
    Group,
    Hubs,
    WorstQuery,
    plain_and_first,
    range_names,
    rank_bins,
    rank_shares,
    recall_curve,
    skewness,
)
from vtrcli.evaluation.report.parts import (
    DIRECTION_NAMES,
    DIRECTIONS,
    Videos,
    chart_pair,
    color_of,
    directions,
    label,
    legend,
    legend_of,
    percent,
    rank_text,
    section,
    with_interval,
)
from vtrcli.html import Html, join, table, tag
from vtrcli.ranking.evaluate import Arrival
from vtrcli.ranking.methods import MethodName
from vtrcli.ranking.metrics import Direction, DirectionMetrics, Over

_HUB_BINS = (0, 2, 5, 10, 15, 20, 30, 50, 100, 200, 500, 1000)
# Numbers of one direction in the tables, and with how many decimals they are shown and compared.
_RECALLS = (1, 5, 10)
_COLUMNS = (*(f"R@{k}" for k in _RECALLS), "MdR", "MnR")
_DECIMALS = (1, 1, 1, 1, 2)

Points = Mapping[tuple[MethodName, Direction], list[tuple[float, float]]]


def worst_section(result: EvaluationResult, worst: Sequence[WorstQuery], videos: Videos) -> Html:
    """The texts that failed most, with the right video and what was found instead."""
    if not worst:
        return section("Worst queries", "Every text found its right video first.")
    corrected = plain_and_first(result)[-1]
    how = (
        "The texts whose right video stands furthest behind on plain scores, one text per video, and what was "
        "found instead: a look at them tells a wrong caption from a wrong model."
    )
    numbered = (
        ""
        if result.inputs.texts
        else " Texts and videos have no names here: they are rows and columns, from 0."
    )
    return section(
        "Worst queries",
        how + numbered,
        *(_query(query, videos, label(corrected, result.inputs)) for query in worst),
    )


def _query(query: WorstQuery, videos: Videos, corrected_name: str) -> Html:
    ranks = f"rank {rank_text(query.rank)} plain"
    if query.corrected_rank is not None:
        ranks += f", {rank_text(query.corrected_rank)} with {corrected_name}"
    others = f" (and {len(query.right) - 1} more)" if len(query.right) > 1 else ""
    right = _video(videos, query.right[0], f"right{others}", class_="right")
    found = [_video(videos, video, f"found {place}") for place, video in enumerate(query.found, start=1)]
    return tag(
        "div",
        tag("p", tag("q", videos.text(query.text)), tag("small", ranks)),
        tag("div", right, *found, class_="videos"),
        class_="query",
    )


def _video(videos: Videos, video: int, place: str, *, class_: str | None = None) -> Html:
    caption = tag("figcaption", tag("b", place), ": ", videos.name(video))
    return tag("figure", videos.picture(video), caption, class_=class_)


def hub_section(result: EvaluationResult, hubs: Hubs | None, videos: Videos) -> Html:
    """How often each video is found, before and after the first correction."""
    if hubs is None:
        return section("Hubs", "There are too few videos to tell hubs: most of them are in every list.")
    evaluations = plain_and_first(result)
    counts = [hubs.plain] if hubs.corrected is None else [hubs.plain, hubs.corrected]
    edges = [edge for edge in _HUB_BINS if edge < max(map(np.max, counts))] + [int(max(map(np.max, counts)))]
    series = [
        (
            color_of(evaluation.method),
            (100 * np.bincount(np.searchsorted(edges, count), minlength=len(edges)) / len(count)).tolist(),
        )
        for evaluation, count in zip(evaluations, counts, strict=True)
    ]
    axes = Axes(
        x_label=f"number of texts that have the video in their first {hubs.k}",
        y_label="videos, %",
        description=f"How many videos are in the first {hubs.k} of how many texts",
    )
    chart = bar_chart(range_names(edges, first=0), series, axes)
    fair = hubs.k * result.inputs.truth.num_texts / result.inputs.truth.num_videos
    how = (
        f"In how many texts' first {hubs.k} each video is. Evenly spread it would be {fair:.1f} for every video; "
        "hubs, at the right, are found for almost anything, and videos at 0 are never found."
    )
    left = ("All videos", chart)
    right = ("In figures", _hub_figures(result, counts))
    pair = chart_pair([left, right], legend(evaluations, result.inputs))
    return section(
        "Hubs", how, pair, tag("h3", "The largest hubs on plain scores"), _hub_table(result, hubs, videos)
    )


def _hub_figures(result: EvaluationResult, counts: Sequence[np.ndarray]) -> Html:
    evaluations = plain_and_first(result)
    rows = [
        ["never found, % of the videos", *(percent(100 * float(np.mean(count == 0))) for count in counts)],
        ["most often found, texts", *(f"{count.max():,}" for count in counts)],
        ["skewness (large: a few hubs)", *(f"{skewness(count):.2f}" for count in counts)],
    ]
    return table(["", *(label(evaluation, result.inputs) for evaluation in evaluations)], rows)


def _hub_table(result: EvaluationResult, hubs: Hubs, videos: Videos) -> Html:
    own = np.bincount(result.inputs.truth.video_index, minlength=result.inputs.truth.num_videos)
    names = [label(evaluation, result.inputs) for evaluation in plain_and_first(result)]
    rows = [
        [
            tag("div", videos.picture(video), tag("span", videos.name(video), class_="name"), class_="hub"),
            *(f"{count[video]:,}" for count in (hubs.plain, hubs.corrected) if count is not None),
            f"{own[video]:,}",
        ]
        for video in hubs.worst
    ]
    return table(["video", *(f"found, {name}" for name in names), "own texts"], rows)


def group_section(result: EvaluationResult, groups: Sequence[Group], *, title: str, column: str) -> Html:
    """Text to video for some of the texts each; nothing where there are no groups."""
    if not groups:
        return Html()
    evaluations = plain_and_first(result)
    names = [label(evaluation, result.inputs) for evaluation in evaluations]
    how = (
        "Text to video, for some of the texts each; below R@1 stands its 95 % interval. Groups of few texts have wide "
        f"ones: differences within them mean nothing. At most {MAX_CATEGORIES} groups are shown."
    )
    colors = [color_of(evaluation.method) for evaluation in evaluations]
    rows = [_group_row(group, colors) for group in groups]
    head = [
        column,
        "texts",
        *(f"{name}: {what}" for name in names for what in ("R@1", "R@10", "MdR")),
    ]
    return section(title, how, table(head, rows))


def _group_row(group: Group, colors: Sequence[int]) -> list[object]:
    cells: list[object] = []
    for metrics, color in zip(group.metrics, colors, strict=True):
        cells += [_recall_cell(metrics, color), percent(metrics.recall[10]), rank_text(metrics.median_rank)]
    name = tag("span", group.name, class_="name")
    return [name, f"{group.metrics[0].num_queries:,}", *cells]


def _recall_cell(metrics: DirectionMetrics, color: int) -> Html:
    filled = tag("span", style=f"width: {metrics.recall[1]:.1f}%; background: var(--series-{color})")
    value = with_interval(metrics.recall[1], metrics.recall_ci95.get(1))
    return join([value, tag("span", filled, class_="bar")])


def curve_section(result: EvaluationResult) -> Html:
    """R@k over k."""
    charts = []
    for direction in directions(result):
        lines = []
        for evaluation in result.evaluations:
            metrics = evaluation.of(direction)
            if metrics is None:
                continue
            k, recall = recall_curve(metrics, num_items=_num_items(result, direction), ties=evaluation.ties)
            color = color_of(evaluation.method)
            lines.append(Line(x=k, y=recall, color=color, dashed=evaluation.uses_bank))
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
    for direction in directions(result):
        edges = rank_bins(_num_items(result, direction))
        series = [
            (color_of(evaluation.method), rank_shares(metrics, edges))
            for evaluation in evaluations
            if (metrics := evaluation.of(direction)) is not None
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
    metrics = result.evaluations[0].of(direction)
    return "videos" if metrics is None else metrics.over


def _num_items(result: EvaluationResult, direction: Direction) -> int:
    truth = result.inputs.truth
    if direction == "t2v":
        return truth.num_videos
    return len(truth.videos_with_text) if _items(result, direction) == "videos" else truth.num_texts


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
        plain = result.evaluations[0].of(direction)
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
