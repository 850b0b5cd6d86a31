"""Names in any script are drawn without boxes, with what fonts there are."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from freeda.show import overlay, text


@pytest.fixture(params=["with the system's fonts", "with Pillow's font alone"])
def fonts(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    if "alone" in request.param:
        monkeypatch.setattr(text, "_SYSTEM", ())
    text._drawn.cache_clear()
    yield request.param
    text._drawn.cache_clear()


def drawn(name: str, size: int = 20) -> np.ndarray:
    sheet = Image.new("RGB", (300, 40), "white")
    text.write(ImageDraw.Draw(sheet), (5, 20), name, size, (0, 0, 0))
    return np.asarray(sheet)


def test_plain_names_use_pillows_font(fonts: str) -> None:
    sheet = Image.new("RGB", (300, 40), "white")
    ImageDraw.Draw(sheet).text((5, 20), "cat 100 %", (0, 0, 0), ImageFont.load_default(20), anchor="lm")
    np.testing.assert_array_equal(drawn("cat 100 %"), np.asarray(sheet))
    assert text.drawable("cat 100 %") == "cat 100 %"


def test_no_letter_is_drawn_as_a_box(fonts: str) -> None:
    for name in (
        "naïve café",
        "Straße",
        "🦊 fox",
        "犬",
        "قطة",
        "שלום",
        "кошка",
        "👨\u200d👩\u200d👧",
        "a\u0301",
    ):
        shown, face = text._drawn(name)
        assert all(c.isspace() or text._has(face, c) for c in shown), name
        assert (drawn(name) != 255).any() == bool(shown), name


def test_accents_are_dropped_before_letters_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "_SYSTEM", ())
    text._drawn.cache_clear()
    for name, shown in {"naïve café": "naive cafe", "🦊 fox": "fox", "犬": "", "👨\u200d👩": ""}.items():
        assert text.drawable(name) == shown
    text._drawn.cache_clear()


def test_letters_from_right_to_left_need_their_own_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text.features, "check", lambda name: False)
    text._drawn.cache_clear()
    assert text.drawable("قطة") == "" and text.drawable("cat قطة") == "cat"
    text._drawn.cache_clear()


def test_a_name_that_no_font_has_is_known_by_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "_SYSTEM", ())
    text._drawn.cache_clear()
    image, labels = np.zeros((700, 700, 3), np.uint8), np.ones((700, 700), int)
    np.testing.assert_array_equal(
        overlay(image, labels, ["a", "犬"]), overlay(image, labels, ["a", "class 2"])
    )
    text._drawn.cache_clear()


@pytest.mark.parametrize("size", [(10, 20_000), (20_000, 10), (1, 1)])
def test_the_legend_of_a_strip_is_no_larger_than_need_be(size: tuple[int, int]) -> None:
    labels = np.arange(size[0] * size[1]).reshape(size) % 3
    out = overlay(np.zeros((*size, 3), np.uint8), labels, ["cat", "wooden table", "sky"])
    assert out.shape[0] <= max(size[0], 700) and out.shape[1] <= max(size[1], 700) + 300


@pytest.mark.parametrize("letter", ["a", "犬", "\u0301", "i ", "\U0010fffe "])
def test_texts_are_cut_before_they_are_measured(monkeypatch: pytest.MonkeyPatch, letter: str) -> None:
    asked: list[int] = []
    real = text.width
    monkeypatch.setattr(text, "width", lambda t, size: asked.append(len(t)) or real(t, size))
    lines = [text.shorten(letter * 10**6, 12, 200), *text.wrap(letter * 10**6, 12, 200, lines=3)]
    assert all(real(line, 12) <= 200 and len(line) < 900 for line in lines)
    assert max(asked) < 900 and sum(asked) < 10**6


def test_shortened_is_the_longest_that_fits() -> None:
    for size, limit in ((12, 100), (20, 31), (9, 5), (12, 0)):
        for name in ("wooden table by a window", "iiiiiiiiiiiiiiiiiiiiiii", "cat", "naïve café of Straße"):
            fits = [n for n in range(len(name)) if text.width(name[:n] + "...", size) <= limit]
            cut = name[: max(fits, default=0)].rstrip() + "..."
            assert text.shorten(name, size, limit) == (name if text.width(name, size) <= limit else cut)
