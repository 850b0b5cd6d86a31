"""The page, served once for all tests, and a browser that looks at it."""

from __future__ import annotations

import base64
import io
import shutil
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image

gradio = pytest.importorskip("gradio", reason="the web page needs Gradio (the extra app)")

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--no-first-run"),
)


WAIT = 300_000
"""Milliseconds for what must come: a busy machine takes its time."""


@pytest.fixture(scope="session")
def model() -> Any:
    import freeda

    return freeda.load("miniature")


@pytest.fixture(scope="session")
def served(model: Any) -> Iterator[Any]:
    from freeda.app.limits import Limits
    from freeda.app.server import serve

    # As many requests as a fast machine's tests send in a minute: rates have tests of their own.
    running = serve(model, port=None, limits=Limits(requests_per_minute=100_000, uploads_per_minute=10_000))
    yield running
    running.close()
    assert not running.folder.path.exists()


@pytest.fixture(scope="module")  # playwright's event loop would be in the way of other tests' own
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api", reason="the browser tests need playwright")
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("the browser tests need chromium: apt-get install chromium")
    with api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=found, args=list(FLAGS), timeout=120_000)
        yield opened
        opened.close()


class Page:
    """The page as a visitor handles it."""

    def __init__(self, page: Any) -> None:
        from playwright.sync_api import TimeoutError

        self.page, self.timeout = page, TimeoutError
        self.requests: list[str] = []
        self.faults: list[str] = []
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("pageerror", lambda error: self.faults.append(str(error)))

    @property
    def words(self) -> Any:
        return self.page.locator("#words textarea, #words input").first

    def answered(self, words: str) -> None:
        """Wait until the page shows what became of these words: labels, or what is wrong with them."""
        self.page.wait_for_function(
            """words => {
                const [box] = document.querySelectorAll('#words textarea, #words input');
                const studio = document.querySelector('#studio [data-asked]');
                return box.value === words && studio && studio.dataset.asked === words;
            }""",
            arg=words,
        )

    def type(self, words: str) -> None:
        self.words.fill(words)
        self.answered(words)

    def shows_photo(self, name: str) -> None:
        """Wait until the photograph of that name is shown, labelled with the words as they stand."""
        self.page.wait_for_function("name => document.querySelector('.photo').alt === name", arg=name)
        self.answered(self.words.input_value())

    def has_words(self, *words: str) -> None:
        """Wait until these words, and no others, are in the box and in the legend."""
        self.page.wait_for_function(
            """words => {
                const [box] = document.querySelectorAll('#words textarea, #words input');
                const shown = [...document.querySelectorAll('.legend .word')].map((word) => word.innerText);
                return box.value === words.join(', ') && shown.sort().join() === [...words].sort().join();
            }""",
            arg=list(words),
        )
        self.answered(", ".join(words))

    def legend(self) -> list[str]:
        return self.page.locator(".legend .word").all_inner_texts()

    def shows(self, shares: dict[str, float], wait: float = WAIT) -> None:
        """Wait until the legend says these shares (0 to 1): other answers may come before it."""
        expected = {name: f"{100 * s:.1f} %" if s >= 0.0005 else None for name, s in shares.items()}
        self.page.wait_for_function(
            """expected => {
                const shown = Object.fromEntries([...document.querySelectorAll('.legend li')].map((line) =>
                    [line.querySelector('.word').innerText, line.querySelector('.share').innerText]));
                const wrong = Object.entries(expected).filter(([name, text]) => text && text !== shown[name]);
                return wrong.length === 0 && Object.keys(expected).every((name) => name in shown);
            }""",
            arg=expected,
            timeout=wait,
        )

    def slider(self, label: str) -> Any:
        return self.page.get_by_label(label).locator("visible=true").last

    def slid(self, keys: dict[str, str], shares: dict[str, float]) -> None:
        """Move sliders to their ends by keys until the legend says these shares.

        Gradio puts a slider back if it was moved while it unfolded; then it is moved once more.
        """
        for _ in range(20):
            for label, key in keys.items():
                self.slider(label).press(key)
            try:
                self.shows(shares, WAIT / 20)
                return
            except self.timeout:
                continue
        self.shows(shares)

    def painted(self) -> Any:
        """(H, W, 4) of the tint that lies on the photograph."""
        url = self.page.evaluate("document.querySelector('.paint').toDataURL('image/png')")
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.split(",")[1]))))

    def click(self, x: float, y: float) -> None:
        box = self.page.locator(".picture").bounding_box()
        place = {"x": x * box["width"], "y": y * box["height"]}
        self.page.locator(".picture").click(position=place)  # once it stands still


@pytest.fixture
def page(served: Any, browser: Any) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    opened = Page(context.new_page())
    opened.page.set_default_timeout(WAIT)
    opened.page.goto(served.url)
    opened.page.wait_for_selector(".legend li")
    opened.answered(opened.words.input_value())
    yield opened
    assert opened.faults == []
    outside = [u for u in opened.requests if not u.startswith((served.url, "data:", "blob:"))]
    assert outside == []  # no font, no script, no word of us to anybody
    context.close()
