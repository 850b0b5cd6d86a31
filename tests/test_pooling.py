"""Sparse pooling against the definition: a dense mask per region, resized to the grid."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from freeda.pooling import corner_taps, pool_regions


def plain(features: torch.Tensor, regions: np.ndarray, n_regions: int) -> tuple[np.ndarray, np.ndarray]:
    """Loops over regions and patches; the bilinear sample is written out per point, in float64."""
    gh, gw, dim = features.shape
    height, width = regions.shape
    pooled, weight = np.zeros((n_regions, dim)), np.zeros(n_regions)
    for r in range(n_regions):
        mask = (regions == r).astype(np.float64)
        for i in range(gh):
            for j in range(gw):
                y = i * (height - 1) / (gh - 1) if gh > 1 else 0.0
                x = j * (width - 1) / (gw - 1) if gw > 1 else 0.0
                y0, x0 = min(int(y), height - 1), min(int(x), width - 1)
                y1, x1 = min(y0 + 1, height - 1), min(x0 + 1, width - 1)
                top = mask[y0, x0] * (1 - (x - x0)) + mask[y0, x1] * (x - x0)
                bottom = mask[y1, x0] * (1 - (x - x0)) + mask[y1, x1] * (x - x0)
                w = top * (1 - (y - y0)) + bottom * (y - y0)
                pooled[r] += w * features[i, j].double().numpy()
                weight[r] += w
        if weight[r] < 1e-5:
            weight[r], pooled[r] = 0, 0
        else:
            pooled[r] /= weight[r]
    return pooled, weight


@settings(max_examples=60)
@given(
    height=st.integers(1, 23),
    width=st.integers(1, 23),
    gh=st.integers(1, 6),
    gw=st.integers(1, 6),
    n_regions=st.integers(1, 9),
    seed=st.integers(0, 10**6),
)
def test_equals_the_definition(height: int, width: int, gh: int, gw: int, n_regions: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    regions = rng.integers(-1, n_regions, (height, width))
    features = torch.from_numpy(rng.normal(size=(gh, gw, 5)).astype(np.float32))
    pooled, weight = pool_regions(features, regions, n_regions)
    expected, expected_weight = plain(features, regions, n_regions)
    np.testing.assert_allclose(weight, expected_weight, atol=1e-5)
    np.testing.assert_allclose(pooled, expected, atol=2e-5)
    assert pooled.dtype == weight.dtype == np.float32


@pytest.mark.parametrize("size", [(56, 56), (40, 70), (3, 5)])
def test_weights_equal_masks_resized_by_torch(size: tuple[int, int]) -> None:
    regions = np.random.default_rng(0).integers(0, 4, size)
    _, weight = pool_regions(torch.ones(7, 9, 2), regions, 4)
    masks = torch.stack([torch.from_numpy(regions == r).float() for r in range(4)])[None]
    dense = torch.nn.functional.interpolate(masks, (7, 9), mode="bilinear", align_corners=True)
    np.testing.assert_allclose(weight, dense.sum((0, 2, 3)).numpy(), atol=1e-5)


def test_a_region_between_grid_points_counts_as_none() -> None:
    regions = np.zeros((9, 9), dtype=np.int64)
    regions[2, 2] = 1  # grid points of a 2 x 2 grid are the corners only
    pooled, weight = pool_regions(torch.randn(2, 2, 3), regions, 3)
    assert weight.tolist() == [4.0, 0.0, 0.0]
    assert not pooled[1:].any()


def test_a_grid_point_on_a_pixel_up_to_rounding_gives_its_neighbour_nothing() -> None:
    """127 / 7 pixels a step: point 7 is pixel 127 but for rounding, whatever the arithmetic."""
    for height, points in ((128, 8), (518, 37), (449, 29), (101, 11)):
        regions = np.zeros((height, 1), dtype=np.int64)
        step = (height - 1) / (points - 1)
        on_pixel = [round(i * step) for i in range(points) if abs(i * step - round(i * step)) < 1e-9]
        for y in on_pixel:
            for neighbour in (y - 1, y + 1):
                if 0 <= neighbour < height and all(
                    abs(neighbour - i * step) >= 1 - 1e-9 for i in range(points)
                ):
                    regions[neighbour] = 1
        _, weight = pool_regions(torch.ones(points, 1, 1), regions, 2)
        assert weight[1] == 0


def test_half_precision_features_are_pooled_in_float32() -> None:
    pooled, _ = pool_regions(torch.full((3, 3, 2), 0.1, dtype=torch.float16), np.zeros((9, 9), np.int64), 1)
    assert pooled.dtype == np.float32
    np.testing.assert_allclose(pooled, 0.1, atol=1e-4)


@pytest.mark.parametrize(("n_in", "n_out"), [(1, 1), (1, 5), (5, 1), (4, 9), (9, 4), (37, 448)])
def test_corner_taps_are_torchs_align_corners(n_in: int, n_out: int) -> None:
    values = np.random.default_rng(1).normal(size=n_in)
    taps = corner_taps(n_in, n_out)
    ours = values[taps.low] * (1 - taps.fraction) + values[taps.high] * taps.fraction
    line = torch.from_numpy(values)[None, None]
    theirs = torch.nn.functional.interpolate(line, n_out, mode="linear", align_corners=True)[0, 0].numpy()
    np.testing.assert_allclose(ours, theirs, atol=1e-9)
