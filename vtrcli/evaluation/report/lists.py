"""The sections that name texts and videos: worst queries, hubs, groups of texts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vtrcli.evaluation.report.charts import Axes, bar_chart
from vtrcli.evaluation.report.findings import (
    MAX_CATEGORIES,
    Group,
    Hubs,
    WorstQuery,
    label,
    plain_and_first,
    range_names,
    skewness,
)
from vtrcli.evaluation.report.parts import (
    Videos,
    chart_pair,
    color_of,
    legend,
    percent,
    rank_text,
    section,
    with_interval,
)
from vtrcli.evaluation.run import EvaluationResult
from vtrcli.html import Html, join, table, tag
from vtrcli.ranking.metrics import DirectionMetrics

_HUB_BINS = (0, 2, 5, 10, 15, 20, 30, 50, 100, 200, 500, 1000)


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
