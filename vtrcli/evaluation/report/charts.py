"""Charts as inline SVG, drawn by matplotlib. Text stays text, and colours are those of the page, light or dark.

No text from outside (captions, ids, categories) goes into a chart.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vtrcli.html import Html, tag

SIZE_INCHES = (4.6, 2.8)
NUM_COLORS = 8
# Colours that stand for the page's CSS variables; matplotlib writes them out as they are.
_INK, _GRID = "#010203", "#010204"
_SERIES = [f"#0102{16 + number:02x}" for number in range(NUM_COLORS)]
_VARIABLES = {_INK: "ink", _GRID: "line"} | {
    color: f"series-{number}" for number, color in enumerate(_SERIES)
}


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of a chart; `color` is a number below `NUM_COLORS`."""

    x: Sequence[float]
    y: Sequence[float]
    color: int
    dashed: bool = False
    marked: bool = False


@dataclass(frozen=True, kw_only=True)
class Axes:
    """What is drawn along the axes. `description` is read out instead of the picture."""

    x_label: str
    y_label: str
    description: str
    log_x: bool = False
    y_limits: tuple[float, float] | None = None


def line_chart(lines: Sequence[Line], axes: Axes) -> Html:
    """Lines over one horizontal axis."""
    figure, plot = _figure(axes)
    for line in lines:
        plot.plot(
            line.x,
            line.y,
            color=_SERIES[line.color],
            linestyle=(0, (4, 2)) if line.dashed else "solid",
            linewidth=1.2 if line.dashed else 1.6,
            marker="o" if line.marked else None,
            markersize=3,
            clip_on=False,  # a line at 100 % is drawn in its full width
        )
    return _svg(figure, axes)


def bar_chart(names: Sequence[str], series: Sequence[tuple[int, Sequence[float]]], axes: Axes) -> Html:
    """Groups of bars side by side: `series` holds (colour, one height per name)."""
    figure, plot = _figure(axes)
    width = 0.84 / len(series)
    for number, (color, heights) in enumerate(series):
        left = [group - 0.42 + number * width for group in range(len(names))]
        plot.bar(left, heights, width=width, align="edge", color=_SERIES[color])
    plot.set_xticks(range(len(names)), names)
    plot.tick_params(axis="x", labelsize=7)
    plot.grid(visible=False, axis="x")
    return _svg(figure, axes)


def _figure(axes: Axes) -> tuple[Any, Any]:
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure
    from matplotlib.ticker import StrMethodFormatter

    figure = Figure(figsize=SIZE_INCHES, layout="constrained")
    FigureCanvasSVG(figure)
    figure.patch.set_visible(False)
    plot = figure.add_subplot()
    plot.patch.set_visible(False)
    plot.set_axisbelow(True)
    plot.grid(color=_GRID, linewidth=0.6)
    plot.spines[["top", "right", "left"]].set_visible(False)
    plot.spines["bottom"].set_color(_GRID)
    plot.tick_params(which="both", length=0, labelcolor=_INK, labelsize=8)
    plot.set_xlabel(axes.x_label, color=_INK, fontsize=8.5)
    plot.set_ylabel(axes.y_label, color=_INK, fontsize=8.5)
    if axes.log_x:
        plot.set_xscale("log")
        plot.xaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
        plot.xaxis.set_minor_formatter("")
    if axes.y_limits:
        plot.set_ylim(axes.y_limits)
    return figure, plot


def _svg(figure: Any, axes: Axes) -> Html:
    """The drawing as an <svg> element of the page: without metadata, fonts, sizes and names that nothing refers to."""
    import matplotlib

    buffer = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    # The salt makes names within one picture differ from those of the others on the page.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": axes.description}):
        figure.savefig(buffer, format="svg", metadata=nothing)
    svg = buffer.getvalue()
    svg = svg[svg.index(">", svg.index("<svg")) + 1 : svg.rindex("</svg>")]
    used = set(re.findall(r"#([\w.]+)[\")]", svg))
    svg = re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in used else "", svg)
    svg = re.sub(r"font: ([\d.]+px)[^;]*;", r"font-size: \1;", svg)  # matplotlib before 3.10
    for unwanted in (r"<style.*?</style>", r"<metadata>.*?</metadata>", r"font-family: [^;]*; ", r"<g/>"):
        svg = re.sub(unwanted, "", svg, flags=re.DOTALL)
    for color, variable in _VARIABLES.items():
        svg = svg.replace(color, f"var(--{variable})")
    box = f"0 0 {SIZE_INCHES[0] * 72:g} {SIZE_INCHES[1] * 72:g}"
    return tag(
        "svg", Html(re.sub(r"\s*\n\s*", "\n", svg)), viewBox=box, role="img", aria_label=axes.description
    )
