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

gradio = pytest.importorskip("gradio", reason="the web page needs Gradio: pip install 'freeda[app]'")

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--no-first-run"),
)


@pytest.fixture(scope="session")
def model() -> Any:
    import freeda

    return freeda.load("miniature")


@pytest.fixture(scope="session")
def served(model: Any) -> Iterator[Any]:
    from freeda.app.server import serve

    running = serve(model, port=None)
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
        opened = playwright.chromium.launch(executable_path=found, args=list(FLAGS))
        yield opened
        opened.close()


class Page:
    """The page as a visitor handles it."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.requests: list[str] = []
        self.faults: list[str] = []
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("pageerror", lambda error: self.faults.append(str(error)))

    @property
    def words(self) -> Any:
        return self.page.locator("#words textarea, #words input").first

    def stamp(self) -> str | None:
        found = self.page.locator("#studio [data-stamp]")
        return str(found.get_attribute("data-stamp"))

    def new_view(self, before: str | None) -> None:
        self.page.wait_for_function(
            "s => document.querySelector('#studio [data-stamp]').dataset.stamp !== s", arg=before
        )

    def type(self, words: str) -> None:
        before = self.stamp()
        self.words.fill(words)
        self.new_view(before)

    def legend(self) -> list[str]:
        return self.page.locator(".legend .word").all_inner_texts()

    def shows(self, shares: dict[str, float]) -> None:
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
        )

    def slide(self, label: str, key: str, value: float) -> None:
        """Move a slider to one end by keyboard; where Gradio, still unfolding it, puts it back: once more."""
        slider = self.page.get_by_label(label).locator("visible=true").last
        for _ in range(20):
            slider.press(key)
            self.page.wait_for_timeout(300)
            if float(slider.input_value()) == value:
                return
        raise AssertionError(f"{label} stays at {slider.input_value()}")

    def painted(self) -> Any:
        """(H, W, 4) of the tint that lies on the photograph."""
        url = self.page.evaluate("document.querySelector('.paint').toDataURL('image/png')")
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.split(",")[1]))))

    def click(self, x: float, y: float) -> None:
        box = self.page.locator(".picture").bounding_box()
        self.page.mouse.click(box["x"] + x * box["width"], box["y"] + y * box["height"])


@pytest.fixture
def page(served: Any, browser: Any) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    opened = Page(context.new_page())
    opened.page.set_default_timeout(20_000)
    opened.page.goto(served.url)
    opened.page.wait_for_selector(".legend li")
    yield opened
    assert opened.faults == []
    outside = [u for u in opened.requests if not u.startswith((served.url, "data:", "blob:"))]
    assert outside == []  # no font, no script, no word of us to anybody
    context.close()
