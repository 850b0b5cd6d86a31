"""The page in a real browser: type, correct, teach, undo, folder, export, reload, cancel, two visitors."""

from __future__ import annotations

import io
import shutil
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("playwright.sync_api", reason="the browser tests need playwright")
from freeda.app.limits import Limits
from freeda.app.photographs import samples
from freeda.app.server import serve

from .browsing import Page, browsing, chromium

pytestmark = pytest.mark.skipif(
    chromium() is None, reason="the browser tests need chromium: apt-get install chromium"
)
TREE, SKY, SEA = (0.3, 0.5), (0.6, 0.2), (0.75, 0.72)
"""Places of the first sample: tree, sunset, water."""
LIMITS = Limits(requests_per_minute=100_000, uploads_per_minute=10_000)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with browsing() as opened:
        yield opened


@pytest.fixture(scope="module")
def served(model: Any) -> Iterator[Any]:
    running = serve(model, port=None, limits=LIMITS)
    yield running
    running.close()


@pytest.fixture
def page(served: Any, browser: Any) -> Iterator[Page]:
    """A new visitor, who sees the first sample."""
    found = Page(browser, served.url)
    yield found
    found.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i, sample in enumerate(samples()[:4], start=1):
        sample.picture.save(tmp_path / f"scene-{i}.png")
    return tmp_path


def test_never_empty_and_as_the_library_says(page: Page, model: Any) -> None:
    first = samples()[0]
    result = model.segment(first.picture, first.words.split(", "))
    assert page.legend() == {name: f"{100 * share:.1f} %" for name, share in result.shares.items()}
    page.shows(*result.names)
    shown = np.array(page.js("[...freeda.store.map.label]")).reshape(result.labels.shape)
    np.testing.assert_array_equal(shown, result.labels + 1)  # to the last pixel
    assert "miniature" in page.page.locator("#notice").inner_text()
    assert "sunset 42" in page.page.locator("#heard").inner_text()  # what a screen reader says


def test_typing(page: Page) -> None:
    page.page.fill("#words", "")
    page.page.locator("#words").press_sequentially("water, <img src onerror>")
    page.until("freeda.store.ws.words === 'water, <img src onerror>'")
    page.ready()
    assert (
        set(page.legend()) == {"water", "<img src onerror>"} and page.page.locator("#legend img").count() == 0
    )
    page.page.fill("#words", "tree, tree")
    error = page.page.locator("#error span")
    assert error.inner_text() == "class name 'tree' is given twice"
    assert set(page.legend()) == {"water", "<img src onerror>"}  # what was seen stays
    page.words(", ".join(["tree", "water", *(f"thing {i}" for i in range(24))]))
    assert error.count() == 0
    rows = page.page.locator("#legend li:visible").count()
    assert 2 <= rows < 26 and "not in this picture" in page.page.locator("#legend summary").inner_text()
    page.page.check("#others")
    page.until("freeda.store.labels.classes.some(one => one.name === 'everything else')")


def test_every_tool_corrects_and_teaches(page: Page) -> None:
    keys = page.page.keyboard
    page.click(*TREE)
    assert page.page.locator("#choose-title").inner_text().startswith("tree")
    page.page.fill("#choose-word", "wa")
    assert page.page.locator("#choose-list li").all_inner_texts() == ["water", "+\nAdd “wa”"]
    page.choose("bush")  # a new word joins the list
    assert page.name_at(*TREE) == "bush" and page.page.input_value("#words").endswith(", bush")
    assert [one["word"] for one in page.js("freeda.store.ws.lessons")] == ["bush"]
    assert page.page.locator("#lessons").inner_text().endswith("bush")
    page.page.click("#undo")
    page.until("!freeda.store.ws.lessons.length")
    page.ready()
    assert page.name_at(*TREE) == "tree"
    keys.press("Control+Shift+z")
    page.until("freeda.store.ws.lessons.length === 1")
    page.ready()
    assert page.name_at(*TREE) == "bush"
    page.click(*TREE)
    page.page.click("#choose-back")
    page.until("!freeda.store.labels.regions.some(one => one.corrected)")

    page.page.uncheck("#teach")
    lessons = page.js("freeda.store.ws.lessons.length")
    keys.press("b")
    page.drag((0.6, 0.05), (0.9, 0.3))
    page.page.check("#choose-exact input")
    page.choose("house")
    assert page.name_at(0.62, 0.07) == page.name_at(0.88, 0.28) == "house" != page.name_at(0.58, 0.07)
    keys.press("p")
    keys.press("]")
    page.drag((0.1, 0.1), (0.3, 0.1))
    page.drag((0.2, 0.05), (0.2, 0.2))
    page.choose("water")
    assert page.name_at(0.1, 0.1) == page.name_at(0.2, 0.19) == "water" != page.name_at(0.2, 0.3)
    assert page.js("freeda.store.ws.lessons.length") == lessons

    keys.press("s")
    assert page.region_at(0.7, 0.15) == page.region_at(0.8, 0.15)  # the box
    page.drag((0.75, 0.03), (0.75, 0.33))
    page.until("freeda.regionAt(.7 * 512, .15 * 512).region !== freeda.regionAt(.8 * 512, .15 * 512).region")
    keys.press("m")
    page.click(0.7, 0.15)
    page.click(0.8, 0.15)
    keys.press("Enter")  # on the button that has the focus
    page.until("freeda.regionAt(.7 * 512, .15 * 512).region === freeda.regionAt(.8 * 512, .15 * 512).region")
    page.page.click("#accept")
    page.until("freeda.store.ws.pictures[0].state === 'accepted'")


def test_ways_to_look(page: Page) -> None:
    row = page.page.locator("#legend li[data-name=tree]")
    row.hover()
    page.shows("tree")
    page.page.mouse.move(5, 5)
    row.locator(".eye").click()
    page.page.mouse.move(5, 5)
    page.shows("house", "sunset", "water")
    page.page.keyboard.press("o")
    page.page.click("#compare")
    wipe = page.page.locator("#wipe")
    wipe.focus()
    page.page.keyboard.press("End")
    page.shows()  # all of it is before
    assert wipe.get_attribute("aria-valuenow") == "100"
    page.page.keyboard.press("c")
    before = page.spot(0.5, 0.5)
    page.page.mouse.move(*before)
    page.page.mouse.wheel(0, -400)
    page.until("parseInt(document.querySelector('#fit').textContent) > 200")
    assert np.allclose(page.spot(0.5, 0.5), before, atol=1)
    page.drag((0.5, 0.5), (0.55, 0.55))
    assert page.spot(0.5, 0.5) != before and page.page.locator("#choose").is_hidden()
    page.page.keyboard.press("0")
    page.page.evaluate(
        """() => { const pick = document.querySelector('#legend li[data-name=water] input');
        pick.value = '#ff0000'; pick.dispatchEvent(new Event('input')); }"""
    )
    page.until("freeda.store.ws.classes.find(one => one.name === 'water').colour === '#ff0000'")


def test_everything_without_a_mouse(page: Page) -> None:
    keys = page.page.keyboard
    page.page.locator("#words").focus()
    keys.press("Escape")
    page.page.locator("#file").focus()
    told = set()
    for _ in range(45):
        keys.press("Tab")
        told.add(
            page.js(
                """(() => {
                    const one = document.activeElement;
                    const named = one.getAttribute('aria-label') || one.labels?.[0]?.innerText;
                    return named || one.innerText || one.id;
                })()"""
            )
        )
    told = {one.strip().split("\n")[0] for one in told}
    for part in (
        "Export",
        "Bank",
        "Words",
        "Region",
        "Teach",
        "Zoom in",
        "Accept",
        "Show tree",
        "Colour of tree",
        "Opacity",
        "Settings",
    ):
        assert any(one.startswith(part) for one in told), (part, told)
    assert any(one.startswith("The labelled picture") for one in told)
    page.page.locator("#stage").focus()
    for key in ("ArrowUp", "Shift+ArrowLeft", "Enter"):
        keys.press(key)
    assert page.page.locator("#choose-word").is_visible()
    keys.press("2")  # the second word
    page.until("document.querySelector('#choose').hidden && freeda.store.ws.undo")
    page.ready()
    for key in ("b", "Enter", "ArrowRight", "Shift+ArrowDown", "Enter"):
        keys.press(key)
    assert page.page.locator("#choose-title").inner_text() == "Box"
    keys.press("Escape")
    keys.press("?")
    assert page.page.locator("#sheet").is_visible()
    keys.press("Escape")
    assert page.page.locator("#sheet").is_hidden()
    keys.press("/")
    assert page.js("document.activeElement.id") == "words"


def test_why_bank_and_drawing(page: Page, served: Any, monkeypatch: Any) -> None:
    drawn = np.zeros((8, 8, 3), np.uint8), np.ones((8, 8), bool)
    monkeypatch.setattr(
        served.studio.drawing, "stepwise", lambda rows: [({}, True), (dict.fromkeys(rows, drawn), False)]
    )
    page.click(*TREE)
    page.page.click("#choose-why")
    page.page.wait_for_selector("#why table")
    told = page.page.locator("#why").inner_text()
    assert told.startswith("Why tree?") and "ahead of" in told
    page.page.wait_for_selector("#why .card img")  # drawn again from caption and seed
    page.page.click("#bank")
    page.page.fill("#sheet input", "cottage")
    page.page.keyboard.press("Enter")
    page.page.wait_for_selector("#sheet .card")
    assert page.page.locator("#sheet h3").first.inner_text() == "home"
    page.page.click("#sheet-close")
    page.page.click("#draw")
    page.page.locator("#sheet input[type=text]").fill("of the and")
    page.page.click("#sheet .ask button")
    assert "no noun" in page.page.locator("#sheet .bad").inner_text()
    page.page.locator("#sheet input[type=text]").fill("a red house on the grass")
    page.page.click("#sheet .ask button")
    page.page.wait_for_selector("#sheet .story")
    assert page.page.locator("#sheet .card").count() == 1 + 2 + 2


def test_photographs_and_exports(page: Page, folder: Path, tmp_path: Path) -> None:
    page.page.set_input_files("#file", [folder / "scene-2.png", folder / "scene-3.png"])
    page.until("freeda.store.ws.pictures.length === 3 && freeda.store.ws.work === null")
    page.ready()
    assert page.page.locator("#strip li").count() == 3
    bad = tmp_path / "no.png"
    bad.write_bytes(b"no picture")
    page.page.set_input_files("#file", bad)
    assert "no.png" in page.page.locator("#error span").inner_text()
    page.page.click("#error button")
    seen = set()
    for _ in range(3):
        seen.add(page.page.locator("#about b").inner_text())
        page.page.keyboard.press("j")
        page.ready()
    assert len(seen) == 3
    page.page.click("#accept")
    page.until(
        "(f => f.ws.pictures.at(-1).state === 'accepted' && f.ws.pictures[0].id === f.picture)(freeda.store)"
    )
    page.page.click("#export")
    page.page.check("#sheet [value=yolo]")
    page.page.check("#sheet [value=all]")
    with page.page.expect_download() as waiting:
        page.page.click("#sheet form button")
    with zipfile.ZipFile(waiting.value.path()) as archive:
        assert all(any(f"scene-{i}" in name for name in archive.namelist()) for i in (1, 2, 3))
    page.page.keyboard.press("x")
    page.page.check("#sheet [value=labels]")
    with page.page.expect_download() as waiting:
        page.page.click("#sheet form button")
    labels = np.asarray(Image.open(io.BytesIO(Path(waiting.value.path()).read_bytes())))
    assert labels.shape == (512, 512)
    page.page.click("#remove")
    page.until("freeda.store.ws.pictures.length === 2")


def test_reload(page: Page, served: Any, folder: Path) -> None:
    page.page.set_input_files("#file", folder / "scene-2.png")
    page.until("freeda.store.ws.pictures.length === 2")
    page.words("beach, wall, grass")
    page.page.click("#settings summary")
    page.page.locator("#knob-k").fill("7")
    page.until("freeda.store.ws.settings.k === 7")
    name = page.page.locator("#about b").inner_text()
    page.open()
    assert (
        page.page.locator("#about b").inner_text() == name
        and page.page.input_value("#words") == "beach, wall, grass"
    )
    assert page.page.locator("#knob-k").input_value() == "7"
    served.studio.visitors.drop(page.js("freeda.store.ws.id"))  # as after a new start of the server
    page.page.goto(page.url)
    page.until("globalThis.freeda?.store.ws?.pictures.length === 1")
    page.until("freeda.store.ws.words === 'beach, wall, grass' && freeda.store.ws.settings.k === 7")
    assert "put your photographs away" in page.page.locator("#error").inner_text()


def test_two_visitors_of_a_folder_and_cancelling(
    model: Any, browser: Any, folder: Path, monkeypatch: Any
) -> None:
    slow = 0.4
    encode = type(model).encode

    def slowly(self: Any, *given: Any, **how: Any) -> Any:
        time.sleep(slow)
        return encode(self, *given, **how)

    monkeypatch.setattr(type(model), "encode", slowly)
    for i in range(6):
        shutil.copy(folder / "scene-1.png", folder / f"more-{i}.png")
    running = serve(model, port=None, limits=LIMITS, folder=folder, words="sunset, water, tree, house")
    try:
        first = Page(browser, running.url)
        first.page.wait_for_selector("#task:visible")
        assert "of 10" in first.page.locator("#doing").inner_text()
        first.page.click("#cancel")
        first.until("document.querySelector('#cancel').textContent === 'Go on'")
        waiting = "freeda.store.ws.pictures.filter(one => one.state === 'waiting').length"
        assert first.js(waiting) > 0
        slow = 0.0
        first.page.click("#cancel")
        first.until(f"{waiting} === 0 && freeda.store.ws.work === null")
        doubts = [one["uncertainty"] for one in first.js("freeda.store.ws.pictures")]
        assert doubts == sorted(doubts, reverse=True)
        second = Page(browser, running.url)
        shown = first.js("freeda.store.picture")
        second.js(
            "id => document.querySelector(`#strip button:has(img[src*='${id}'])`).click()",
            shown,
        )
        second.ready()
        first.click(0.5, 0.5)
        first.choose("meadow")
        second.until("document.querySelector('#words').value.includes('meadow')")
        second.ready()
        assert second.name_at(0.5, 0.5) == "meadow"
        second.page.click("#accept")
        first.until("freeda.store.ws.pictures.at(-1).state === 'accepted'")
        first.words("sunset, water, tree, house, meadow, snow")
        second.until("document.querySelector('#words').value.endsWith('snow')")
        second.close()
        running.close()  # and the same again, as after a crash: the page that is open goes on
        port = int(running.url.rstrip("/").rsplit(":", 1)[1])
        running = serve(model, port=port, limits=LIMITS, folder=folder)
        first.until("!document.querySelector('#error span') && freeda.store.ws.work === null")
        assert first.js("freeda.store.ws.pictures.at(-1).state") == "accepted"
        first.words("sunset, water, tree, house, meadow")
        first.close()
    finally:
        running.close()


def test_accessible_wide_and_narrow_in_light_and_dark(served: Any, browser: Any) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python")
    found = Page(browser, served.url, bypass_csp=True, has_touch=True)
    found.js("freeda.store.info.can_draw = false")  # which takes its time
    found.words(", ".join(["sunset", "water", "tree", "house", *(f"thing {i}" for i in range(20))]))
    found.page.click("#legend summary")
    found.page.click("#settings summary")
    for width, height in ((1280, 800), (390, 844)):
        found.page.set_viewport_size({"width": width, "height": height})
        found.js("scrollTo(0, 0)")
        first = found.page.locator("#opener").bounding_box()
        assert first["y"] + first["height"] < 140  # what is done first is seen first
        for theme in ("light", "dark"):
            found.page.emulate_media(color_scheme=theme)
            found.js("document.querySelector('#stage').scrollIntoView()")
            found.page.wait_for_timeout(100)
            found.page.touchscreen.tap(*found.spot(*TREE))
            for act in ("", "#choose-why", "#export"):
                if act:
                    found.page.click(act)
                if act == "#choose-why":
                    found.page.wait_for_selector("#why table")
                told = axe.Axe().run(found.page).response["violations"]
                bad = [one for one in told if one["impact"] in ("serious", "critical")]
                assert [(width, theme, act, one["id"], one["nodes"][0]["html"]) for one in bad] == []
                assert found.js("document.documentElement.scrollWidth <= innerWidth")
            found.page.click("#sheet-close")
    found.close()
