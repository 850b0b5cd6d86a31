"""The card of an explanation: what is drawn where, and that odd input is drawn at all."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

from freeda.options import Ensemble
from freeda.show.explanation import draw_card
from freeda.show.palette import palette

YELLOW = (255, 214, 64)


@dataclass(frozen=True)
class Score:
    name: str
    label: int
    score: float
    cosine: float | None = 0.5
    global_score: float | None = 0.2


@dataclass(frozen=True)
class Ref:
    noun: str = "cat"
    caption: str = "a cat on a sofa"
    cosine: float = 0.8
    image: Any = None
    mask: Any = None


@dataclass(frozen=True)
class Refs:
    name: str
    nearest: tuple[Ref, ...]
    retrieved: int = 350


def place(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    region = np.zeros((height, width), bool)
    region[height // 4 : height // 2 + 1, width // 4 : width // 2 + 1] = True
    reach = np.zeros((height, width), bool)
    reach[: height * 3 // 4 + 1, : width * 3 // 4 + 1] = True
    return region, reach


@dataclass(frozen=True)
class Card:
    scores: tuple[Score, ...]
    references: tuple[Refs, ...] = ()
    photo: Any = field(default_factory=lambda: np.full((230, 230, 3), (90, 30, 160), np.uint8))
    x: int = 80
    y: int = 80
    label: str = "cat"
    source: str | None = "/somewhere/photo.jpg"
    colours: Any = field(default_factory=lambda: palette(400))
    weights: Ensemble = field(default_factory=Ensemble)
    values: tuple[Any, ...] = ()
    lessons: tuple[Any, ...] = ()

    @property
    def region(self) -> Any:
        return place(*self.photo.shape[:2])[0]

    @property
    def reach(self) -> Any:
        return place(*self.photo.shape[:2])[1]

    def sentences(self) -> list[str]:
        return ["One sentence. " * 12, "Another."]


TWO = (Score("cat", 0, 0.6, 0.8, 0.4), Score("dog", 1, 0.3, -0.25, 0.2))


def count(card: np.ndarray, colour: Any) -> int:
    return int((card == np.array(colour, np.uint8)).all(axis=-1).sum())


def runs(card: np.ndarray, colour: Any) -> list[tuple[int, int]]:
    """(start, length) of the bars of a colour: runs longer than a swatch in any one line."""
    hit = (card == np.array(colour, np.uint8)).all(axis=-1)
    best: dict[int, int] = {}
    for line in hit:
        edges = np.flatnonzero(np.diff(np.concatenate([[0], line.astype(int), [0]])))
        for start, stop in zip(edges[::2], edges[1::2], strict=True):
            if stop - start > 17:
                best[int(start)] = max(best.get(int(start), 0), int(stop - start))
    return sorted(best.items())


def test_bars_are_as_long_as_their_numbers() -> None:
    card = draw_card(Card(TWO))
    colours = palette(2)
    first, second = (runs(card, c) for c in colours)
    assert len(first) == len(second) == 3
    (score_a, cosine_a, window_a), (score_b, cosine_b, window_b) = first, second
    assert score_b[1] / score_a[1] == pytest.approx(0.5, abs=0.02) and score_a[0] == score_b[0]
    assert window_b[1] / window_a[1] == pytest.approx(0.5, abs=0.02)
    assert score_a[1] / cosine_a[1] == pytest.approx(0.75, abs=0.02)  # one scale for all, which ends at 1
    assert cosine_a[1] < 0.75 * (window_a[0] - cosine_a[0])
    # The cosine of the second is negative: its bar ends where the first's begins.
    assert cosine_b[1] / cosine_a[1] == pytest.approx(0.25 / 0.8, abs=0.03)
    assert abs(cosine_b[0] + cosine_b[1] - cosine_a[0]) <= 1


def test_a_label_without_looks_has_one_bar() -> None:
    card = draw_card(Card((TWO[0], Score("background", 1, 0.5, None, None))))
    assert len(runs(card, palette(2)[0])) == 3 and len(runs(card, palette(2)[1])) == 1


def test_the_region_stands_out() -> None:
    told = Card(TWO)
    card = draw_card(told)
    ys, xs = np.nonzero((card == np.array(YELLOW, np.uint8)).all(axis=-1))
    # 230 px are shown as 460, under margins of 40 and the title: the seam runs around a quarter to a half.
    assert xs.min() - 40 == pytest.approx(2 * (230 // 4), abs=4)
    assert xs.max() - 40 == pytest.approx(2 * (230 // 2 + 1), abs=4)
    assert ys.max() - ys.min() == pytest.approx(2 * (230 // 2 + 1 - 230 // 4), abs=6)
    inside = 2 * (230 // 2 + 1 - 230 // 4)
    kept = count(card, (90, 30, 160))
    assert kept > inside**2 * 0.7  # the picture itself is seen in what was pooled, nowhere else
    assert kept < (2 * (230 * 3 // 4 + 1)) ** 2


def test_references_are_pictures_where_kept() -> None:
    mask = np.zeros((40, 40), bool)
    mask[10:30, 10:30] = True
    shown = Ref(image=np.full((40, 40, 3), (10, 200, 30), np.uint8), mask=mask)
    with_pictures = draw_card(Card(TWO, (Refs("cat", (shown, shown)), Refs("dog", (Ref(), Ref())))))
    bare = draw_card(Card(TWO, (Refs("cat", (Ref(), Ref())), Refs("dog", (Ref(), Ref())))))
    none = draw_card(Card(TWO))
    green = count(with_pictures, (10, 200, 30))
    # Tiles of 190: 20 of 40 pixels a side are inside the mask, of which the seam takes two.
    assert green == pytest.approx(2 * (190 * 18 / 40) ** 2, rel=0.03)
    assert count(bare, (10, 200, 30)) == 0
    assert with_pictures.shape[0] > bare.shape[0] > none.shape[0]
    assert with_pictures.shape[1] == bare.shape[1] == none.shape[1]


@pytest.mark.parametrize("size", [(1, 1), (1, 900), (700, 2), (1500, 2000)])
def test_any_photograph(size: tuple[int, int]) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    card = draw_card(replace(Card(TWO), photo=photo, x=size[1] - 1, y=size[0] - 1))
    assert card.dtype == np.uint8 and card.ndim == 3 and max(card.shape) < 2500


def test_many_long_and_foreign_names() -> None:
    scores = tuple(Score(f"{'a very long name ' * 9}{i}", i, 1.0 - i / 400) for i in range(300))
    few = draw_card(Card(TWO)).shape
    many = draw_card(replace(Card(scores), label="猫 🙂", source=None))
    assert many.shape[1] == few[1] and many.shape[0] < few[0] + 300
    assert len(runs(many, palette(400)[8])) == 3 and not runs(many, palette(400)[9])  # nine lines
    assert draw_card(Card((Score("\u200d🙂", 0, -0.2, -0.5, -0.1),))).ndim == 3
