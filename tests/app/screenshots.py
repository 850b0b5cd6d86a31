"""Draws the pictures of docs/app.md anew: python tests/app/screenshots.py docs/"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from browsing import Page, browsing
from PIL import Image

import freeda
from freeda.app.server import serve
from freeda.miniature.scenes import HELD_OUT, render
from freeda.show.tiles import enlarge

WORDS = "sunset, water, tree, house, boat, car, butterfly, grass, sand, snow, wall, road"
PHOTOGRAPHS = (25, 11, 38, 28, 22, 16, 41, 42, 45, 46, 48, 50)


def main(folder: Path) -> None:
    """A folder at work, and the same on a phone in the dark."""
    with tempfile.TemporaryDirectory() as place, browsing() as browser:
        for i in PHOTOGRAPHS:
            Image.fromarray(enlarge(render(HELD_OUT, i).image, 4)).save(Path(place) / f"scene-{i}.png")
        running = serve(freeda.load("miniature"), port=None, folder=place, words=WORDS)
        try:
            page = Page(browser, running.url)
            page.until("freeda.store.ws.work === null")
            for _ in range(2):
                page.page.click("#accept")
                page.until("!freeda.busy()")
            page.page.click("#strip [title^='scene-25']")
            page.ready()
            page.click(0.86, 0.93)
            page.page.keyboard.type("h")
            _save(page, folder / "app.png")
            phone = Page(browser, running.url, 390, 844, color_scheme="dark", has_touch=True, is_mobile=True)
            _save(phone, folder / "app-phone.png")
            phone.close()
            page.close()
        finally:
            running.close()


def _save(page: Page, path: Path) -> None:
    page.page.wait_for_timeout(500)
    page.page.screenshot(path=path)
    Image.open(path).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
