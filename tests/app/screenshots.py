"""Draws the pictures of docs/app.md anew: python tests/app/screenshots.py docs/"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

import freeda
from freeda.app.server import serve


def main(folder: Path) -> None:
    page_served = serve(freeda.load("miniature"), port=None)
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
            )
            page = browser.new_page(viewport={"width": 1200, "height": 860})
            page.set_default_timeout(300_000)  # drawing takes its time
            page.goto(page_served.url)
            page.wait_for_selector(".legend li")
            _segment(page)
            page.screenshot(path=folder / "app.png", full_page=True)
            page.get_by_role("tab", name="References").click()
            page.click("#draw")
            page.wait_for_selector("#story .story")
            page.wait_for_timeout(500)
            page.screenshot(path=folder / "app-references.png", full_page=True)
            browser.close()
    finally:
        page_served.close()


def _segment(page: Any) -> None:
    box = page.locator(".picture").bounding_box()
    page.mouse.click(box["x"] + 0.27 * box["width"], box["y"] + 0.55 * box["height"])
    page.wait_for_function("document.querySelectorAll('#studio .below .card img').length === 8")
    page.mouse.move(5, 5)
    page.wait_for_timeout(500)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
