from __future__ import annotations

import re
import time
from dataclasses import replace
from datetime import datetime, timezone
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from tests.browser import open_page
from tests.evaluation.reports import evaluated, make_inputs, small_result
from tests.evaluation.test_report_parts import store_with_frames
from tests.pages import HOSTILE, Page
from vtrcli.errors import StoreError
from vtrcli.evaluation.evaluate import EvaluationInputs, EvaluationSettings, evaluate_inputs
from vtrcli.evaluation.inputs import from_matrix
from vtrcli.evaluation.report.page import report_html, write_report
from vtrcli.ranking.methods import METHODS, Method
from vtrcli.ranking.scores import DenseScores
from vtrcli.ranking.truth import Truth
from vtrcli.store.frames import encode_jpegs

NOW = datetime(2026, 1, 2, 3, 4, tzinfo=timezone.utc)


@cache
def small_page() -> str:
    return report_html(small_result(), written_at=NOW)


def test_the_page_says_what_was_evaluated_and_how() -> None:
    text = Page(small_page()).text
    for wanted in (
        "Text-to-video retrieval on made up",
        "Model: run tiny",
        "60 × 30",
        "average: equal scores stand in random order",
        "100 (taken: all scores lie within -1 and 1, as CLIP's cosines)",
        "2026-01-02 03:04 UTC, vtr ",
        "a note",
    ):
        assert wanted in text


def test_a_report_of_everything_has_all_its_sections() -> None:
    titles = re.findall(r"<h2>(.*?)</h2>", small_page())
    assert titles == [
        "Results",
        "Recall at every k",
        "Ranks",
        "Worst queries",
        "Hubs",
        "Temperature",
        "Arrivals",
        "By length of the text",
        "By category",
    ]


def test_each_row_says_method_temperature_and_whether_it_is_transductive() -> None:
    page = small_page()
    first_table = page[
        page.index("<h3>Text to video</h3>") : page.index(
            "<h3>Video to text, ranks over videos by their best text</h3>"
        )
    ]
    rows = [re.findall(r"<td>(.*?)</td>", row) for row in re.findall(r"<tr>(.*?)</tr>", first_table)[1:]]
    told = [[re.sub("<.*?>", "", cell) for cell in row] for row in rows]
    assert told == [
        ["none (plain)", "–", "no"],
        ["dsl", "1", "yes"],
        ["dslbank of 40 texts", "1", "no"],
        ["csls", "–", "yes"],
        ["cslsbank of 40 texts", "–", "no"],
    ]


def test_without_a_method_there_is_only_the_plain_result() -> None:
    page = report_html(evaluated(make_inputs(), methods=(), num_bootstrap=0), written_at=NOW)
    assert "dsl" not in page and "transductive row" not in page


def test_nothing_untrusted_becomes_an_element_or_an_address() -> None:
    page = Page(report_html(evaluated(make_inputs(hostile=HOSTILE)), written_at=NOW))
    assert "script" not in page.elements and "img" not in page.elements
    assert page.elements.count("style") == 1
    assert "alert(1)" in page.text  # it is shown, not hidden
    addresses = [value for name, value in page.attributes if name in ("src", "href", "xlink:href", "action")]
    assert all(value.startswith(("data:", "#")) for value in addresses)
    assert not [name for name, _ in page.attributes if name.startswith("on")]


def test_the_page_forbids_itself_to_load_anything() -> None:
    page = small_page()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    assert policy[1] == (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
    )


def with_pictures(folder: Path) -> EvaluationInputs:
    inputs = make_inputs()
    jpegs = encode_jpegs(np.full((3, 48, 64, 3), 128, np.uint8))
    return replace(inputs, store=store_with_frames(folder, dict.fromkeys(inputs.video_ids, jpegs)))


def test_pictures_are_shown_where_the_store_has_frames(tmp_path: Path) -> None:
    page = Page(report_html(evaluated(with_pictures(tmp_path / "store")), written_at=NOW))
    assert page.elements.count("img") > 10


@pytest.mark.parametrize("num_videos", [1, 2, 12])
def test_very_few_videos_and_equal_scores(num_videos: int) -> None:
    inputs = EvaluationInputs(
        DenseScores(np.zeros((num_videos, num_videos))),
        Truth.diagonal((num_videos, num_videos)),
        model="constant",
    )
    page = report_html(evaluated(inputs, methods=("dsl",)), written_at=NOW)
    assert "There are too few videos to tell hubs" in page
    assert ("Every text found its right video first." in page) == (num_videos == 1)


@pytest.mark.slow
def test_a_folder_that_is_not_there_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot write .*missing/report.html"):
        write_report(small_result(), tmp_path / "missing" / "report.html")
    assert list(tmp_path.iterdir()) == []


def test_the_real_matrix_is_written_fast_and_small(test_data: Path, tmp_path: Path) -> None:
    matrix = test_data / "similarities" / "msrvtt_1ka_vitb32.npy"
    result = evaluate_inputs(
        from_matrix(matrix, text_to_video=None, bank=None),
        EvaluationSettings(methods=("dsl",), ties="optimistic"),
    )
    before = time.process_time()
    write_report(result, tmp_path / "report.html")
    assert time.process_time() - before < 15
    page = (tmp_path / "report.html").read_text("utf-8")
    assert len(page) < 5_000_000
    shown = Page(page).text
    for number in (
        "48.0",
        "73.0",
        "82.9",
        "13.13",
        "46.0",
        "8.67",
        "52.8",
        "78.0",
        "85.8",
        "10.92",
        "52.6",
        "8.15",
    ):
        assert number in shown


@pytest.mark.slow
def test_a_browser_opens_it_without_a_complaint_or_a_request(tmp_path: Path) -> None:
    inputs = replace(with_pictures(tmp_path / "store"), texts=make_inputs(hostile=HOSTILE).texts)
    path = tmp_path / "report.html"
    write_report(evaluated(inputs, arrival_sizes=(1, 60), sweep_temperatures=(1.0, 10.0)), path)
    opened = open_page(path.as_uri())
    assert opened.console == ()
    assert opened.requested == ()
    assert "Worst queries" in opened.dom and "<svg" in opened.dom
    assert opened.screenshot.startswith(b"\x89PNG")


@pytest.mark.slow
def test_the_browser_tells_of_errors_and_of_requests(tmp_path: Path) -> None:
    path = tmp_path / "bad.html"
    path.write_text("<img src=http://127.0.0.1:9/a.png><script>nowhere()</script>", "utf-8")
    opened = open_page(path.as_uri())
    assert any("nowhere is not defined" in message for message in opened.console)
    assert opened.requested == ("http://127.0.0.1:9/a.png",)


@pytest.mark.slow
def test_a_ninth_method_is_one_entry_and_the_report_draws_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its formula here is the last branch of `correction`, that of inverted-softmax."""
    monkeypatch.setitem(METHODS, "ninth", Method(uses_temperature=True))
    result = evaluated(
        make_inputs(bank=True),
        methods=("ninth", "inverted-softmax"),
        arrival_sizes=(1, 60),
        sweep_temperatures=(0.5, 1.0),
    )
    ninth, same = (result.evaluations[place].t2v.ranks for place in (1, 3))
    np.testing.assert_array_equal(ninth, same)
    page = report_html(result, written_at=NOW)
    assert "ninth" in page and "var(--series-1)" in page
