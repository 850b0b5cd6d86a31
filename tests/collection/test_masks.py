"""Masks from attribution maps, against loops written from the definitions."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from freeda.collection.masks import word_map, word_mask, word_masks
from freeda.errors import InputError
from freeda.options import CollectOptions, Superpixels

SIZES = [(128, 128), (64, 96), (16, 16), (50, 33)]


def blob(h: int = 16, w: int = 16, dtype: torch.dtype = torch.float32, seed: int = 1) -> torch.Tensor:
    """Attribution as DAAM's sums are: small, non-negative, a bump on noise."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, h), torch.linspace(-1, 1, w), indexing="ij")
    noise = torch.rand(h, w, generator=torch.Generator().manual_seed(seed))
    return ((torch.exp(-4 * ((y - 0.2) ** 2 + (x + 0.3) ** 2)) + 0.2 * noise) * 0.01).to(dtype)


def enlarged(attribution: torch.Tensor, size: tuple[int, int]) -> Any:
    return F.interpolate(attribution.float()[None, None], size, mode="bicubic")[0, 0].double().numpy()


def reference_scaled(up: Any, how: str, tail: float) -> Any:
    values = sorted(v for row in up for v in row)

    def percentile(q: float) -> float:  # linear between the two nearest ranks
        at = q * (len(values) - 1)
        low = int(at)
        high = min(low + 1, len(values) - 1)
        return float(values[low] + (at - low) * (values[high] - values[low]))

    bottom, top = {
        "min-max": (values[0], values[-1]),
        "percentiles": (percentile(tail), percentile(1 - tail)),
        "max": (0.0, values[-1]),
    }[how]
    return np.array([[min(1.0, max(0.0, (v - bottom) / (top - bottom))) for v in row] for row in up])


def reference_otsu(scaled: Any) -> float:
    """The centre of that of 256 bins which, as last of the lower class, sets both classes furthest apart."""
    values, low, high = scaled.ravel(), scaled.min(), scaled.max()
    width = (high - low) / 256
    bins = np.minimum(((values - low) / width).astype(int), 255)
    centres = [low + (i + 0.5) * width for i in range(256)]
    best, found = -1.0, 0.0
    for cut in range(255):
        lower, upper = bins <= cut, bins > cut
        if not lower.any() or not upper.any():
            continue
        means = [np.mean([centres[b] for b in bins[side]]) for side in (lower, upper)]
        between = float(lower.sum()) * float(upper.sum()) * (means[0] - means[1]) ** 2
        if between > best * (1 + 1e-12):
            best, found = between, centres[cut]
    return found


def reference_settled(scaled: Any, mask: Any, cut: float, regions: Any, how: str) -> Any:
    out = np.zeros_like(mask)
    for r in range(regions.max() + 1):
        here = regions == r
        inside = mask[here].sum() > here.sum() / 2 if how == "vote" else scaled[here].mean() > cut
        out[here] = inside
    return out


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("size", SIZES)
def test_the_default_is_daams(size: tuple[int, int], dtype: torch.dtype) -> None:
    found = word_mask(blob(dtype=dtype), size)
    scaled = reference_scaled(enlarged(blob(dtype=dtype), size), "min-max", 0)
    np.testing.assert_allclose(found.map, scaled, atol=1e-5)
    assert found.map.min() == 0 and found.map.max() == 1 and found.map.dtype == np.float32
    expected = np.array([[v > 0.4 for v in row] for row in found.map])
    assert np.array_equal(found.mask, expected) and 0 < found.area < 1
    assert found.area == pytest.approx(expected.mean())
    assert found.contrast == pytest.approx(found.map[expected].mean() - found.map[~expected].mean(), abs=1e-6)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("how", ["min-max", "percentiles", "max"])
def test_map_range(size: tuple[int, int], how: Literal["min-max", "percentiles", "max"]) -> None:
    for tail in (0.01, 0.1):
        found = word_mask(blob(11, 17), size, CollectOptions(map_range=how, map_tail=tail))
        expected = reference_scaled(enlarged(blob(11, 17), size), how, tail)
        np.testing.assert_allclose(found.map, expected, atol=1e-5)


@pytest.mark.parametrize("size", SIZES)
def test_otsu(size: tuple[int, int]) -> None:
    found = word_mask(blob(), size, CollectOptions(threshold_rule="otsu"))
    expected = found.map > reference_otsu(found.map.astype(np.float64))
    # The bins' borders are rounded: a pixel on one may fall on either side, and moves the cut by one bin.
    assert (found.mask != expected).mean() < 0.01 and 0.05 < found.area < 0.6


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("share", [0.1, 0.25, 0.6])
def test_percentile_keeps_the_share(size: tuple[int, int], share: float) -> None:
    found = word_mask(blob(), size, CollectOptions(threshold_rule="percentile", keep_share=share))
    n = size[0] * size[1]
    assert abs(found.mask.sum() - share * n) <= 1
    assert found.map[found.mask].min() > found.map[~found.mask].max()


def test_percentile_among_equals_keeps_all_of_the_greatest() -> None:
    found = word_mask(
        blob(),
        (64, 64),
        CollectOptions(threshold_rule="percentile", keep_share=0.05, map_range="percentiles", map_tail=0.2),
    )
    assert np.array_equal(found.mask, found.map == 1) and found.area == pytest.approx(0.2, abs=0.01)


@pytest.mark.parametrize("how", ["vote", "mean"])
@pytest.mark.parametrize("rule", ["fixed", "percentile"])
def test_superpixels_decide(how: Literal["vote", "mean"], rule: Literal["fixed", "percentile"]) -> None:
    rng = np.random.default_rng(5)
    for size in SIZES:
        regions = rng.integers(0, 12, size).cumsum(0) // 40  # of all shapes and sizes
        regions = np.unique(regions, return_inverse=True)[1].reshape(size)
        options = CollectOptions(refine=how, threshold_rule=rule)
        plain = word_mask(blob(), size, CollectOptions(threshold_rule=rule))
        found = word_mask(blob(), size, options, regions)
        cut = 0.4 if rule == "fixed" else float(plain.map[plain.mask].min()) - 1e-6
        expected = reference_settled(plain.map, plain.mask, cut, regions, how)
        assert np.array_equal(found.mask, expected)
        assert found.area == pytest.approx(expected.mean())


def test_a_region_of_which_just_half_is_inside_is_outside() -> None:
    attribution = torch.tensor([[1.0, 1.0, 0.0, 0.0]] * 4)
    regions = np.array([[0, 1, 1, 2]] * 4)
    assert word_mask(attribution, (4, 4)).mask[0].tolist() == [True, True, False, False]
    voted = word_mask(attribution, (4, 4), CollectOptions(refine="vote"), regions).mask
    assert voted.tolist() == [[True, False, False, False]] * 4


def test_a_picture_with_an_edge_gets_a_mask_with_that_edge() -> None:
    """End to end with real superpixels: half of the picture is red, and the map leaks into the other."""
    image = np.zeros((64, 64, 3), np.uint8)
    image[:, :40], image[:, 40:] = (200, 30, 30), (30, 30, 200)
    red, attribution = image[..., 0] == 200, torch.zeros(16, 16)
    attribution[:, :12] = 1  # two columns of the latent too far
    for how in ("vote", "mean"):
        options = CollectOptions(refine=how, superpixels=Superpixels(min_size=5, sigma=0.5))
        (word,) = word_masks(image, [attribution], options)
        assert (word.mask != red).mean() <= 1 / 64  # the blur beforehand gives the border a strip of its own
    (plain,) = word_masks(image, [attribution], CollectOptions())
    assert (plain.mask != red).mean() > 5 / 64


@pytest.mark.parametrize("value", [0.0, 0.3, float("nan"), float("inf")])
@pytest.mark.parametrize("how", ["min-max", "percentiles", "max"])
@pytest.mark.parametrize("rule", ["fixed", "otsu", "percentile"])
def test_a_flat_or_broken_map_locates_nothing(value: float, how: Any, rule: Any) -> None:
    options = CollectOptions(map_range=how, threshold_rule=rule)
    found = word_mask(torch.full((8, 8), value), (32, 32), options)
    assert found.flat and not found.mask.any() and found.area == 0 and found.contrast == 0
    one = torch.ones(8, 8)
    one[3, 3] = float("nan")
    broken = word_mask(one, (32, 32), options)
    assert broken.flat and np.isfinite(broken.map).all()
    assert not word_mask(blob(), (32, 32), options).flat


def test_above_the_threshold_is_inside() -> None:
    found = word_mask(torch.tensor([[0.0, 0.5, 1.0]]), (1, 3), CollectOptions(threshold=0.5))
    assert found.mask.tolist() == [[False, False, True]]


def test_a_faint_word_on_a_high_level_is_located() -> None:
    """Its map rises by half a percent, far above rounding: it is scaled as any other."""
    found, plain = word_mask(1 + 0.5 * blob(), (64, 64)), word_mask(blob(), (64, 64))
    np.testing.assert_allclose(found.map, plain.map, atol=1e-3)
    assert not found.flat and (found.mask != plain.mask).mean() < 0.01


def test_a_mask_of_everything_has_no_contrast() -> None:
    found = word_mask(1 + blob(), (32, 32), CollectOptions(map_range="max"))
    assert found.area == 1 and found.contrast == 0


def test_a_word_is_the_mean_of_its_tokens() -> None:
    maps = torch.arange(12.0).view(3, 2, 2)
    assert torch.equal(word_map(maps, [2, 5, 9], [9, 2]), (maps[2] + maps[0]) / 2)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"threshold": 1.0}, "threshold is 1.0: it must lie between 0 and 1"),
        ({"keep_share": 0.0}, "keep_share is 0.0: it must lie between 0 and 1"),
        ({"map_tail": 0.5}, "map_tail is 0.5: it must lie between 0 and 0.5"),
        ({"min_contrast": 1.5}, "min_contrast is 1.5: it must lie between -1 and 1"),
        ({"min_agreement": -2.0}, "min_agreement is -2.0: it must lie between -1 and 1"),
        ({"key_weight": -0.1}, "key_weight is -0.1: it must lie between 0 and 1"),
        (
            {"threshold_rule": "ottsu"},
            "threshold_rule is 'ottsu': it must be 'fixed', 'otsu' or 'percentile'",
        ),
        ({"map_range": "minmax"}, "map_range is 'minmax': it must be 'min-max', 'percentiles' or 'max'"),
        ({"refine": "yes"}, "refine is 'yes': it must be 'none', 'vote' or 'mean'"),
        ({"key": "tokens"}, "key is 'tokens': it must be 'template', 'caption' or 'token'"),
        ({"refine": "vote", "superpixels": Superpixels(algorithm="none")}, "there is nothing to vote"),
    ],
)
def test_options_out_of_range(change: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError) as error:
        CollectOptions(**change)
    assert told in str(error.value) and "\n" not in str(error.value)
