"""The page in a real browser, before a real server: what people do with it."""

from __future__ import annotations

import re
import shutil
import urllib.parse
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.serve.browser.served import HTML_NAME, Served, Visit, serving, visiting

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Route


def test_typing_finds(visit: Visit) -> None:
    visit.page.get_by_role("heading", name="Find the moment").wait_for()
    assert "24 videos" in visit.page.inner_text("#state")
    visit.ask("a red circle")
    assert visit.cards.count() >= 10
    first = visit.cards.first
    assert re.search(r"\d:\d\d", first.locator(".time").inner_text())
    assert first.locator(".name").inner_text().endswith(".mp4")
    assert first.get_by_role("slider").count() == 1
    assert visit.page.title() == "a red circle · vtr"
    assert visit.address == "?q=a%20red%20circle"
    visit.until("/\\d+ moment/.test(document.querySelector('#announcer').textContent)")


def test_an_older_answer_never_replaces_a_newer_one(visit: Visit) -> None:
    def late(route: Route) -> None:
        """The first question's answer comes after the second's."""
        visit.page.wait_for_timeout(50)
        held.append(route)

    held: list[Route] = []
    visit.page.route(re.compile(r"/api/search\?q=a%20red&"), late)
    visit.search.press_sequentially("a red")
    visit.until("document.title.startsWith('a red')")
    visit.page.wait_for_timeout(300)
    visit.ask("a blue square")
    found = visit.names()
    for route in held:
        route.continue_()
    visit.page.wait_for_timeout(500)
    assert held and visit.names() == found
    assert visit.search.input_value() == "a blue square"


def test_keys_alone_lead_from_the_start_to_playing(visit: Visit) -> None:
    page = visit.page
    page.get_by_role("heading", name="Find the moment").wait_for()
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("/")
    page.keyboard.press("/")  # it is there already: nothing to be searched for
    page.keyboard.type("a red circle")
    visit.wait_for_title("a red circle")
    visit.settle()
    page.keyboard.press("ArrowDown")
    assert focused_card(visit) == 0
    page.keyboard.press("ArrowRight")
    assert focused_card(visit) == 1
    page.keyboard.press("ArrowDown")
    below = focused_card(visit)
    boxes = [visit.cards.nth(number).bounding_box() for number in (1, below)]
    assert boxes[0] and boxes[1] and boxes[1]["y"] > boxes[0]["y"] and boxes[1]["x"] == boxes[0]["x"]
    page.keyboard.press("Enter")
    page.wait_for_selector("#player[open] video")
    assert "open=" in visit.address
    page.keyboard.press("Escape")
    page.wait_for_selector("#player", state="hidden")
    assert focused_card(visit) == below
    visit.until("!location.search.includes('open=')")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowUp")
    assert page.evaluate("document.activeElement.id") == "q"
    page.keyboard.press("Escape")
    page.get_by_role("heading", name="Find the moment").wait_for()


def focused_card(visit: Visit) -> int:
    return int(
        visit.page.evaluate(
            "[...document.querySelectorAll('#results .card')].indexOf(document.activeElement.closest('.card'))"
        )
    )


def test_only_one_card_is_in_the_order_of_the_tab_key(visit: Visit) -> None:
    visit.ask("a red circle")
    cards = "[...document.querySelectorAll('#results .card')]"
    tabbable = f"{cards}.filter(card => card.querySelector('[tabindex=\"0\"]')).length"
    assert visit.page.evaluate(tabbable) == 1
    visit.cards.nth(3).locator(".play").focus()
    assert visit.page.evaluate(tabbable) == 1


def test_the_strip_is_a_slider_that_plays_from_where_it_stands(visit: Visit) -> None:
    visit.ask("a red circle")
    strip = visit.cards.first.get_by_role("slider")
    strip.focus()
    visit.page.keyboard.press("End")
    assert strip.get_attribute("aria-valuenow") == strip.get_attribute("aria-valuemax")
    visit.page.keyboard.press("Home")
    visit.page.keyboard.press("ArrowRight")
    assert re.fullmatch(r"0:00\.\d of 0:0\d, match \d+ of 100", strip.get_attribute("aria-valuetext") or "")
    visit.page.keyboard.press("Enter")
    visit.page.wait_for_selector("#player[open]")
    assert 0 < float(urllib.parse.unquote(visit.address).rpartition("@")[2]) < 1


def test_a_question_mark_shows_the_keys(visit: Visit) -> None:
    visit.page.get_by_role("heading", name="Find the moment").wait_for()
    visit.page.evaluate("document.activeElement.blur()")
    visit.page.keyboard.press("?")
    assert "play the moment" in visit.page.locator("#help").inner_text()
    visit.page.keyboard.press("Escape")
    visit.page.wait_for_selector("#help", state="hidden")


def test_one_thing_after_the_other(visit: Visit) -> None:
    visit.ask("a red circle")
    visit.page.get_by_role("button", name="Then", exact=True).click()
    visit.page.keyboard.type("a blue square")
    second = visit.cards.first.locator(".step").nth(1)
    second.get_by_text("a blue square").wait_for()  # results come while it is typed, too
    assert visit.cards.first.locator(".play").count() == 2
    assert visit.address == "?q=a%20red%20circle&then=a%20blue%20square"
    visit.page.get_by_label("seconds at most").fill("2")
    visit.until("location.search.includes('within=2')")
    visit.page.get_by_role("button", name="Take away: then").click()
    visit.page.wait_for_selector("#results .card:not(.chain)")
    assert visit.address == "?q=a%20red%20circle"


def test_without_takes_away(visit: Visit) -> None:
    visit.ask("a red circle")
    before = visit.names()
    visit.page.get_by_role("button", name="Without").click()
    visit.page.keyboard.type("a triangle")
    visit.until("location.search.endsWith('&not=a%20triangle')")
    visit.page.wait_for_timeout(200)
    visit.settle()
    assert visit.names() != before


def test_more_like_this_and_back(visit: Visit) -> None:
    visit.ask("a red circle")
    name = visit.names()[0]
    visit.cards.first.hover()
    visit.cards.first.get_by_role("button", name="More like this").click()
    visit.until("location.search.startsWith('?like=')")
    visit.settle()
    assert name not in visit.names()
    assert visit.page.title().startswith(f"like {name.removesuffix('.mp4')}")
    visit.page.go_back()
    visit.wait_for_title("a red circle")
    visit.until("name => document.querySelector('.card .name').textContent === name", name)


def test_filters_leave_only_what_they_let_through(visit: Visit) -> None:
    visit.ask("a red circle")
    wanted = visit.names()[2]
    visit.page.get_by_role("button", name="Filters").click()
    visit.page.get_by_label("Name or folder").fill(wanted)
    visit.until(
        "name => [...document.querySelectorAll('.card .name')].every(one => one.textContent === name)",
        wanted,
    )
    visit.settle()
    assert set(visit.names()) == {wanted}
    assert visit.page.get_by_role("button", name="Filters, 1 set").is_visible()
    visit.page.get_by_label("Name or folder").fill("no such part")
    visit.page.get_by_role("heading", name="Nothing found").wait_for()
    visit.page.get_by_label("Name or folder").fill(wanted[2:-6])  # a part of it
    visit.cards.first.wait_for()
    visit.settle()
    assert wanted in visit.names() and all(wanted[2:-6] in name for name in visit.names())
    visit.page.get_by_label("Name or folder").fill("")
    visit.page.get_by_label("Length from").fill("0:03")
    visit.until("location.search.includes('min_duration=0%3A03')")
    visit.page.get_by_role("button", name="Clear filters").click()
    assert visit.address == "?q=a%20red%20circle"


def test_nothing_found_says_why_and_what_helps(visit: Visit) -> None:
    visit.go("?q=a%20red%20circle&path=nowhere")
    visit.page.get_by_role("heading", name="Nothing found").wait_for()
    assert "--path nowhere" in visit.page.inner_text("#state")
    visit.page.locator("#state").get_by_role("button", name="Clear filters").click()
    visit.cards.first.wait_for()


def test_an_error_is_shown_in_its_three_parts(visit: Visit) -> None:
    visit.expected.append("status of 400")
    visit.go("?q=a%20red%20circle&min_duration=9&max_duration=3")
    visit.page.get_by_role("heading", name="This cannot be answered").wait_for()
    shown = visit.page.inner_text("#state")
    assert "the duration filter leaves nothing: from 0:09 to 0:03" in shown
    assert "a lower bound at or below the upper one" in shown
    assert "exchange the two, or leave one out" in shown


def test_the_address_holds_everything(visit: Visit, demo: Path) -> None:
    visit.go("?q=a%20red%20circle&moments=0&max_duration=1%3A00&not=a%20triangle")
    visit.cards.first.wait_for()
    assert visit.search.input_value() == "a red circle"
    assert visit.page.get_by_role("radio", name="Videos").is_checked()
    assert visit.page.get_by_label("what it must not show").input_value() == "a triangle"
    assert visit.page.get_by_role("button", name="Filters, 1 set").is_visible()
    names = visit.names()
    assert len(names) == len(set(names))
    visit.cards.first.locator(".play").click()
    visit.page.wait_for_selector("#player[open] video")
    link = visit.address
    visit.page.go_back()
    visit.page.wait_for_selector("#player", state="hidden")
    visit.go(link)
    visit.page.wait_for_selector("#player[open] video")
    visit.cards.first.wait_for(state="attached")
    assert visit.names() == names


def test_back_and_forward_go_through_what_was_asked(visit: Visit) -> None:
    for text in ("a red circle", "a blue square"):
        visit.ask(text)
        visit.search.press("Enter")
    visit.page.go_back()
    visit.wait_for_title("a red circle")
    assert visit.search.input_value() == "a red circle"
    visit.page.go_forward()
    visit.wait_for_title("a blue square")


def test_more_results_come_at_the_end_of_the_page(visit: Visit) -> None:
    visit.go("?q=a%20red%20circle&per_video=5")
    visit.cards.first.wait_for()
    visit.settle()
    before = visit.cards.count()
    visit.page.mouse.wheel(0, 20_000)
    visit.until("before => document.querySelectorAll('.card').length > before", before)
    ranks = [
        visit.cards.nth(number).locator(".play").get_attribute("aria-label")
        for number in range(visit.cards.count())
    ]
    assert len(ranks) == len(set(ranks)), "a page repeats what another one had"


@pytest.mark.parametrize("width", [360, 390])
def test_a_phone_shows_all_of_it(browser: Browser, served: Served, width: int) -> None:
    with visiting(
        browser, served.url, viewport={"width": width, "height": 780}, has_touch=True, is_mobile=True
    ) as visit:
        visit.go("?q=a%20red%20circle&then=a%20blue%20square")
        visit.cards.first.wait_for()
        assert visit.page.evaluate("document.documentElement.scrollWidth") == width
        visit.page.get_by_role("button", name="Filters").tap()
        assert visit.page.evaluate("document.documentElement.scrollWidth") == width
        assert visit.cards.first.get_by_role("button", name="More like this").is_visible()
        visit.cards.first.locator(".play").first.tap()
        visit.page.wait_for_selector("#player[open] video")
        assert visit.page.evaluate("document.querySelector('#player').scrollWidth") <= width


def test_dark_follows_the_system_until_the_switch_says_otherwise(browser: Browser, served: Served) -> None:
    lightness = "Number(getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0])"
    with visiting(browser, served.url, color_scheme="dark") as visit:
        visit.go()
        assert visit.page.evaluate(lightness) < 40
        visit.page.get_by_role("button", name="Light").click()
        assert visit.page.evaluate(lightness) > 200
        visit.page.reload()
        assert visit.page.evaluate(lightness) > 200
        visit.page.get_by_role("button", name="Dark").click()
        visit.page.reload()
        assert visit.page.evaluate(lightness) < 40


def test_a_picture_that_is_dropped_is_searched_for(visit: Visit, demo: Path) -> None:
    from tests.serve.browser.pictures import drop, frame_of

    video = sorted((demo / "videos").glob("*.mp4"))[0]
    drop(visit.page, frame_of(video), name="frame.png", type="image/png")
    visit.until("location.search.startsWith('?image=')")
    visit.settle()
    visit.cards.first.wait_for()
    assert video.name in visit.names()[:4]
    assert visit.page.locator("#terms canvas").count() == 1
    visit.page.get_by_role("button", name="Take away: picture").click()
    visit.page.get_by_role("heading", name="Find the moment").wait_for()


def test_what_is_no_picture_is_refused_in_words(visit: Visit) -> None:
    from tests.serve.browser.pictures import drop

    visit.expected.append("status of 4")
    drop(visit.page, b"no picture", name="notes.txt", type="text/plain")
    visit.page.get_by_role("heading", name="This cannot be answered").wait_for()


def test_the_server_goes_and_comes_back(browser: Browser, demo: Path) -> None:
    with serving(demo / "store") as served, visiting(browser, served.url) as visit:
        visit.go("?q=a%20red%20circle")
        visit.cards.first.wait_for()
        visit.settle()
        found = visit.names()
        served.stop()
        visit.expected.append("ERR_CONNECTION|Failed to load resource")
        visit.search.press_sequentially("s")
        visit.page.wait_for_selector("#gone:not([hidden])")
        assert "does not answer" in visit.page.inner_text("#gone")
        assert visit.names() == found, "what was found stays"
        visit.search.press("Backspace")
        served.start()
        visit.page.wait_for_selector("#gone", state="hidden")
        visit.until("document.querySelectorAll('.card').length > 0")
        visit.settle()
        assert visit.names() == found
        # The server that was started again has another secret, which a POST needs.
        said = visit.page.evaluate(
            "async () => (await (await import('/page/js/api.js')).postJson('/api/export', {kind: 'csv', moments: []})"
            ".catch((error) => error)).parts?.came_in ?? 'exported'"
        )
        assert "secret" not in said


def test_several_stores_are_tabs(browser: Browser, several: Served) -> None:
    with visiting(browser, several.url) as visit:
        visit.go("?q=a%20red%20circle")
        visit.cards.first.wait_for()
        tabs = visit.page.get_by_role("tab")
        assert tabs.count() == 3
        assert tabs.nth(0).get_attribute("aria-selected") == "true"
        tabs.nth(0).focus()
        visit.page.keyboard.press("ArrowRight")
        visit.until("location.search.includes('store=names')")
        visit.until("document.querySelectorAll('.card').length <= 3")
        assert tabs.nth(1).get_attribute("aria-selected") == "true"


def test_a_link_to_a_store_that_is_not_served_offers_those_that_are(
    browser: Browser, several: Served
) -> None:
    with visiting(browser, several.url) as visit:
        page = visit.go("?store=gone").page
        page.get_by_role("heading", name="No such store here").wait_for()
        known = page.get_by_role("list", name="Stores").get_by_role("button")
        names = [tab.get_attribute("data-store") for tab in page.locator("#stores [role=tab]").all()]
        assert [words.split(" · ")[0] for words in known.all_inner_texts()] == names
        known.first.click()
        page.get_by_role("heading", name="Find the moment").wait_for()


def test_a_name_with_html_is_text(browser: Browser, several: Served) -> None:
    with visiting(browser, several.url) as visit:
        visit.go("?q=a%20red%20circle&store=names")
        visit.cards.first.wait_for()
        assert visit.names()[0] == HTML_NAME
        assert visit.page.locator("#results b, #results img[src=x]").count() == 0
        visit.cards.first.hover()
        visit.cards.first.get_by_role("button", name="More like this").click()
        visit.until("document.title.startsWith('like <img')")
        visit.page.go_back()
        visit.cards.first.locator(".play").first.click()
        visit.page.wait_for_selector("#player[open]")
        assert visit.page.locator("b, img[src=x]").count() == 0


def test_an_empty_store_says_the_command_that_fills_it(browser: Browser, several: Served) -> None:
    with visiting(browser, several.url) as visit:
        visit.go("?store=empty")
        visit.page.get_by_role("heading", name="No videos yet").wait_for()
        assert "vtr extract ~/Videos --store " in visit.page.inner_text("#state")


def test_a_store_that_is_filled_while_it_is_looked_at_is_found(
    browser: Browser, demo: Path, tmp_path: Path
) -> None:
    late = tmp_path / "late"
    with serving(demo / "store", late) as served, visiting(browser, served.url) as visit:
        visit.expected.append("status of 409")
        visit.go("?store=late&q=a%20red%20circle")
        visit.page.get_by_role("heading", name="This cannot be answered").wait_for()
        shutil.copytree(demo / "store", tmp_path / "copied")
        (tmp_path / "copied").rename(late)
        visit.cards.first.wait_for()
        visit.page.wait_for_selector("#marked", state="hidden")
