"""The page about moments: what it shows, that it harms nobody, and strips of frames from a store or a file."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest

from tests.browser import open_page
from tests.moments.films import make_films
from tests.moments.made import ragged, truth_of
from tests.pages import HOSTILE, Page
from tests.store.stores import make_config, make_record
from tests.video_files import make_video
from vtrcli.api import evaluate_moments
from vtrcli.evaluation.moments import MomentEvaluation, MomentInputs
from vtrcli.evaluation.moments import evaluate_moments as evaluate_inputs
from vtrcli.evaluation.report.moments import moment_report_html, worst_queries, write_moment_report
from vtrcli.evaluation.report.strips import NUM_PICTURES, strip, strips_of
from vtrcli.moments.files import Predictions
from vtrcli.store.config import create_config
from vtrcli.store.reader import FeatureStore
from vtrcli.store.writer import StoreWriter

NOW = datetime(2026, 1, 2, 3, 4, tzinfo=timezone.utc)


def made() -> MomentEvaluation:
    """Four queries: exact, half right, wrong with a better second, and wrong altogether."""
    truth = truth_of(*([[10, 20]] for _ in range(3)), [[100, 150]])
    windows = ragged([[10, 20, 1.0]], [[10, 15, 1.0]], [[50, 60, 1.0], [10, 20, 0.5]], [[0, 5, 1.0]])
    return evaluate_inputs(MomentInputs(Predictions(truth, windows, notes=("a note",)), "a model"))


def test_the_worst_queries_are_those_with_the_worst_first_window_then_with_no_better_one() -> None:
    worst = worst_queries(made())
    assert [(each.query, each.iou, each.best_iou) for each in worst] == [(3, 0, 0), (2, 0, 1), (1, 0.5, 0.5)]


@pytest.mark.slow
def test_what_is_not_there_is_not_spoken_of() -> None:
    text = moment_report_html(made(), written_at=NOW)
    assert "not known" not in text and "bootstrap interval" not in text


def test_each_video_has_its_worst_query_before_one_has_two() -> None:
    result = made()
    given = result.inputs.predictions
    truth = replace(given.truth, video_ids=("a", "b", "a", "a"))
    same = replace(result, inputs=replace(result.inputs, predictions=replace(given, truth=truth)))
    assert [each.query for each in worst_queries(same)] == [3, 1, 2]


def test_bars_lie_where_the_windows_are_and_never_beyond_the_video() -> None:
    html = strip([], 100.0, true=np.array([[10, 30.0]]), answers=np.array([[50, 150.0, 1], [0, 10, 0.5]]))
    bars = re.findall(r'<span class="(\w+)" style="left: ([\d.]+)%; width: ([\d.]+)%"', html)
    assert bars == [("true", "10.00", "20.00"), ("other", "0.00", "10.00"), ("answer", "50.00", "50.00")]


def test_pictures_come_from_kept_frames_else_from_the_file_else_from_nowhere(
    tmp_path: Path, demo: Path
) -> None:
    make_films(demo, tmp_path)
    store = FeatureStore(tmp_path / "store")
    kept, unknown = strips_of(store, ["film0", "no such video"])
    assert (len(kept), unknown) == (NUM_PICTURES, [])
    assert all(uri is not None and uri.startswith("data:image/jpeg;base64,") for uri in kept)
    assert strips_of(None, ["film0"]) == [[]]


@pytest.mark.slow
def test_pictures_are_decoded_from_the_file(tmp_path: Path) -> None:
    make_video(tmp_path / "a.mp4", seconds=1.0)
    create_config(tmp_path / "store", make_config())
    writer = StoreWriter(tmp_path / "store", backbone_sha256=make_config().backbone.sha256)
    for name in ("a.mp4", "gone.mp4"):
        record = make_record(name, path=str(tmp_path / name), duration_seconds=1.0)
        writer.add(record, np.ones((2, 4)), np.array([0.0, 0.5]))
    writer.flush()
    there, gone = strips_of(FeatureStore(tmp_path / "store"), ["a.mp4", "gone.mp4"])
    assert all(uri is not None for uri in there)
    assert gone == [None] * NUM_PICTURES


@pytest.mark.slow
def test_the_page_has_all_its_sections_and_says_how(tmp_path: Path) -> None:
    html = moment_report_html(made(), written_at=NOW)
    page = Page(html)
    assert re.findall(r"<h2>(.*?)</h2>", html) == ["Windows, by length", "How well it fits", "Worst queries"]
    for wanted in (
        "Model: a model",
        "a note",
        "the first listed",
        "the first 10",
        "2026-01-02 03:04 UTC",
        "up to 10 s",
    ):
        assert wanted in page.text
    assert "script" not in page.elements
    write_moment_report(made(), tmp_path / "r.html")
    assert (tmp_path / "r.html").read_text().startswith("<!DOCTYPE html>")


@pytest.mark.slow
def test_texts_and_names_are_no_markup() -> None:
    result = made()
    given = result.inputs.predictions
    truth = replace(given.truth, texts=(HOSTILE,) * 4, video_ids=tuple(f"{HOSTILE}{n}" for n in range(4)))
    hostile = replace(
        result, inputs=replace(result.inputs, model=HOSTILE, predictions=replace(given, truth=truth))
    )
    page = Page(moment_report_html(hostile, written_at=NOW))
    assert not {"script", "img"} & set(page.elements)
    assert not page.values("onerror")


@pytest.mark.slow
def test_a_browser_shows_a_store_s_page_without_a_complaint(tmp_path: Path, demo: Path) -> None:
    make_films(demo, tmp_path)
    about = {"dataset": "csv", "annotations": tmp_path, "store": tmp_path / "store", "device": "cpu"}
    result = evaluate_moments(corpus=True, **about)  # type: ignore[arg-type]
    write_moment_report(result, tmp_path / "r.html")
    opened = open_page((tmp_path / "r.html").as_uri())
    assert (opened.console, opened.requested) == ((), ())
    assert opened.dom.count("<img") == 12 * NUM_PICTURES
    assert "Over all videos" in opened.dom
