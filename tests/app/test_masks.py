"""Places and corrections, against plain loops and COCO's own tools."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from freeda.app import masks
from freeda.errors import InputError
from freeda.segment.lessons import regions_in


@pytest.mark.parametrize("size", [(1, 1), (5, 7), (40, 33)])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 1.0])
def test_run_length_codes(size: tuple[int, int], share: float) -> None:
    coco = pytest.importorskip("pycocotools.mask")
    rng = np.random.default_rng(0)
    mask = rng.random(size) < share
    mask = np.repeat(np.repeat(mask, 3, 0), 50, 1)  # long runs, too
    code = masks.to_rle(mask)
    np.testing.assert_array_equal(coco.decode(code).astype(bool), mask)
    theirs = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    assert theirs["counts"].decode() == code["counts"]
    flat = mask.T.ravel()
    counts, value, run = [], False, 0
    for one in flat:
        if one != value:
            counts.append(run)
            value, run = one, 0
        run += 1
    for given in (code, {"size": list(mask.shape), "counts": [*counts, run]}):
        np.testing.assert_array_equal(masks.from_rle(given), mask)
        found = np.zeros(mask.shape, bool)
        found[masks.pixels(given, mask.shape)] = True
        np.testing.assert_array_equal(found, mask)


@pytest.mark.parametrize(
    "code",
    [
        *(None, {}, {"size": [2, 2]}, {"size": [2, 2], "counts": [1]}, {"size": [2, 2], "counts": [-4, 8]}),
        *({"size": [0, 2], "counts": []}, {"size": [10**6, 10**6], "counts": [10**12]}),
        *({"size": [2, 2], "counts": "o"}, {"size": [2, 2], "counts": "ooooooooooo0"}),
        *(
            {"size": [2, 2], "counts": "é"},
            {"size": "22", "counts": [4.5, "x"]},
            {"size": [2], "counts": [2]},
        ),
    ],
)
def test_no_code(code: Any) -> None:
    with pytest.raises(InputError, match="no run-length code"):
        masks.from_rle(code)


def test_boxes() -> None:
    box = masks.box_mask([1.2, 0.5, 3.5, 1.4], (3, 5))
    plain = [[1.2 <= x + 0.5 < 3.5 and 0.5 <= y + 0.5 < 1.4 for x in range(5)] for y in range(3)]
    np.testing.assert_array_equal(box, plain)
    np.testing.assert_array_equal(masks.box_mask([3.5, 1.4, 1.2, 0.5], (3, 5)), box)  # drawn backwards
    with pytest.raises(InputError, match="holds no pixel"):
        masks.box_mask([1, 1, 1, 1], (3, 5))


@pytest.mark.parametrize("seed", range(5))
def test_regions_half_in_a_box(seed: int) -> None:
    rng = np.random.default_rng(seed)
    regions = np.repeat(np.repeat(rng.integers(-1, 6, (5, 6)), 3, 0), 3, 1)
    box = masks.box_mask([2, 3, 13, 11], regions.shape)  # type: ignore[arg-type]
    plain = np.zeros(regions.shape, bool)
    for number in range(regions.max() + 1):
        inside = regions == number
        if inside.any() and 2 * (inside & box).sum() >= inside.sum():
            plain |= inside
    np.testing.assert_array_equal(regions_in(box, regions), plain if plain.any() else box)
    whole = np.zeros((8, 8), int)
    small = masks.box_mask([0, 0, 2, 2], (8, 8))
    np.testing.assert_array_equal(regions_in(small, whole), small)
    np.testing.assert_array_equal(regions_in(small, whole - 1), small)  # no regions at all


@pytest.mark.parametrize("radius", [0.0, 0.4, 1.0, 3.0, 8.5])
def test_strokes_cover_what_is_near(radius: float) -> None:
    points = [(5.0, 5.0), (30.0, 8.0), (31.0, 25.0)]
    mask = masks.stroke_mask([(points, radius)], (40, 50))
    ys, xs = np.mgrid[:40, :50]
    far = np.full((40, 50), np.inf)
    for (x0, y0), (x1, y1) in pairwise(points):
        length = (x1 - x0) ** 2 + (y1 - y0) ** 2
        t = np.clip(((xs - x0) * (x1 - x0) + (ys - y0) * (y1 - y0)) / length, 0, 1)
        far = np.minimum(far, np.hypot(xs - x0 - t * (x1 - x0), ys - y0 - t * (y1 - y0)))
    assert mask[far <= radius - 1].all() and not mask[far > radius + 1.5].any()
    assert all(mask[int(y), int(x)] for x, y in points)


def test_splitting() -> None:
    region = np.zeros((20, 30), bool)
    region[4:16, 5:25] = True
    large, small = masks.split(region, [(10, 0), (10, 19)])
    np.testing.assert_array_equal(large | small, region)
    assert not (large & small).any() and large.sum() > small.sum()
    assert small[4:16, 5:10].all() and large[4:16, 11:25].all()
    with pytest.raises(InputError, match="cuts nothing off"):
        masks.split(region, [(10, 6), (10, 10)])
    with pytest.raises(InputError, match="cuts nothing off"):
        masks.split(region, [(1, 1), (2, 1)])


@pytest.mark.parametrize("seed", range(10))
def test_corrections_in_their_order(seed: int) -> None:
    rng = np.random.default_rng(seed)
    size = (12, 15)
    labels, regions = rng.integers(-1, 4, size), rng.integers(-1, 9, size)
    shapes = [rng.random(size) < 0.1 for _ in range(3)]
    paint = [(rng.random(size) < 0.2, [None, 0, 1, 7][rng.integers(4)]) for _ in range(5)]
    made = masks.compose(
        labels, regions, map(np.nonzero, shapes), [(np.nonzero(mask), label) for mask, label in paint]
    )
    plain_regions, plain = regions.copy(), labels.copy()
    own = regions.max() + 1
    for i, mask in enumerate(shapes):
        plain_regions[mask] = own + i
    for i in range(3):
        inside = plain_regions == own + i
        values = sorted(plain[inside].tolist())
        if values:
            plain[inside] = max(values, key=lambda v: (values.count(v), -v))
    before, corrected = plain.copy(), np.zeros(size, bool)
    for y in range(size[0]):
        for x in range(size[1]):
            for mask, label in paint:
                if mask[y, x]:
                    plain[y, x] = before[y, x] if label is None else label
                    corrected[y, x] = label is not None
    np.testing.assert_array_equal(made.labels, plain)
    np.testing.assert_array_equal(made.regions, plain_regions)
    np.testing.assert_array_equal(made.corrected, corrected)
    assert made.own == own


def test_another_size_takes_the_nearest() -> None:
    mask = np.zeros((4, 6), bool)
    mask[1:3, 2:5] = True
    rows, columns = masks.pixels(masks.to_rle(mask), (8, 12))
    found = np.zeros((8, 12), bool)
    found[rows, columns] = True
    np.testing.assert_array_equal(found, np.repeat(np.repeat(mask, 2, 0), 2, 1))
