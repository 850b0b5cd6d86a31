"""A stand-in for the bank's lessons, until they are there."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Lesson:
    """One lesson."""

    id: str
    word: str
    picture: str
    area: float


class Taught:
    """Lessons that teach nothing yet."""

    def __init__(self, path: Path | None = None) -> None:
        self.version = 0
        self.lessons: tuple[Any, ...] = ()
        self._undone: list[Any] = []
        self._ids = itertools.count(1)

    def add(self, word: str, picture: str, area: float) -> Lesson:
        """Add one."""
        lesson = Lesson(str(next(self._ids)), word, picture, area)
        self.lessons, self.version = (*self.lessons, lesson), self.version + 1
        return lesson

    def undo(self, id: str | None = None) -> None:
        """Take one back."""
        gone = [one for one in self.lessons if one.id == id or id is None][-1]
        self.lessons = tuple(one for one in self.lessons if one is not gone)
        self._undone.append(gone)
        self.version += 1

    def redo(self) -> None:
        """Have it again."""
        self.lessons, self.version = (*self.lessons, self._undone.pop()), self.version + 1


@dataclass(frozen=True)
class RegionVerdict:
    """A region."""

    region: int
    label: int
    share: float
    margin: float


def by_region(result: Any) -> list[RegionVerdict]:
    """As `Segmentation.by_region`."""
    if hasattr(result, "by_region"):
        return list(result.by_region())
    regions = result.regions
    n = int(regions.max()) + 1
    inside = regions >= 0
    scores = np.moveaxis(result.scores(), 0, -1)[inside]
    sums = np.stack([np.bincount(regions[inside], s, n) for s in scores.T], 1)
    area = np.maximum(np.bincount(regions[inside], minlength=n), 1)
    means = sums / area[:, None]
    ranked = np.sort(means, axis=1)
    margin = ranked[:, -1] - ranked[:, -2] if means.shape[1] > 1 else np.ones(n)
    return [
        RegionVerdict(i, int(means[i].argmax()), float(area[i] / regions.size), float(margin[i]))
        for i in range(n)
    ]


def uncertainty(result: Any) -> float:
    """As `Segmentation.uncertainty`."""
    if hasattr(result, "uncertainty"):
        return float(result.uncertainty)
    return float(np.clip(1 - sum(v.share * min(1.0, 10 * v.margin) for v in by_region(result)), 0, 1))


def teach(model: Any, taught: Taught, scene: Any, where: Any, word: str) -> Lesson:
    """As `model.teach`."""
    return (
        model.teach(scene, where, word)
        if hasattr(model, "teach")
        else taught.add(word, "", float(where.mean()))
    )
