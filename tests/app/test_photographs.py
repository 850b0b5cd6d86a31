"""Photographs of one's own in a real browser, and words that change meanwhile."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from PIL import Image

from freeda.app.engine import samples


def test_a_photograph_of_ones_own(page: Any, tmp_path: Path) -> None:
    Image.fromarray(samples()[1].image[:200, :400]).save(tmp_path / "mine.png")
    page.page.set_input_files(".file", tmp_path / "mine.png")
    page.shows_photo("mine.png")
    page.page.wait_for_function("document.querySelector('.photo').naturalWidth === 400")
    assert page.painted().shape[1] / page.painted().shape[0] == 2
    # Dropped on the picture: the browser hands over a file.
    data = base64.b64encode((tmp_path / "mine.png").read_bytes()).decode()
    dropped = page.page.evaluate_handle(
        """async (data) => {
            const transfer = new DataTransfer();
            const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
            transfer.items.add(new File([bytes], 'dropped.png', { type: 'image/png' }));
            return transfer;
        }""",
        data,
    )
    page.page.dispatch_event(".picture", "drop", {"dataTransfer": dropped})
    page.shows_photo("dropped.png")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    page.page.set_input_files(".file", tmp_path / "broken.png")
    page.page.wait_for_function(
        "document.querySelector('.note').textContent.includes('broken.png: not an image')"
    )
    assert page.page.locator(".photo").get_attribute("alt") == "dropped.png"  # what was seen stays
    page.page.wait_for_timeout(300)
    assert "broken.png" in page.page.locator(".note").inner_text()  # until something else is asked for


def test_what_the_miniature_does_not_know_is_told(page: Any, tmp_path: Path) -> None:
    caveat, about = page.page.locator(".key > .caveat"), page.page.locator(".about")
    assert caveat.inner_text() == "" and "drawn scenes, not photographs" in about.inner_text()
    page.type("sunset, bear")
    of_words = page.page.locator(".legend .caveat").all_inner_texts()
    assert sorted(of_words) == ["", "not in this bank; answered by mushroom"]
    Image.fromarray(samples()[1].image).save(tmp_path / "mine.png")
    page.page.set_input_files(".file", tmp_path / "mine.png")
    page.shows_photo("mine.png")
    assert "drawn scenes, not photographs" in caveat.inner_text() and about.inner_text() == ""  # said once
    page.page.locator(".sample").nth(2).click()
    page.page.wait_for_function("document.querySelector('.about').textContent !== ''")
    assert caveat.inner_text() == ""


def test_without_words(page: Any, tmp_path: Path) -> None:
    page.type("")
    Image.fromarray(samples()[1].image).save(tmp_path / "mine.png")
    page.page.set_input_files(".file", tmp_path / "mine.png")
    page.shows_photo("mine.png")
    assert page.legend() == [] and not page.painted().any()  # nothing of the last photograph's
    assert "at least one word" in page.page.locator(".note").inner_text()


def test_what_was_said_of_other_words_is_not_shown(page: Any) -> None:
    """Pictures that are drawn for a click come after the words changed: they must not come back."""
    page.click(0.3, 0.5)
    page.page.wait_for_selector(".below .card")
    for words in ("tree", "night", "sunset, water"):
        page.type(words)
    page.page.wait_for_timeout(1500)
    assert sorted(page.legend()) == ["sunset", "water"]
    assert page.page.locator(".why .verdict, .below .card").count() == 0
