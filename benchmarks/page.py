"""The web page in a browser: from words typed to the new picture, beside what the models alone take."""

from __future__ import annotations

import itertools
import shutil
from typing import Any

from common import arguments, begin, report, side_by_side
from playwright.sync_api import sync_playwright

import freeda
from freeda.app.engine import samples
from freeda.app.server import serve

FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
SHOWN = """text => [...document.querySelectorAll('.legend .word')].map((word) => word.textContent)
    .sort().join() === text.split(', ').sort().join()"""


def main() -> None:
    given = begin(arguments(__doc__ or ""))
    model, image = freeda.load("miniature"), samples()[0].image
    scene, numbers = model.encode(image), itertools.count()

    def words() -> str:  # never the same list twice: neither vocabularies nor answers are kept ones
        return f"sunset, water, tree, thing {next(numbers)}"

    running = serve(model, port=None)
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
            page = browser.new_page()
            page.goto(running.url)
            page.wait_for_selector(".legend li")
            box = page.locator("#words textarea, #words input").first

            def typed() -> None:
                text = words()
                box.fill(text)
                page.wait_for_function(SHOWN, arg=text)

            work: dict[str, Any] = {
                "last letter to new picture, in the page": typed,
                "new words for an encoded photograph": lambda: model.segment(scene, words().split(", ")),
                "the photograph encoded anew, too": lambda: model.segment(image, words().split(", ")),
            }
            taken = side_by_side(work, 4 * given.repeats)
            browser.close()
    finally:
        running.close()
    whole = taken["last letter to new picture, in the page"]["wall"]
    rows = [
        {"what": what, "ms": 1000 * t["wall"], "of the page's": t["wall"] / whole}
        for what, t in taken.items()
    ]
    report("page", given, rows)


if __name__ == "__main__":
    main()
