"""A real browser at the studio's page, for tests and for the pictures of the docs."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

PATIENCE = 25.0
"""Seconds for what must come: a busy machine takes its time."""
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update")


def chromium() -> str | None:
    """Where the browser is, if there is one."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@contextmanager
def browsing() -> Iterator[Any]:
    """A browser; needs playwright and chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium(), args=list(FLAGS), timeout=120_000)
        yield opened
        opened.close()


class Page:
    """The page as a visitor handles it. Places are shares of the picture: x to the right, y down."""

    def __init__(self, browser: Any, url: str, width: int = 1280, height: int = 800, **how: Any) -> None:
        self.context = browser.new_context(viewport={"width": width, "height": height}, **how)
        self.page, self.url = self.context.new_page(), url
        self.page.set_default_timeout(1000 * PATIENCE)
        self.faults: list[str] = []
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on(
            "request",
            lambda asked: asked.url.startswith((url, "data:", "blob:")) or self.faults.append(asked.url),
        )
        self.open()

    def open(self) -> None:
        """Come, or come back."""
        self.page.goto(self.url)
        self.ready()

    def ready(self) -> None:
        """Wait for labels that answer the words as they stand."""
        self.until(
            """(() => {
                if (!globalThis.freeda || freeda.busy()) return false;
                const { labels, picture, typed, ws } = freeda.store;
                const names = (classes) => classes.map((one) => one.name).join();
                return labels?.of === picture && typed === null && names(labels.classes) === names(ws.classes)
                    && ws.pictures.find((one) => one.id === picture).version === labels.version;
            })()"""
        )

    def js(self, expression: str, value: Any = None) -> Any:
        return self.page.evaluate(expression, value)

    def until(self, expression: str) -> None:
        """Wait for what a strict policy forbids playwright to wait for."""
        end = time.monotonic() + PATIENCE
        while not self.js(expression):
            assert time.monotonic() < end, (expression, self.page.locator("#error").inner_text(), self.faults)
            time.sleep(0.02)

    def words(self, text: str) -> None:
        """Type them, and wait until they are answered."""
        self.page.fill("#words", text)
        self.until("document.querySelector('#words').value === freeda.store.ws.words")
        self.ready()

    def spot(self, x: float, y: float) -> tuple[float, float]:
        """Pixels of the window."""
        found = self.js(
            """([x, y]) => {
                const { photo } = freeda.store;
                const box = document.querySelector('#stage').getBoundingClientRect();
                const [right, down] = freeda.toStage(x * photo.width, y * photo.height);
                return [box.left + right, box.top + down];
            }""",
            [x, y],
        )
        return found[0], found[1]

    def click(self, x: float, y: float) -> None:
        self.page.mouse.click(*self.spot(x, y))

    def drag(self, *places: tuple[float, float]) -> None:
        self.page.mouse.move(*self.spot(*places[0]))
        self.page.mouse.down()
        for place in places[1:]:
            self.page.mouse.move(*self.spot(*place), steps=4)
        self.page.mouse.up()

    def name_at(self, x: float, y: float) -> str:
        """The word of a place."""
        return self._at(x, y)["name"]

    def region_at(self, x: float, y: float) -> int:
        """The number of the region there."""
        return self._at(x, y)["region"]

    def _at(self, x: float, y: float) -> Any:
        where = "([x, y]) => freeda.regionAt(x * freeda.store.photo.width, y * freeda.store.photo.height)"
        return self.js(where, [x, y])

    def choose(self, word: str) -> None:
        """Say which word, in the small window that a tool opened."""
        self.page.fill("#choose-word", word)
        self.page.keyboard.press("Enter")
        self.until("document.querySelector('#choose').hidden")
        self.ready()

    def legend(self) -> dict[str, str]:
        """Shares by word, as they are read."""
        read = "li => [li.dataset.name, li.querySelector('.share').textContent]"
        rows = self.js(f"[...document.querySelectorAll('#legend li')].map({read})")
        return dict(rows)

    def shows(self, *words: str) -> None:
        """Wait until these words, and no others, stand on the picture."""
        pills = "[...document.querySelectorAll('#names span:not([hidden])')].map(one => one.textContent)"
        self.until(f"[...new Set({pills})].sort().join() === {','.join(sorted(words))!r}")

    def close(self) -> None:
        self.context.close()
        assert self.faults == []  # no error of a script, no request to anybody else
