"""How sure a label map is of itself, region by region."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .label_map import LabelMap
from .matching import CHUNK, slices
from .regions import nearest

SCALE = {True: 0.03, False: 0.1}
"""Margin at which odds of being right are e to 1, with FreeDA's score in the sum and without: what fits the
miniature's mistakes best (seed 7). [ours]"""


@dataclass(frozen=True)
class RegionVerdict:
    """What one region of a photograph got."""

    region: int
    """Its number in `Scene.regions()`; -1 is all that lies in none."""
    label: int
    """The label that most of its pixels have."""
    share: float
    """Of the photograph, 0 to 1."""
    margin: float
    """How far the best label's score is ahead of the next, mean over its pixels."""
    unsure: float
    """Share of the photograph in it that is expected to be wrong: the sum over its pixels of 1 / (1 + e ^
    (margin / `SCALE`))."""


def by_region(result: LabelMap) -> list[RegionVerdict]:
    """The verdict of every region, by their numbers. Raises InputError as `need_scene`."""
    result.need_scene()
    scores, regions = result.place_scores(), result.working_regions()
    places, used = np.unique(scores.places, return_inverse=True)
    margin = np.full(len(places), np.inf, np.float32)
    if scores.verdict.n_labels > 1:
        for part in slices(len(places), CHUNK // scores.verdict.n_planes):
            best = np.partition(scores.verdict.scores(scores.of(places[part])), -2, axis=1)
            margin[part] = best[:, -1] - best[:, -2]
    of, (h, w) = margin[used].ravel(), regions.shape
    labels = result.labels[np.ix_(nearest(result.size[0], h), nearest(result.size[1], w))].ravel()
    wrong = 1 / (1 + np.exp(np.minimum(of / SCALE[result.options.weights.freeda > 0], 50)))
    found = []
    numbers, where = np.unique(regions, return_inverse=True)
    order = np.argsort(where.ravel(), kind="stable")
    for number, own in zip(
        numbers.tolist(), np.split(order, np.cumsum(np.bincount(where.ravel()))[:-1]), strict=True
    ):
        label = int(np.bincount(labels[own]).argmax())
        share, unsure = len(own) / regions.size, float(wrong[own].sum()) / regions.size
        found.append(RegionVerdict(number, label, share, float(of[own].mean()), unsure))
    return found
