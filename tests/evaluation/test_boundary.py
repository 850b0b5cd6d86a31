"""Boundary IoU against its definition, pixel by pixel."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from freeda.errors import InputError
from freeda.evaluation.counts import SHARE, Boundary, band_width, bands
from label_maps import DTYPES, SHAPES, Map, random_maps


def plain_band(labels: Map, width: int) -> list[list[bool]]:
    """Every pixel with another label, or the picture's outside, in the square around it."""
    height, wide = labels.shape
    out = []
    for y in range(height):
        row = []
        for x in range(wide):
            found = False
            for v in range(y - width, y + width + 1):
                for u in range(x - width, x + width + 1):
                    inside = 0 <= v < height and 0 <= u < wide
                    found = found or not inside or bool(labels[v, u] != labels[y, x])
            row.append(found)
        out.append(row)
    return out


def plain_boundary(pairs: list[tuple[Map, Map]], n: int, ignore: int, share: float) -> list[float]:
    """IoU of the bands, class by class, summed over the pairs."""
    both, either = [0] * n, [0] * n
    for pred, truth in pairs:
        height, wide = truth.shape
        width = max(1, int(np.round(share * math.sqrt(height**2 + wide**2))))
        p, t = pred.astype(int), truth.astype(int)
        for y in range(height):
            for x in range(wide):
                if t[y, x] == ignore:
                    p[y, x] = t[y, x] = -7
        in_p, in_t = plain_band(p, width), plain_band(t, width)
        for y in range(height):
            for x in range(wide):
                for c in range(n):
                    a, b = in_p[y][x] and p[y, x] == c, in_t[y][x] and t[y, x] == c
                    both[c] += a and b
                    either[c] += a or b
    return [a / b if b else math.nan for a, b in zip(both, either, strict=True)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_matches_the_definition(shape: tuple[int, int], dtype: Any) -> None:
    for n, share, ignore in ((1, SHARE, 255), (3, 0.06, 255), (5, 0.1, 99), (4, 0.3, 100)):
        pairs = [random_maps(i, shape, n, dtype, ignore) for i in range(2)]
        boundary = Boundary(n, ignore, share)
        for pred, truth in pairs:
            boundary.update(pred, truth)
        np.testing.assert_allclose(boundary.per_class_iou(), plain_boundary(pairs, n, ignore, share))


@pytest.mark.parametrize("width", [1, 2, 5])
def test_a_band_is_the_mask_minus_the_mask_eroded(width: int) -> None:
    """As the paper's own code has it: 3 x 3 erosions, with nothing outside the picture."""
    labels, _ = random_maps(3, (40, 53), 4, np.int32)
    labels[5:30, 8:40] = 1
    found = bands(labels, width)
    for c in range(4):
        mask = labels == c
        inner = ndimage.binary_erosion(mask, np.ones((3, 3)), iterations=width, border_value=0)
        np.testing.assert_array_equal(found & mask, mask & ~inner)


def test_the_width_is_two_percent_of_the_diagonal() -> None:
    assert band_width(375, 500) == 12  # 12.5, half to even
    assert band_width(1024, 2048) == 46
    assert band_width(3, 4) == 1


def test_a_shifted_square() -> None:
    """20 x 20 pixels of class 1, predicted one pixel to the right: bands one pixel wide."""
    truth, pred = np.zeros((2, 40, 30), np.uint8)
    truth[10:30, 5:25] = 1
    pred[10:30, 6:26] = 1
    boundary = Boundary(2, share=0.02)
    boundary.update(pred, truth)
    ring = 4 * 20 - 4
    # Rings of 76 pixels share the top and bottom rows but for one pixel each.
    assert boundary.pixels[:, 1].tolist() == [2 * 19, ring, ring]
    assert boundary.per_class_iou()[1] == 38 / (2 * 76 - 38)


def test_the_truth_itself_scores_1_whatever_is_ignored() -> None:
    for seed in range(10):
        pred, truth = random_maps(seed, (30, 22), 3, np.uint8)
        boundary = Boundary(3)
        boundary.update(np.where(truth == 255, pred, truth), truth)  # wrong only where it does not count
        assert boundary.miou() == 1.0


def test_what_is_predicted_under_ignored_truth_moves_nothing() -> None:
    pred, truth = random_maps(4, (25, 25), 3, np.int32)
    truth[8:15] = 255
    other = pred.copy()
    other[truth == 255] = 7777
    one, two = Boundary(3), Boundary(3)
    one.update(pred, truth)
    two.update(other, truth)
    np.testing.assert_array_equal(one.pixels, two.pixels)
    assert one.pixels.sum() > 0


def test_nothing_seen_is_nan() -> None:
    boundary = Boundary(2)
    boundary.update(np.zeros((4, 4), int), np.full((4, 4), 255))
    boundary.update(np.zeros((0, 4), int), np.zeros((0, 4), int))
    assert math.isnan(boundary.miou()) and boundary.pixels.sum() == 0


@pytest.mark.parametrize("share", [0.0, -0.1, 1.1, math.nan])
def test_bad_widths(share: float) -> None:
    with pytest.raises(InputError, match="of the diagonal"):
        Boundary(2, share=share)
