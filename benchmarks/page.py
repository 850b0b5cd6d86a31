"""The web page in a browser: from words typed to the new picture, beside what the models alone take.

python benchmarks/page.py
"""

from __future__ import annotations

import itertools
import sys
from pathlib import Path
from typing import Any

from common import arguments, begin, report, side_by_side

import freeda
from freeda.app.photographs import samples
from freeda.app.server import serve

sys.path.append(str(Path(__file__).parent.parent / "tests" / "app"))
from browsing import Page, browsing


def main() -> None:
    given = begin(arguments(__doc__ or ""))
    model, image = freeda.load("miniature"), samples()[0].image
    scene, numbers = model.encode(image), itertools.count()

    def words() -> str:  # never the same list twice: neither vocabularies nor answers are kept ones
        return f"sunset, water, tree, thing {next(numbers)}"

    running = serve(model, port=None)
    try:
        with browsing() as browser:
            page = Page(browser, running.url)

            def typed() -> None:
                page.words(words())

            work: dict[str, Any] = {
                "last letter to new picture, in the page": typed,
                "new words for an encoded photograph": lambda: model.segment(scene, words().split(", ")),
                "the photograph encoded anew, too": lambda: model.segment(image, words().split(", ")),
            }
            taken = side_by_side(work, 4 * given.repeats)
            page.close()
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
