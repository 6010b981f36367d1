"""The pictures of docs/serve.md: what `vtr serve` shows of the demo.

vtr demo --out demo && vtr serve --store demo/store --run none &
python tools/page_pictures.py http://127.0.0.1:8765/ docs
"""

from __future__ import annotations

import argparse
import io
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image
from playwright.sync_api import sync_playwright

if TYPE_CHECKING:
    from playwright.sync_api import Page

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
QUALITY = 82  # of WebP: sharp letters, a fifth of the bytes of PNG


def results(page: Page) -> None:
    """A grid of moments, one of them under the pointer."""
    page.hover("#results .card:nth-child(2) .strip", position={"x": 60, "y": 10})


def playing(page: Page) -> None:
    """A moment in the player, with the others of its video."""
    page.locator("#results .card").first.locator(".play").first.click()
    page.wait_for_selector("#player[open] video")
    page.wait_for_timeout(1500)
    page.evaluate("document.querySelector('#player video')?.pause()")


PURPLE = "?q=a%20purple%20diamond%20on%20a%20dotted%20pale%20green%20carpet"
PICTURES = (
    ("serve-results", PURPLE, "light", (1280, 800), results),
    ("serve-player", PURPLE, "dark", (1280, 800), playing),
    ("serve-phone", "?q=a%20blue%20heart", "dark", (390, 844), results),
)


def main() -> None:
    """Writes one WebP per picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", help="of a running vtr serve over the demo's store")
    parser.add_argument("out", type=Path)
    asked = parser.parse_args()
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program, args=["--no-sandbox", "--headless", "--hide-scrollbars"]
        )
        for name, address, scheme, (width, height), prepare in PICTURES:
            context = browser.new_context(
                viewport={"width": width, "height": height},
                color_scheme="dark" if scheme == "dark" else "light",
                reduced_motion="reduce",
            )
            page = context.new_page()
            page.goto(f"{asked.url}{address}")
            page.wait_for_selector("#results .card")
            page.evaluate("document.activeElement.blur()")
            prepare(page)
            page.wait_for_load_state("networkidle")
            page.wait_for_timeout(500)
            path = asked.out / f"{name}.webp"
            Image.open(io.BytesIO(page.screenshot())).convert("RGB").save(path, quality=QUALITY, method=6)
            print(f"{path} {path.stat().st_size:,} bytes")
            context.close()
        browser.close()


if __name__ == "__main__":
    main()
