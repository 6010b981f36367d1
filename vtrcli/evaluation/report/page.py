"""`write_report`: one self-contained HTML page about an evaluation. Loads nothing, runs no script, sends nothing.

Its top stands here: what was evaluated, the headline, the table of results, and what to know before quoting it.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from vtrcli import __version__
from vtrcli.evaluation.evaluate import SCALE_WORDS, EvaluationResult
from vtrcli.evaluation.protocol import SYSTEM, in_words
from vtrcli.evaluation.report.findings import (
    by_category,
    by_length,
    hubs,
    plain_and_first,
    recall_gain,
    top_lists,
    worst_queries,
)
from vtrcli.evaluation.report.parts import (
    DIRECTION_NAMES,
    DIRECTIONS,
    Videos,
    color_of,
    directions,
    label,
    rank_text,
    section,
    signed,
    swatch,
    with_interval,
)
from vtrcli.evaluation.report.sections import (
    arrival_section,
    curve_section,
    group_section,
    hub_section,
    rank_section,
    sweep_section,
    worst_section,
)
from vtrcli.files import write_whole
from vtrcli.html import Html, document, join, table, tag
from vtrcli.ranking.evaluate import Evaluation
from vtrcli.ranking.metrics import RECALL_AT, Direction, DirectionMetrics, Ties

# The colours of the charts are there too.
# Of the protocol; tokens and corrections have their own place.
_SYSTEM = tuple(name for name in SYSTEM if name not in ("max_tokens", "corrections"))
_STYLE = Path(__file__).with_name("report.css")
TIES_MEAN: dict[Ties, str] = {
    "average": "average: equal scores stand in random order",
    "optimistic": "optimistic: the right one stands first among equals",
    "pessimistic": "pessimistic: the right one stands last among equals",
}


def write_report(result: EvaluationResult, path: Path) -> None:
    """Write the page; it is there whole or not at all.

    Goes over all scores a few times more, block by block, for what was found instead of the right videos.

    Raises:
        StoreError: the page cannot be written, or the store's kept frames are damaged.
    """
    write_whole(path, report_html(result, written_at=datetime.now().astimezone()).encode("utf-8"))


def report_html(result: EvaluationResult, *, written_at: datetime) -> str:
    """The page as a string."""
    inputs = result.inputs
    tops = top_lists(result)
    videos = Videos(inputs)
    found = hubs(tops, num_videos=inputs.truth.num_videos)
    title = "Text-to-video retrieval" + (f" on {inputs.dataset}" if inputs.dataset else "")
    body = tag(
        "main",
        tag("header", tag("h1", title), tag("p", f"Model: {inputs.model}", class_="quiet")),
        tiles(result),
        facts(result, written_at=written_at, version=__version__),
        notes(result),
        result_section(result),
        curve_section(result),
        rank_section(result),
        worst_section(result, worst_queries(result, tops[0]), videos),
        hub_section(result, found, videos),
        sweep_section(result),
        arrival_section(result),
        group_section(result, by_length(result), title="By length of the text", column="words"),
        group_section(result, by_category(result), title="By category", column="category"),
        tag(
            "footer",
            f"Written by vtr {__version__}. This page is one file: it holds no script and loads nothing.",
        ),
    )
    return document(title, body, style="\n" + _STYLE.read_text(encoding="utf-8"))


def tiles(result: EvaluationResult) -> Html:
    """R@1 in both directions, plain and with the first correction."""
    return tag("div", *(_tile(result, direction) for direction in directions(result)), class_="tiles")


def _tile(result: EvaluationResult, direction: Direction) -> Html:
    numbers = []
    for evaluation in plain_and_first(result):
        metrics = evaluation.of(direction)
        if metrics is not None:
            name = join([swatch(color_of(evaluation.method)), label(evaluation, result.inputs)])
            numbers.append(tag("div", tag("span", f"{metrics.recall[1]:.1f} %", class_="big"), name))
    title = tag("div", f"{DIRECTION_NAMES[direction]}, R@1", class_="quiet")
    return tag("div", title, tag("div", *numbers, class_="pair"), class_="tile")


def facts(result: EvaluationResult, *, written_at: datetime, version: str) -> Html:
    """What was evaluated, and how."""
    inputs, plain = result.inputs, result.evaluations[0]
    ties = [f"{DIRECTION_NAMES[d].lower()} {m.num_ties:,}" for d in DIRECTIONS if (m := plain.of(d))]
    known = {name: value for name, value in result.protocol().items() if name in (*_SYSTEM, "fingerprint")}
    entries = {
        "data set": inputs.dataset or "not known",
        "split": inputs.split or "not known",
        "texts × videos": f"{plain.num_texts:,} × {plain.num_videos:,}",
        "read of a text": "no limit known" if inputs.max_tokens is None else f"{inputs.max_tokens} tokens",
        "ties": TIES_MEAN[plain.ties],
        "queries with ties, plain": ", ".join(ties),
        "logit scale": f"{plain.logit_scale:g} ({SCALE_WORDS[result.scale_from]})",
        **in_words(known),
        "written": f"{written_at:%Y-%m-%d %H:%M %Z}, vtr {version}",
    }
    pairs = [tag("div", tag("dt", name), tag("dd", value)) for name, value in entries.items()]
    return tag("dl", *pairs, class_="facts")


def notes(result: EvaluationResult) -> Html:
    """What to know before quoting a number."""
    if not result.notes:
        return Html()
    items = [tag("li", note) for note in result.notes]
    return tag("div", tag("strong", "Before you quote these numbers"), tag("ul", *items), class_="notes")


def result_section(result: EvaluationResult) -> Html:
    """One table per direction, the plain row first."""
    how = (
        "R@k is the share of queries, in percent, whose right answer is among the first k; below it stands its 95 % "
        "bootstrap interval, which draws videos with all their texts. MdR and MnR are the median and the mean rank, "
        "lower is better. Compare a correction by its gain: the interval there is that of the difference on the same "
        "queries."
    )
    transductive = any(evaluation.transductive for evaluation in result.evaluations)
    remark = (
        "A transductive row has looked at all test queries at once. It cannot be reached when queries come one by "
        "one, and must not be compared with plain numbers of others."
    )
    tables = [
        join([tag("h3", _table_name(result, direction)), _table(result, direction)])
        for direction in directions(result)
    ]
    return section("Results", how, *tables, tag("p", remark, class_="read") if transductive else "")


def _table_name(result: EvaluationResult, direction: Direction) -> str:
    """Where a video has several texts, what the ranks count is a part of it."""
    metrics = result.evaluations[0].of(direction)
    name = DIRECTION_NAMES[direction]
    if direction == "t2v" or metrics is None or not result.inputs.truth.has_several_texts:
        return name
    return f"{name}, ranks over {metrics.over}" + (" by their best text" if metrics.over == "videos" else "")


def _table(result: EvaluationResult, direction: Direction) -> Html:
    plain = result.evaluations[0].of(direction)
    rows = [
        _row(result, evaluation, metrics, plain)
        for evaluation in result.evaluations
        if (metrics := evaluation.of(direction)) and plain
    ]
    recalls = [f"R@{k}" for k in RECALL_AT]
    unlisted = ["not listed"] if plain and plain.num_unlisted is not None else []
    head = ["method", "T", "transductive", *recalls, "gain in R@1", "MdR", "MnR", "MRR", "ties", *unlisted]
    return table(head, rows, num_text_columns=3)


def _row(
    result: EvaluationResult, evaluation: Evaluation, metrics: DirectionMetrics, plain: DirectionMetrics
) -> list[object]:
    name: object = "none (plain)" if evaluation.method == "none" else evaluation.method
    if evaluation.uses_bank and result.inputs.bank is not None:
        name = join([name, tag("small", f"bank of {result.inputs.bank.shape[0]:,} texts")])
    return [
        tag("span", swatch(color_of(evaluation.method), dashed=evaluation.uses_bank), name, class_="method"),
        "–" if evaluation.temperature is None else f"{evaluation.temperature:g}",
        "yes" if evaluation.transductive else "no",
        *(with_interval(metrics.recall[k], metrics.recall_ci95.get(k)) for k in RECALL_AT),
        "" if metrics is plain else _gain(result, evaluation, metrics, plain),
        rank_text(metrics.median_rank),
        f"{metrics.mean_rank:,.2f}",
        f"{metrics.mrr:.3f}",
        f"{metrics.num_ties:,}",
        *([] if metrics.num_unlisted is None else [f"{metrics.num_unlisted:,}"]),
    ]


def _gain(
    result: EvaluationResult, evaluation: Evaluation, metrics: DirectionMetrics, plain: DirectionMetrics
) -> Html:
    gain, interval = recall_gain(plain, metrics, k=1, ties=evaluation.ties, options=result.options)
    value = tag("span", signed(gain), class_="worse" if gain < 0 else None)
    if interval is None:
        return value
    return join([value, tag("small", f"{signed(interval[0])} to {signed(interval[1])}")])
