from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

import pytest

from vtrcli.evaluation.report.charts import NUM_COLORS, Axes, Line, bar_chart, line_chart
from vtrcli.evaluation.report.parts import color_of
from vtrcli.ranking.methods import METHODS, Method

AXES = Axes(x_label="k", y_label="R@k, %", description="a <curve>", log_x=True, y_limits=(0, 100))
LINES = [
    Line(x=[1, 10, 100], y=[10, 50, 100], color=0),
    Line(x=[1, 10, 100], y=[20, 60, 100], color=1, dashed=True, marked=True),
]


def parsed(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(svg.replace("xlink:href", "href"))


def test_a_chart_is_well_formed_and_its_text_is_text() -> None:
    svg = line_chart(LINES, AXES)
    texts = ["".join(each.itertext()) for each in parsed(svg).iter() if each.tag == "text"]
    assert {"k", "R@k, %", "1", "10", "100"} <= set(texts)
    assert 'aria-label="a &lt;curve&gt;"' in svg


def test_a_chart_brings_no_colours_fonts_or_addresses_of_its_own() -> None:
    for svg in (line_chart(LINES, AXES), bar_chart(["1", "2–5"], [(0, [60, 40]), (1, [70, 30])], AXES)):
        assert not re.search(r"#[0-9a-f]{6}\b", svg)
        assert not re.search(r"https?:|font-family|<style|<metadata|<\?xml|DOCTYPE", svg)
        assert "var(--ink)" in svg and "var(--series-0)" in svg and "var(--series-1)" in svg


def test_names_within_charts_differ_from_chart_to_chart() -> None:
    def names(description: str) -> set[str]:
        axes = Axes(x_label="x", y_label="y", description=description)
        svg = line_chart(LINES, axes)
        defined = re.findall(r' id="([^"]*)"', svg)
        assert len(defined) == len(set(defined))
        assert set(re.findall(r'#([^")]+)[")]', svg)) == set(defined)
        return set(defined)

    assert not names("one") & names("other")


def test_the_same_chart_is_written_the_same() -> None:
    assert line_chart(LINES, AXES) == line_chart(LINES, AXES)


def test_more_methods_than_colours_can_be_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    colors = {method: color_of(method) for method in METHODS}
    assert sorted(colors.values()) == list(range(NUM_COLORS))
    for number in range(NUM_COLORS):
        monkeypatch.setitem(METHODS, f"more-{number}", Method())  # type: ignore[misc]
    many = [color_of(method) for method in METHODS]
    assert many[:NUM_COLORS] == list(colors.values())
    assert 0 not in many[1:]  # the grey of plain scores
    lines = [Line(x=[1, 10], y=[10, 50], color=color) for color in many]
    assert line_chart(lines, AXES) and bar_chart(["1"], [(color, [60]) for color in many], AXES)
