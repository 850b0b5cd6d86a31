"""Draws the picture of docs/app.md anew: python tests/app/screenshots.py docs/"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from browsing import Page, browsing

import freeda
from freeda.app.server import serve
from freeda.images import of_world
from freeda.miniature.scenes import HELD_OUT, render
from freeda.presets import DRAWN, STUDIO
from freeda.show.export import png
from freeda.show.tiles import enlarge

WORDS = "sky, night, sunset, wall, water, grass, sand, snow, house, tree, fish, clock"
PHOTOGRAPHS = (14, 25, 11, 38, 28, 22, 16, 41, 12, 45, 46, 20)


def main(folder: Path) -> None:
    """A folder at work."""
    with tempfile.TemporaryDirectory() as place, browsing() as browser:
        photographs = Path(place) / "photographs"
        photographs.mkdir()
        for i in PHOTOGRAPHS:
            picture = of_world(enlarge(render(HELD_OUT, i).image, 4), DRAWN)
            (photographs / f"scene-{i}.png").write_bytes(png(picture))
        running = serve(freeda.load(STUDIO), port=None, folder=photographs, words=WORDS)
        try:
            page = Page(browser, running.url)
            page.until("freeda.store.ws.work === null")
            for right in (25, 16):
                page.page.click(f"#strip [title^='scene-{right}']")
                page.ready()
                page.page.click("#accept")
                page.until("!freeda.busy()")
            page.page.click("#strip [title^='scene-14']")
            page.ready()
            page.click(0.24, 0.72)
            page.page.keyboard.type("fi")
            page.page.wait_for_timeout(500)
            page.page.screenshot(path=folder / "app.png")
            page.close()
        finally:
            running.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
