"""The page in a real browser: type words, see labels change, click a region, download files, by keyboard."""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from freeda.app.engine import samples
from freeda.segment import Segmentation

from .conftest import WAIT


def test_never_empty_and_as_the_library_says(page: Any, model: Any) -> None:
    first = samples()[0]
    names = first.words.split(", ")
    result = model.segment(first.image, names)
    by_share = sorted(names, key=lambda name: -result.shares[name])
    assert page.legend() == by_share
    shares = page.page.locator(".legend .share").all_inner_texts()
    assert shares == [f"{100 * result.shares[name]:.1f} %" for name in by_share]
    numbers = page.page.locator(".legend .chip").all_inner_texts()
    assert numbers == [str(names.index(name) + 1) for name in by_share]
    shown = set(page.page.locator(".badge").all_inner_texts())
    assert shown == set(numbers)  # told apart by number, not by colour alone
    paint = page.painted()
    assert paint.shape[:2] == result.labels.shape
    for name in names:
        inside = paint[result.mask(name)]
        colour = result.palette[names.index(name)]
        close = np.abs(inside[:, :3].astype(int) - colour).max(axis=1) <= 3
        assert close.mean() > 0.9, name  # the rest are borders


def test_words_change_the_picture_at_once(page: Any) -> None:
    before = page.painted()
    page.type("sunset, water, tree, house, road")
    assert sorted(page.legend()) == ["house", "road", "sunset", "tree", "water"]
    heard = page.page.locator("[role=status].heard").inner_text()
    assert "sunset" in heard and " %" in heard
    page.type("night")
    assert page.legend() == ["night"] and page.page.locator(".legend .share").inner_text() == "100.0 %"
    assert page.page.locator(".note").inner_text().startswith("night is the only word, so")
    assert not np.array_equal(page.painted(), before)
    page.words.fill("")  # a person types: every letter is an edit of its own
    page.words.press_sequentially("water, sunset")
    page.answered("water, sunset")
    assert sorted(page.legend()) == ["sunset", "water"] and page.page.locator(".note").inner_text() == ""


def test_a_wrong_word_is_one_friendly_line(page: Any) -> None:
    legend = page.legend()
    page.type("tree, tree")
    assert page.page.locator(".note").inner_text() == "class name 'tree' is given twice"
    assert page.legend() == legend  # what was seen stays
    page.type("<img src onerror>, tree")
    assert "<img src onerror>" in page.legend()
    assert page.page.locator(".legend img").count() == 0
    page.click(0.5, 0.2)
    page.page.wait_for_selector(".why .verdict")
    assert "<img src onerror>" in page.page.locator(".why tbody").inner_text()
    assert page.page.locator(".why img[onerror], .below img[onerror]").count() == 0


def test_click_tells_why(page: Any) -> None:
    page.click(0.3, 0.5)
    page.page.wait_for_selector(".why .verdict")
    assert "tree" in page.page.locator(".why .won").inner_text()
    heard = page.page.locator("[role=status].heard").inner_text()  # what a screen reader says
    assert heard.startswith("3 tree: ") and "ahead of" in heard
    rows = page.page.locator(".why tbody th").all_inner_texts()
    assert len(rows) == 4 and "tree" in rows[0]
    assert (
        "lobal term" in page.page.locator(".why").inner_text()
        or "agree" in page.page.locator(".why").inner_text()
    )
    page.page.wait_for_selector("#studio .below .card img")  # drawn again from caption and seed
    captions = page.page.locator("#studio .below .card figcaption").all_inner_texts()
    assert len(captions) == 8 and any("tree" in text for text in captions[:4])
    page.type("sunset, water")
    assert page.page.locator(".why .verdict").count() == 0  # it was about other words


def test_own_colours_and_opacities_reach_the_files(page: Any, tmp_path: Path) -> None:
    page.page.evaluate(
        """() => {
        const row = [...document.querySelectorAll('.legend li')].find((li) => li.innerText.includes('tree'));
        const colour = row.querySelector('input[type=color]');
        colour.value = '#00ff00'; colour.dispatchEvent(new Event('input', {bubbles: true}));
        const own = row.querySelector('.own');
        own.value = 100; own.dispatchEvent(new Event('input', {bubbles: true}));
    }"""
    )
    green = (page.painted() == [0, 255, 0, 255]).all(axis=-1)
    assert 0.1 < green.mean() < 0.2
    files = {}
    for kind in ("overlay", "labels", "npz", "coco-panoptic"):
        page.page.select_option(".kind", kind)
        with page.page.expect_download() as waiting:
            page.page.click(".download")
        files[kind] = tmp_path / waiting.value.suggested_filename
        waiting.value.save_as(files[kind])
    page.type("sunset, water, tree, house, road")
    with page.page.expect_download():  # of the words as they are now
        page.page.click(".download")
    assert files["overlay"].name == "scene-1.overlay.jpg"
    picture = np.asarray(Image.open(files["overlay"])).astype(int)
    assert (np.abs(picture - [0, 255, 0]).max(axis=-1) < 12).mean() > 0.05
    labels = Image.open(files["labels"])
    result = Segmentation.load_npz(files["npz"])
    np.testing.assert_array_equal(np.asarray(labels), result.labels)
    assert labels.getpalette()[3 * result.names.index("tree") :][:3] == [0, 255, 0]
    with zipfile.ZipFile(files["coco-panoptic"]) as archive:
        (record,) = [n for n in archive.namelist() if n.endswith(".json")]
        assert len(archive.namelist()) == 2 and "annotations" in json.loads(archive.read(record))


def test_everything_without_a_mouse(page: Any) -> None:
    page.words.focus()
    seen = []
    for _ in range(60):
        page.page.keyboard.press("Tab")
        seen.append(
            page.page.evaluate(
                """() => {
                const e = document.activeElement;
                return e.getAttribute('aria-label') || [e.className, e.id, e.innerText].join(' ');
            }"""
            )
        )
        if seen[-1].startswith("download "):
            page.page.evaluate("document.querySelector('.kind').value = 'labels'")
            with page.page.expect_download() as waiting:
                page.page.keyboard.press("Enter")
            assert waiting.value.suggested_filename.endswith(".labels.png")
        if seen[-1].startswith("The labelled picture"):
            for _ in range(3):
                page.page.keyboard.press("ArrowUp")
            assert page.page.locator(".cursor").is_visible()
            page.page.keyboard.press("Enter")
            page.page.wait_for_selector(".why .verdict")
    told = "\n".join(seen)
    for part in (
        "The labelled picture",
        "sample",
        "file",
        "studio-opacity",
        "Colour of tree",
        "Opacity of tree",
    ):
        assert part in told, part
    for part in ("Download", "Settings", "References"):
        assert part in told or page.page.get_by_role("tab", name=part).count() == 1, part
    page.page.locator(".sample").nth(2).focus()
    page.page.keyboard.press("Enter")
    page.has_words(*samples()[2].words.split(", "))


def test_sliders_do_what_they_say(page: Any, model: Any) -> None:
    words = "sunset, water, tree, house, road"
    page.type(words)
    page.page.get_by_text("Settings").click()
    keys: dict[str, str] = {}
    changes: dict[str, Any] = {}
    for label, key, change in (
        ("Local weight", "Home", {"local_weight": 0.0}),
        ("References a word (K)", "Home", {"k": 1}),
        ("Superpixel scale", "End", {"superpixels": replace(model.options.superpixels, scale=1000.0)}),
    ):
        keys[label] = key
        changes.update(change)
        page.slid(keys, model.segment(samples()[0].image, words.split(", "), **changes).shares)


def test_the_offline_stage(page: Any) -> None:
    page.page.get_by_role("tab", name="References").click()
    page.page.locator("#caption textarea, #caption input").first.fill("a red house on the grass")
    page.page.click("#draw")
    page.page.wait_for_selector("#story .story")
    titles = page.page.locator("#story h2").all_inner_texts()
    assert [t.split("\n")[0].split(" ")[0] for t in titles] == ["Picture", "Word", "Masks"]
    assert page.page.locator("#story .card").count() == 1 + 2 + 2
    page.page.locator("#caption textarea, #caption input").first.fill("of the and")
    page.page.click("#draw")
    toast = page.page.wait_for_selector(".toast-body, [data-testid='toast-body']")
    assert "no noun was found" in toast.inner_text()


def test_search(page: Any) -> None:
    page.page.get_by_role("tab", name="Bank").click()
    page.page.locator("#query textarea, #query input").first.fill("cottage")
    page.page.keyboard.press("Enter")
    page.page.wait_for_selector("#found .card img")
    nouns = page.page.locator("#found h2").all_inner_texts()
    assert nouns[0].startswith("home") and "similarity" in nouns[0]


def test_a_phone(served: Any, browser: Any) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    phone = context.new_page()
    phone.set_default_timeout(WAIT)
    phone.goto(served.url)
    phone.wait_for_selector(".legend li")
    phone.wait_for_function(  # once its styles have come
        """() => {
            const [picture, legend] = ['.picture', '.legend'].map(
                (name) => document.querySelector(name).getBoundingClientRect());
            const narrow = document.documentElement.scrollWidth <= 390;
            return narrow && picture.width > 300 && legend.y > picture.bottom - 1;
        }"""
    )
    context.close()
