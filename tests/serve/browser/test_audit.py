"""axe-core finds no violation in any main state of the page, light and dark, on a desk and on a phone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.serve.browser.served import Served, Visit, visiting

if TYPE_CHECKING:
    from playwright.sync_api import Browser

SCHEMES: dict[Any, dict[str, Any]] = {"light": {}, "dark": {"runOnly": ["color-contrast"]}}
SIZES = {"desk": {"width": 1280, "height": 800}, "phone": {"width": 390, "height": 844}}


def violations(visit: Visit) -> list[str]:
    """Each with the elements that have it; in the dark only colours are others."""
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="the audit needs axe-playwright-python"
    )
    found = []
    for scheme, options in SCHEMES.items():
        visit.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        rows = axe.Axe().run(visit.page, options=options).response["violations"]
        found += [f"{scheme}: {one['id']}: {node['html'][:150]}" for one in rows for node in one["nodes"]]
    return found


@pytest.mark.parametrize("size", SIZES)
def test_no_state_has_a_violation(browser: Browser, several: Served, size: str) -> None:
    found: dict[str, list[str]] = {}
    with visiting(browser, several.url, viewport=SIZES[size], reduced_motion="reduce") as visit:
        page = visit.go().page
        page.get_by_role("heading", name="Find the moment").wait_for()
        found["start"] = violations(visit)

        visit.go("?q=a%20red%20circle&not=a%20triangle").cards.first.wait_for()
        page.get_by_role("button", name="Filters").click()
        visit.settle()
        found["results and filters"] = violations(visit)
        visit.cards.first.locator(".play").first.click()
        page.wait_for_selector("#player[open] video")
        found["player"] = violations(visit)

        visit.go("?q=a%20red%20circle&then=a%20blue%20square").cards.first.wait_for()
        found["sequences"] = violations(visit)
        visit.page.get_by_role("button", name="Keys").click()
        found["keys"] = violations(visit)

        visit.go("?q=a%20red%20circle&path=nowhere").page.get_by_role(
            "heading", name="Nothing found"
        ).wait_for()
        found["nothing found"] = violations(visit)
        visit.go("?store=empty").page.get_by_role("heading", name="No videos yet").wait_for()
        found["empty store"] = violations(visit)
        visit.expected.append("status of 400")
        visit.go("?q=a&min_duration=9&max_duration=3").page.get_by_role("heading", name="cannot").wait_for()
        found["error"] = violations(visit)

        visit.go("?store=gone").page.get_by_role("heading", name="No such store here").wait_for()
        found["unknown store"] = violations(visit)
        visit.go("?q=a%20red%20circle").cards.first.wait_for()
        visit.settle()
        visit.expected.append("ERR_INTERNET_DISCONNECTED|Failed to load")
        page.context.set_offline(True)
        visit.search.press_sequentially("s")
        page.wait_for_selector("#gone:not([hidden])")
        found["server gone"] = violations(visit)
    assert not any(found.values()), {state: rows for state, rows in found.items() if rows}
