"""The page of `vtr serve`: milliseconds from a key to the first results on the screen.

Queries are typed key by key into a page in chromium (no cache, a key every 400 ms, so that each one is a search). A key
counts from its keydown event to the second animation frame after the list of results changed: by then the browser has
painted it. Pictures load afterwards.

    vtr demo --out demo && vtr serve --store demo/store --run none &
    python benchmarks/page.py http://127.0.0.1:8765/
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence

import numpy as np
from playwright.sync_api import sync_playwright

TEXT = "a small red circle blinks on a blue striped wall, then a green arrow slides away"
PAUSE_MILLISECONDS = 400
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
WATCH = """() => {
  window.passed = [];
  let pressed = 0;
  document.querySelector("#q").addEventListener("keydown", event => { pressed = event.timeStamp; }, true);
  new MutationObserver(() => {
    if (!pressed || !document.querySelector("#results .card")) return;
    const from = pressed;
    pressed = 0;
    requestAnimationFrame(() => requestAnimationFrame(() => window.passed.push(performance.now() - from)));
  }).observe(document.querySelector("#results"), { childList: true });
}"""


def measure(url: str, *, num_keys: int) -> Sequence[float]:
    """Milliseconds of each key. The first word is typed before the clock runs: the model's weights load with it."""
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--headless"])
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.goto(url)
        field = page.get_by_role("searchbox")
        field.press_sequentially(TEXT[:7])
        page.wait_for_selector("#results .card")
        page.wait_for_timeout(1000)
        page.evaluate(WATCH)
        field.press_sequentially(TEXT[7 : 7 + num_keys], delay=PAUSE_MILLISECONDS)
        page.wait_for_timeout(2000)
        passed: list[float] = page.evaluate("window.passed")
        browser.close()
    return passed


def main() -> None:
    """Prints the median, the slowest of ten in a hundred and the slowest."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", help="of a running vtr serve")
    parser.add_argument("--num-keys", type=int, default=40)
    asked = parser.parse_args()
    passed = measure(asked.url, num_keys=asked.num_keys)
    median, slow = np.percentile(passed, [50, 90])
    print(
        f"{len(passed)} of {asked.num_keys} keys: median {median:.0f} ms, "
        f"90 % {slow:.0f} ms, slowest {max(passed):.0f} ms"
    )


if __name__ == "__main__":
    main()
