"""A small data set with predictions, and what an evaluation of it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from freeda.evaluation.counts import Counts
from freeda.evaluation.result import Evaluation, ImageRow
from label_maps import Map, random_maps

NAMES = ("cat", "a|b *c*", "sofa\nbed", "<i>", "background")


class Small:
    """A data set in memory; predictions for it are beside it."""

    name = "small"
    background = True
    changes: dict[str, Any] = {}  # noqa: RUF012

    def __init__(self, pairs: list[tuple[Map, Map]], names: tuple[str, ...] = NAMES) -> None:
        self.pairs, self.classes = pairs, names[:-1]

    def __len__(self) -> int:
        return len(self.pairs)

    def sample_name(self, i: int) -> str:
        return f"image_{i}"

    def read_image(self, i: int) -> Map:
        return np.random.default_rng(i).integers(0, 256, (*self.pairs[i][1].shape, 3), dtype=np.uint8)

    def read_truth(self, i: int) -> Map:
        return self.pairs[i][1]

    def digest(self) -> str:
        return "small"


def evaluated(data: Small, names: tuple[str, ...] = NAMES) -> Evaluation:
    counts, rows = Counts(len(names)), []
    for i, (pred, truth) in enumerate(data.pairs):
        alone = Counts(len(names))
        alone.update(pred, truth)
        counts.add(alone)
        rows.append(ImageRow(i, f"image_{i}", alone.miou(), alone.pixel_accuracy(), 0.25 * i, truth.size))
    settings = {"limit": None, "options": {"k": 350, "sizes": [1, 2]}, "bank": "x|y"}
    return Evaluation("small", names, counts, tuple(rows), settings, 3.0, 2**30)


def pairs(n: int, labels: int, size: int = 40) -> list[tuple[Map, Map]]:
    return [random_maps(seed, (size, size + seed), labels, np.uint8) for seed in range(n)]


def small_data() -> Small:
    """Five images of four classes; "background" is found nowhere."""
    return Small(pairs(5, 4))


def relabeller(data: Small) -> tuple[Callable[[int], Map], list[int]]:
    asked: list[int] = []

    def relabel(i: int) -> Map:
        asked.append(i)
        return data.pairs[i][0]

    return relabel, asked
