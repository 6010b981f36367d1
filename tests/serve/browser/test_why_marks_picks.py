"""A researcher looks closer: why a result is one, marks of right and wrong, a list of picked moments."""

from __future__ import annotations

import csv
import io
import json
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.serve.browser.served import Served, Visit, visiting
from tests.serve.browser.test_audit import violations
from vtrcli.serve.marks import moments_file

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

QUERY = "a red circle moves right"
ADDRESS = "?q=a%20red%20circle%20moves%20right"


@pytest.fixture(scope="module")
def by_run(demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A store of its own, ranked by the demo's run."""
    store = tmp_path_factory.mktemp("marked") / "store"
    shutil.copytree(demo / "store", store)
    run = next(path.parent for path in (demo / "runs").glob("*/config.json"))
    served = Served([store], options=("--run", str(run), "--device", "cpu"))
    served.start()
    yield served
    served.stop()


@pytest.fixture
def marked(browser: Browser, by_run: Served) -> Iterator[Visit]:
    """What was found for the query, with nothing marked yet."""
    moments_file(by_run.stores[0]).unlink(missing_ok=True)
    with visiting(browser, by_run.url, reduced_motion="reduce") as one:
        one.go(ADDRESS).cards.first.wait_for()
        one.settle()
        yield one


def marks_of(served: Served) -> list[dict[str, object]]:
    path = moments_file(served.stores[0])
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def announced(page: Page, text: str) -> None:
    page.wait_for_function(
        "text => document.querySelector('#announcer').textContent.includes(text)", arg=text
    )


def test_why_this_result_shows_words_gate_strips_and_the_sum(marked: Visit) -> None:
    page = marked.page
    marked.cards.first.locator(".play").first.focus()
    page.keyboard.press("w")
    panel = page.get_by_role("dialog", name="Why this result")
    panel.locator(".why-strips").wait_for()
    words = panel.locator(".why-sentence .word:has(small)")
    assert words.locator("b").all_inner_texts() == ["circle", "moves"]
    assert words.locator("small").all_inner_texts() == ["entity", "action"]  # said, not only coloured
    rows = panel.locator(".why-sum tbody tr")
    assert rows.count() == 3
    added = [float(text[2:].replace("−", "-")) for text in rows.locator("td:nth-child(5)").all_inner_texts()]
    total = float(panel.locator(".why-sum tfoot td:nth-child(5)").inner_text().replace("−", "-"))
    assert sum(added) == pytest.approx(total, abs=3e-4)
    gates = [float(text.rstrip(" %")) for text in rows.locator("td:nth-child(3)").all_inner_texts()]
    assert sum(gates) == pytest.approx(100, abs=0.3)
    strips = panel.get_by_role("img")
    assert strips.count() == 4 and strips.locator(".frame").count() == 4 * 12
    assert violations(marked) == []
    page.keyboard.press("Escape")
    panel.wait_for(state="hidden")


def test_a_phone_shows_the_whole_sum(browser: Browser, by_run: Served) -> None:
    with visiting(browser, by_run.url, viewport={"width": 390, "height": 780}) as visit:
        visit.go("?q=a%20red%20circle").cards.first.get_by_role("button", name="Why this result").click()
        visit.page.wait_for_selector(".why-sum tbody")
        over = "(e => e.scrollWidth - e.clientWidth)(document.querySelector('.why-sum'))"
        assert visit.page.evaluate(over) == 0


def test_a_query_that_no_head_reads_has_no_such_button(marked: Visit) -> None:
    assert marked.page.get_by_role("button", name="Why this result").count() > 0
    marked.go(f"{ADDRESS}&not=a%20triangle").cards.first.wait_for()
    assert marked.page.get_by_role("button", name="Why this result").count() == 0


def test_marks_are_kept_shown_and_taken_back(marked: Visit, by_run: Served) -> None:
    page, first, second = marked.page, marked.cards.nth(0), marked.cards.nth(1)
    first.hover()
    first.get_by_role("button", name="Right", exact=True).click()
    announced(page, "Marked as right")
    second.locator(".play").first.focus()
    page.keyboard.press("x")
    announced(page, "Marked as wrong")
    rows = marks_of(by_run)
    assert [bool(row["relevant_windows"]) for row in rows] == [True, False]
    assert [bool(row["wrong_windows"]) for row in rows] == [False, True]
    assert "1 right, 1 wrong" in page.locator("#marked summary").inner_text()
    marked.go(ADDRESS).cards.first.wait_for()  # what was marked is still there
    page.locator("#marked summary").click()
    pressed = page.locator("#results [data-mark][aria-pressed=true]")
    pressed.nth(1).wait_for()
    assert pressed.count() == 2
    assert violations(marked) == []
    marked.cards.nth(1).locator(".play").first.focus()
    page.keyboard.press("x")  # the same once more takes it back
    announced(page, "Mark taken back")
    assert len(marks_of(by_run)) == 1
    page.get_by_role("button", name="Undo").click()
    announced(page, "Taken back")
    assert len(marks_of(by_run)) == 2


def test_start_and_end_are_set_by_hand_in_the_player(marked: Visit, by_run: Served) -> None:
    page = marked.page
    marked.cards.first.locator(".play").first.click()
    page.wait_for_selector("#player[open] video")
    page.wait_for_function("() => document.querySelector('#player video').readyState >= 2")
    page.evaluate("() => document.querySelector('#player video').pause()")

    def set_end(key: str, seconds: float) -> None:
        page.evaluate(
            "async seconds => { const video = document.querySelector('#player video');"
            " await new Promise(done => { video.onseeked = done; video.currentTime = seconds; }) }",
            seconds,
        )
        page.keyboard.press(key)

    set_end("i", 0.5)
    set_end("o", 1.5)
    page.keyboard.press("]")
    page.keyboard.press("y")
    announced(page, "Marked as right")
    (row,) = marks_of(by_run)
    assert row["relevant_windows"] == [[pytest.approx(0.5, abs=0.05), pytest.approx(1.6, abs=0.05)]]
    page.get_by_role("button", name="Start later").click()
    page.get_by_role("group", name="Mark this moment").get_by_role("button", name="Wrong").click()
    announced(page, "Marked as wrong")
    (row,) = marks_of(by_run)  # what overlaps is replaced, not doubled
    assert row["relevant_windows"] == [] and row["wrong_windows"] == [
        [pytest.approx(0.6, abs=0.05), pytest.approx(1.6, abs=0.05)]
    ]
    assert violations(marked) == []
    page.keyboard.press("u")
    announced(page, "Taken back")
    assert marks_of(by_run)[0]["wrong_windows"] == []


def test_picked_moments_are_kept_ordered_and_exported(marked: Visit, demo: Path) -> None:
    page = marked.page
    names = [marked.cards.nth(place).locator(".name").inner_text() for place in range(3)]
    for place in range(3):
        marked.cards.nth(place).hover()
        marked.cards.nth(place).get_by_role("button", name="Pick for the list").click()
    marked.go(ADDRESS).cards.first.wait_for()  # the list stays while the tab is open
    tray = page.get_by_role("region", name="Picked moments")
    tray.get_by_role("button", name="3 picked").click()
    tray.get_by_role("button", name=f"Move {names[2]} up").click()
    tray.get_by_role("button", name=f"Move {names[2]} up").click()
    assert tray.locator("li b").all_inner_texts() == [names[2], names[0], names[1]]
    assert violations(marked) == []
    tray.get_by_role("combobox", name="Kind of export").select_option("csv")
    with page.expect_download() as download:
        tray.get_by_role("button", name="Export", exact=True).click()
    assert download.value.suggested_filename == "moments.csv"
    rows = list(csv.DictReader(io.StringIO(Path(download.value.path()).read_text())))
    assert [Path(row["Source File"]).name for row in rows] == [names[2], names[0], names[1]]
    gone = next((demo / "videos").rglob(names[0]))
    hidden = gone.rename(gone.with_suffix(".hidden"))
    try:
        tray.get_by_role("combobox", name="Kind of export").select_option("clips")
        with page.expect_download() as download:
            tray.get_by_role("button", name="Export", exact=True).click()
        with zipfile.ZipFile(download.value.path()) as archive:
            assert [name[:2] for name in archive.namelist()] == ["01", "03", "no"]
        status = tray.locator(".picks-status")
        status.get_by_text("1 moment left out").wait_for()
        assert "number 2" in status.inner_text() and "not-found" in status.inner_text()
    finally:
        hidden.rename(gone)
    tray.get_by_role("button", name=f"Take {names[1]} from the list").click()
    assert tray.locator("li").count() == 2
    tray.get_by_role("button", name="Empty the list").click()
    assert tray.is_hidden()
