"""axe-core finds no violation in any main state of the page, light and dark, on a desk and on a phone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.serve.browser.served import Served, Visit, visiting
from tests.serve.browser.test_page import several  # noqa: F401

if TYPE_CHECKING:
    from playwright.sync_api import Browser

SIZES = {"desk": {"width": 1280, "height": 800}, "phone": {"width": 390, "height": 844}}


def violations(visit: Visit) -> list[str]:
    """Each with the elements that have it."""
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="the audit needs axe-playwright-python"
    )
    found = axe.Axe().run(visit.page).response["violations"]
    return [f"{one['id']}: {node['html'][:150]}" for one in found for node in one["nodes"]]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_state_has_a_violation(browser: Browser, several: Served, scheme: str, size: str) -> None:  # noqa: F811
    found: dict[str, list[str]] = {}
    with visiting(
        browser, several.url, viewport=SIZES[size], color_scheme=scheme, reduced_motion="reduce"
    ) as visit:
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
