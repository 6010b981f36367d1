"""`write_moment_report`: one self-contained HTML page about an evaluation of moments. Loads nothing, runs no script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np

from vtrcli import __version__
from vtrcli.evaluation.moments import MomentEvaluation
from vtrcli.evaluation.report.charts import Axes, Line, bar_chart, line_chart
from vtrcli.evaluation.report.parts import chart_pair, legend_of, section, with_interval
from vtrcli.evaluation.report.strips import strip, strips_of
from vtrcli.files import write_whole
from vtrcli.html import Html, document, join, shortened, table, tag
from vtrcli.moments.metrics import (
    AP_IOUS,
    CORPUS_AT,
    CORPUS_IOUS,
    SALIENCY_LEVELS,
    GroupName,
    MomentScores,
    Scores,
    ap_name,
    recall_name,
    window_ious,
)
from vtrcli.times import time_span

MAX_WORST = 12
MAX_TEXT_CHARACTERS = 240
MAX_ID_CHARACTERS = 90
NUM_BINS = 10
# As many as a page has room for with their intervals; `--json` has all.
SHOWN = ("R1@0.3", "R1@0.5", "R1@0.7", "R5@0.5", "R5@0.7", "mIoU", "mAP", "mAP@0.5", "mAP@0.75")
GROUP_NAMES = {"full": "all", "short": "up to 10 s", "middle": "10 to 30 s", "long": "over 30 s"}
CONVENTIONS = {
    "first": {"listed": "the first listed", "scored": "the best scored"},
    "ties": {
        "listed": "as listed",
        "optimistic": "the better one first",
        "pessimistic": "the worse one first",
    },
    "ap": {"interpolated": "interpolated", "plain": "not interpolated"},
}
_STYLE = Path(__file__).with_name("report.css")
_GROUP_COLORS = {"short": 5, "middle": 4, "long": 1, "full": 0}


def write_moment_report(result: MomentEvaluation, path: Path) -> None:
    """Write the page; it is there whole or not at all. Raises StoreError when it cannot be written."""
    write_whole(path, moment_report_html(result, written_at=datetime.now().astimezone()).encode("utf-8"))


def moment_report_html(result: MomentEvaluation, *, written_at: datetime) -> str:
    """The page as a string."""
    inputs = result.inputs
    title = "Moments" + (f" of {inputs.dataset}" if inputs.dataset else "")
    windows = []
    if result.scores is not None:
        worst = worst_queries(result)
        windows = [
            _window_section(result),
            _iou_section(result.scores),
            _worst_section(result, worst),
        ]
    body = tag(
        "main",
        tag("header", tag("h1", title), tag("p", f"Model: {inputs.model}", class_="quiet")),
        _tiles(result),
        _facts(result, written_at),
        _notes(result),
        *windows,
        _highlight_section(result),
        _corpus_section(result),
        tag(
            "footer",
            f"Written by vtr {__version__}. This page is one file: it holds no script and loads nothing.",
        ),
    )
    return document(title, body, style="\n" + _STYLE.read_text(encoding="utf-8"))


def _tiles(result: MomentEvaluation) -> Html:
    headline = [("full", name) for name in ("R1@0.5", "R1@0.7", "mAP", "mIoU")]
    if result.scores is None:
        headline = [("VCMR", "R1@0.5"), ("VCMR", "R1@0.7"), ("VR", "R1")]
    tiles = []
    for part, name in headline:
        scores = result.parts.get(part)
        if scores is None:
            continue
        ends = result.intervals.get(part, {}).get(name)
        below = tag("div", f"95 %: {ends[0]:.1f} – {ends[1]:.1f}", class_="quiet") if ends else Html()
        value = tag("div", tag("span", f"{scores.percent(name):.1f} %", class_="big"), below)
        label = name if part == "full" else f"{part} {name}"
        tiles.append(tag("div", tag("div", label, class_="quiet"), value, class_="tile"))
    return tag("div", *tiles, class_="tiles small")


def _facts(result: MomentEvaluation, written_at: datetime) -> Html:
    inputs, truth, how = result.inputs, result.inputs.predictions.truth, result.settings.conventions
    entries = {
        **({"data set": inputs.dataset} if inputs.dataset else {}),
        **({"split": inputs.split} if inputs.split else {}),
        "queries, videos": f"{len(truth):,}, {len(set(truth.video_ids)):,}",
        "true windows": f"{len(truth.windows.values):,}",
        "R@1 takes": CONVENTIONS["first"][how.first],
        "windows that count": "all" if how.max_windows is None else f"the first {how.max_windows}",
        "equal scores": CONVENTIONS["ties"][how.ties],
        "average precision": CONVENTIONS["ap"][how.ap],
        "written": f"{written_at:%Y-%m-%d %H:%M %Z}, vtr {__version__}",
    }
    pairs = [tag("div", tag("dt", name), tag("dd", value)) for name, value in entries.items()]
    return tag("dl", *pairs, class_="facts")


def _notes(result: MomentEvaluation) -> Html:
    if not result.notes:
        return Html()
    items = [tag("li", note) for note in result.notes]
    return tag("div", tag("strong", "Before you quote these numbers"), tag("ul", *items), class_="notes")


def _cells(result: MomentEvaluation, part: str, names: Sequence[str]) -> list[Html]:
    scores, ends = result.parts[part], result.intervals.get(part, {})
    return [with_interval(scores.percent(name), ends.get(name)) for name in names]


def _window_section(result: MomentEvaluation) -> Html:
    assert result.scores is not None
    how = (
        "R1@0.5 is the share of queries, in percent, whose first window has an IoU of at least 0.5 with a true one; R5 "
        "looks at five. mIoU is the mean IoU of the first window. mAP ranks all windows by their score, at one IoU or "
        "averaged from 0.5 to 0.95. A query counts in each length that one of its true windows has."
    )
    if result.intervals.get("full"):
        how += " Below stands the 95 % bootstrap interval, which draws videos with all their queries."
    groups = result.scores.groups
    rows = [
        [
            GROUP_NAMES[name],
            f"{groups[name].num_queries:,}",
            *_cells(result, name, SHOWN),
        ]
        for name in _shown(groups)
    ]
    return section("Windows, by length", how, table(["true windows", "queries", *SHOWN], rows))


def _shown(groups: Mapping[GroupName, Scores]) -> list[GroupName]:
    """All windows, and the lengths that there are; one length alone is all of them."""
    there = [name for name, scores in groups.items() if scores.num_queries]
    return there if len(there) > 2 else there[:1]


def _iou_section(scores: MomentScores) -> Html:
    how = (
        "How well the first window fits the true one. Much at 0 is a wrong place in the video; much between 0.3 and "
        "0.7 is the right place with wrong borders."
    )
    shown = _shown(scores.groups)
    shown = shown[1:] or shown
    names = ["0", *(f"{step / NUM_BINS:.1f}" for step in range(1, NUM_BINS + 1))]
    bars = [(_GROUP_COLORS[name], _iou_shares(scores.groups[name].values["mIoU"])) for name in shown]
    histogram = bar_chart(
        names,
        bars,
        Axes(
            x_label="IoU of the first window, up to",
            y_label="queries, %",
            description="How many queries have which IoU, by the length of the true windows",
        ),
    )
    full = scores.groups["full"]
    lines = [
        Line(x=AP_IOUS, y=[full.percent(name_of(iou)) for iou in AP_IOUS], color=color, marked=True)
        for color, name_of in ((1, lambda iou: recall_name(1, iou)), (3, ap_name))
    ]
    curve = line_chart(
        lines, Axes(x_label="IoU", y_label="%", description="R@1 and mAP by the IoU that is asked for")
    )
    legend = legend_of([(GROUP_NAMES[name], _GROUP_COLORS[name], False) for name in shown])
    second = legend_of([("R@1", 1, False), ("mAP", 3, False)])
    charts = chart_pair(
        [
            ("IoU of the first window", join([legend, histogram])),
            ("By the IoU asked for", join([second, curve])),
        ],
        Html(),
    )
    return section("How well it fits", how, charts)


def _iou_shares(ious: np.ndarray) -> list[float]:
    """Percent of the queries with an IoU of 0, and in each tenth above it."""
    bins = np.ceil(np.clip(ious, 0, 1) * NUM_BINS - 1e-9).astype(np.int64)
    shares: list[float] = (100 * np.bincount(bins, minlength=NUM_BINS + 1) / len(ious)).tolist()
    return shares


@dataclass(frozen=True)
class WorstQuery:
    """A query's number in the truth, the IoU of its first window, and the best of all its windows."""

    query: int
    iou: float
    best_iou: float


def worst_queries(result: MomentEvaluation) -> list[WorstQuery]:
    """Those whose first window fits worst; among equals those of which no other window fits better. Each video has its
    worst one before any has two."""
    assert result.scores is not None
    given = result.inputs.predictions
    assert given.windows is not None
    order = np.argsort(result.scores.best_ious, kind="stable").tolist()
    found: list[WorstQuery] = []
    for query in order:
        iou = float(result.scores.best_ious[query])
        if len(found) >= 20 * MAX_WORST and iou > found[-1].iou:
            break
        ious = window_ious(given.windows[query], given.truth.windows[query])
        found.append(WorstQuery(query, iou, float(ious.max(initial=0.0))))
    found.sort(key=lambda each: (each.iou, each.best_iou))
    seen: dict[str, int] = {}
    places = []
    for each in found:
        video_id = given.truth.video_ids[each.query]
        seen[video_id] = seen.get(video_id, 0) + 1
        places.append(seen[video_id])
    first = sorted(range(len(found)), key=places.__getitem__)
    return [found[number] for number in first if found[number].iou < 1][:MAX_WORST]


def _worst_section(result: MomentEvaluation, worst: Sequence[WorstQuery]) -> Html:
    if not worst:
        return section("Worst queries", "Every first window fits exactly.")
    given, ids = result.inputs.predictions, result.inputs.store_ids
    how = (
        "The queries whose first window fits worst, each video's worst one before its second. Above: the true windows; "
        "below: the first answer, and pale the others. A look at them tells a wrong place from wrong borders, and both "
        "from a wrong annotation."
    )
    pictures = strips_of(result.inputs.store, [ids[each.query] if ids else "" for each in worst])
    if not any(pictures):
        how += " Pictures come with --store, from the videos or the frames that it kept."
    legend = legend_of([("true", 3, False), ("first answer", 1, False), ("other answers", 0, False)])
    assert given.windows is not None
    queries = [_worst_query(result, each, uris) for each, uris in zip(worst, pictures, strict=True)]
    return section("Worst queries", how, legend, *queries)


def _worst_query(result: MomentEvaluation, worst: WorstQuery, pictures: Sequence[str | None]) -> Html:
    given, query = result.inputs.predictions, worst.query
    assert given.windows is not None
    truth, answers = given.truth, given.windows[query]
    if result.settings.conventions.first == "scored":
        answers = answers[np.argsort(-answers[:, 2], kind="stable")]
    answers = answers[: result.settings.conventions.max_windows]
    true = truth.windows[query]
    first = time_span(*answers[0, :2]) if len(answers) else "none"
    spans = ", ".join(time_span(*window) for window in true[:3]) + (" …" if len(true) > 3 else "")
    length = truth.durations[query]
    ends = [*true[:, 1], *answers[:, 1], 1.0]
    seconds = float(max(ends)) if np.isnan(length) else float(length)
    about = (
        f"IoU {worst.iou:.2f}, best of all windows {worst.best_iou:.2f} · true {spans} · first answer {first} · "
        f"{shortened(truth.video_ids[query], num_characters=MAX_ID_CHARACTERS)}"
    )
    text = shortened(truth.texts[query], num_characters=MAX_TEXT_CHARACTERS)
    return tag(
        "div",
        tag("p", tag("q", text), tag("small", about)),
        strip(pictures, seconds, true=true, answers=answers),
        class_="moment",
    )


def _highlight_section(result: MomentEvaluation) -> Html:
    if "highlights" not in result.parts:
        return Html()
    how = (
        "HIT@1: the clip with the highest saliency was given at least that word by one annotator. mAP: all clips "
        "ranked by their saliency, the mean over the annotators."
    )
    rows = [
        [level, *_cells(result, "highlights", (f"{level} mAP", f"{level} HIT@1"))]
        for level in SALIENCY_LEVELS
    ]
    return section("Highlights", how, table(["at least", "mAP", "HIT@1"], rows))


def _corpus_section(result: MomentEvaluation) -> Html:
    if not result.corpus:
        return Html()
    how = (
        "VCMR looks for the moment in all videos, SVMR in the right one, VR for the video alone: the share of "
        "queries, in percent, with a right answer among the first k."
    )
    rows: list[list[object]] = []
    for task in result.corpus:
        for iou in (None,) if task == "VR" else CORPUS_IOUS:
            names = [f"R{k}" if iou is None else recall_name(k, iou) for k in CORPUS_AT]
            rows.append([task, "–" if iou is None else f"{iou:g}", *_cells(result, task, names)])
    return section("Over all videos", how, table(["task", "IoU", *(f"R@{k}" for k in CORPUS_AT)], rows))
