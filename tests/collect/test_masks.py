"""Masks from attribution maps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from freeda.collect.masks import word_map, word_mask


@pytest.mark.parametrize("size", [(128, 128), (64, 96), (16, 16)])
def test_equals_the_definition(size: tuple[int, int]) -> None:
    attribution = torch.rand(16, 16, generator=torch.Generator().manual_seed(1)) * 0.01
    found = word_mask(attribution, size, 0.4)
    up = F.interpolate(attribution[None, None], size, mode="bicubic")[0, 0].numpy()
    scaled = (up - up.min()) / (up.max() - up.min())
    np.testing.assert_allclose(found.map, scaled, atol=1e-6)
    assert found.map.min() == 0 and found.map.max() == 1
    expected = np.array([[v > 0.4 for v in row] for row in found.map])
    assert np.array_equal(found.mask, expected)
    assert found.area == pytest.approx(expected.mean())
    assert found.contrast == pytest.approx(found.map[expected].mean() - found.map[~expected].mean(), abs=1e-6)


@pytest.mark.parametrize("value", [0.0, 0.3, float("nan"), float("inf")])
def test_a_flat_or_broken_map_locates_nothing(value: float) -> None:
    found = word_mask(torch.full((8, 8), value), (32, 32), 0.4)
    assert not found.mask.any() and found.area == 0 and found.contrast == 0 and np.isfinite(found.map).all()


def test_a_word_is_the_mean_of_its_tokens() -> None:
    maps = torch.arange(12.0).view(3, 2, 2)
    assert torch.equal(word_map(maps, [2, 5, 9], [9, 2]), (maps[2] + maps[0]) / 2)
