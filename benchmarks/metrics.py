"""What counting one labelled image costs, beside the same metrics by their plain definitions.

The plain definitions take class after class: masks, erosions (Boundary IoU as its authors' code has it) and
components. Both give the same numbers, which is checked before anything is timed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from common import arguments, begin, report, side_by_side
from scipy import ndimage

from freeda.evaluation.counts import LIMITS, Boundary, Counts, Sizes, band_width
from freeda.evaluation.metric import Confusion

Map = npt.NDArray[np.int64]
ALL = np.ones((3, 3), int)


def label_maps(height: int, width: int, n: int, patch: int) -> tuple[Map, Map]:
    """A truth of patches with a twentieth ignored, and a prediction that is right on most of them."""
    rng = np.random.default_rng(0)
    down, across = -(-height // patch), -(-width // patch)

    def plane() -> Map:
        return rng.integers(0, n, (down, across)).repeat(patch, 0).repeat(patch, 1)[:height, :width]

    truth = plane()
    pred = np.where(
        (rng.random((down, across)) < 0.6).repeat(patch, 0).repeat(patch, 1)[:height, :width], truth, plane()
    )
    truth[rng.random((height, width)) < 0.05] = 255
    return np.roll(pred, 2, 1), truth


def plain(pred: Map, truth: Map, n: int) -> tuple[Map, Map, Map]:
    """The arrays of `Counts`, one class at a time."""
    counted = truth != 255
    width = band_width(*truth.shape)
    confusion, bands = np.zeros((n, n), np.int64), np.zeros((3, n), np.int64)
    sizes = np.zeros((4, 3, n), np.int64)
    for c in range(n):
        said, true = (pred == c) & counted, truth == c
        for k in range(n):
            confusion[c, k] = (true & (pred == k)).sum()
        edges = [m & ~ndimage.binary_erosion(m, ALL, iterations=width) for m in (true, said)]
        bands[:, c] = (edges[0] & edges[1]).sum(), edges[0].sum(), edges[1].sum()
        sizes[..., c] = plain_sizes(said, true)
    return confusion, bands, sizes


def plain_sizes(said: npt.NDArray[np.bool_], true: npt.NDArray[np.bool_]) -> Map:
    """(4, 3): pixels found, true and wrong, and components, by size, of one class."""
    out = np.zeros((4, 3), np.int64)
    parts, count = ndimage.label(true, ALL)
    areas = [int((parts == i).sum()) for i in range(count + 1)]
    for i in range(1, count + 1):
        at = int(np.searchsorted(LIMITS, areas[i], side="right"))
        out[:, at] += (parts == i)[said].sum(), areas[i], 0, 1
    guesses, count = ndimage.label(said, ALL)
    for i in range(1, count + 1):
        guess = guesses == i
        shared = np.bincount(parts[guess])
        matches = [(int(shared[k]), areas[k]) for k in range(1, len(shared)) if shared[k]]
        area = max(matches)[1] if matches else int(guess.sum())
        out[2, np.searchsorted(LIMITS, area, side="right")] += (guess & ~true).sum()
    return out


def main() -> None:
    given = begin(arguments(__doc__ or ""))
    shapes = [(375, 500, 21), (375, 500, 171)]
    rows: list[dict[str, Any]] = []
    for height, width, n in shapes[:1] if given.quick else shapes:
        pred, truth = label_maps(height, width, n, 25)
        counts, confusion, boundary, sizes = Counts(n), Confusion(n), Boundary(n), Sizes(n)
        counts.update(pred, truth)
        for mine, wanted in zip(counts.arrays().values(), plain(pred, truth, n), strict=True):
            np.testing.assert_array_equal(mine, wanted)
        work = {
            "all, as used": lambda p=pred, t=truth, c=counts: c.update(p, t),
            "confusion only": lambda p=pred, t=truth, c=confusion: c.update(p, t),
            "boundary only": lambda p=pred, t=truth, c=boundary: c.update(p, t),
            "sizes only": lambda p=pred, t=truth, c=sizes: c.update(p, t),
        }
        taken = side_by_side(work, given.repeats)
        taken |= side_by_side({"all, by definition": lambda p=pred, t=truth, k=n: plain(p, t, k)}, 1)
        rows += [
            {"image": f"{width} x {height}", "labels": n, "what": name, "wall ms": 1000 * seconds["wall"]}
            for name, seconds in taken.items()
        ]
    height, width, n = (256, 512, 19) if given.quick else (1024, 2048, 19)
    pred, truth = label_maps(height, width, n, 64)
    big = side_by_side({"all, as used": lambda: Counts(n).update(pred, truth)}, given.repeats)
    rows.append(
        {
            "image": f"{width} x {height}",
            "labels": n,
            "what": "all, as used",
            "wall ms": 1000 * big["all, as used"]["wall"],
        }
    )
    report("metrics", given, rows)


if __name__ == "__main__":
    main()
