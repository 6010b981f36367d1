"""`write_report`: one self-contained HTML page about an evaluation. Loads nothing, runs no script, sends nothing."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from vtrcli import __version__
from vtrcli.evaluation.report.findings import by_category, by_length, hubs, top_lists, worst_queries
from vtrcli.evaluation.report.lists import group_section, hub_section, worst_section
from vtrcli.evaluation.report.parts import Videos
from vtrcli.evaluation.report.pictures import curve_section, rank_section
from vtrcli.evaluation.report.series import arrival_section, sweep_section
from vtrcli.evaluation.report.summary import facts, notes, result_section, tiles
from vtrcli.evaluation.run import EvaluationResult
from vtrcli.files import write_whole
from vtrcli.html import tag
from vtrcli.page import document

# The colours of the charts are there too.
_STYLE = Path(__file__).with_name("report.css")


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
