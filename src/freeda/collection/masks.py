"""Weak masks from attribution maps: scaled, cut, and, if wanted, settled by superpixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F

from ..options import CollectOptions
from ..segment.regions import RegionMap, superpixels

_DEFAULT = CollectOptions()


@dataclass(frozen=True)
class WordMask:
    """A word's map at picture size and the mask cut from it."""

    map: npt.NDArray[np.float32]
    """(H, W) in [0, 1], scaled as `CollectOptions.map_range` says; all 0 where the attribution is flat."""
    mask: npt.NDArray[np.bool_]
    """(H, W), true inside."""
    area: float
    """Share of the picture inside the mask, 0 to 1."""
    contrast: float
    """Mean of `map` inside the mask minus its mean outside, -1 to 1: how sharply the word is located. 0 for a
    mask without an inside or an outside; below 0 only where superpixels overruled the map."""

    @property
    def flat(self) -> bool:
        """Whether the attribution was the same everywhere, or not finite: it locates nothing."""
        return not self.map.any()


def word_masks(
    image: npt.NDArray[np.uint8],
    attributions: Sequence[torch.Tensor],
    options: CollectOptions = _DEFAULT,
) -> list[WordMask]:
    """The masks of several words of one picture (H, W, 3) RGB; its superpixels are cut once, if at all."""
    regions = superpixels(image, options.superpixels) if options.refine != "none" and attributions else None
    height, width = image.shape[:2]
    return [word_mask(a, (height, width), options, regions) for a in attributions]


def word_mask(
    attribution: torch.Tensor,
    size: tuple[int, int],
    options: CollectOptions = _DEFAULT,
    regions: RegionMap | None = None,
) -> WordMask:
    """Mask of one word.

    The attribution (h, w), any non-negative scale, is up-sampled bicubically (align_corners=False) to
    `size` = (H, W) pixels, scaled to [0, 1] by `options.map_range` and cut by `options.threshold_rule`:
    above is inside. Where `options.refine` asks for it, each of the `regions` (H, W), 0 to R-1, is then put
    inside or outside as a whole: by the greater part of its pixels, or by its mean value.
    """
    up = F.interpolate(attribution.float()[None, None], size, mode="bicubic", align_corners=False)[0, 0]
    low, high = up.min(), up.max()
    # A flat or broken map locates nothing; dividing by its range would blow rounding up to a mask.
    least = 1e-6 * max(1e-12, float(high.abs()))
    flat = not _apart(low, high, least)
    if options.map_range == "percentiles":
        ends = np.quantile(up.cpu().numpy(), [options.map_tail, 1 - options.map_tail])
        low, high = torch.tensor(ends, dtype=up.dtype).to(up.device)
    elif options.map_range == "max":
        low = torch.zeros_like(low)
    if flat or not _apart(low, high, least):
        return WordMask(np.zeros(size, np.float32), np.zeros(size, np.bool_), 0.0, 0.0)
    scaled = ((up - low) / (high - low)).clamp_(0, 1).cpu().numpy()
    cut = _cut(scaled, options)
    mask = scaled > cut
    if regions is not None and options.refine != "none":  # each inside or outside as a whole
        flat_regions = regions.ravel()
        pixels = np.bincount(flat_regions)
        if options.refine == "vote":
            inside = 2 * np.bincount(flat_regions, weights=mask.ravel()) > pixels
        else:
            inside = np.bincount(flat_regions, weights=scaled.ravel()) > cut * pixels
        mask = inside[regions]
    area = float(mask.mean())
    contrast = float(scaled[mask].mean() - scaled[~mask].mean()) if 0 < area < 1 else 0.0
    return WordMask(scaled, mask, area, contrast)


def word_map(token_maps: torch.Tensor, columns: Sequence[int], wanted: Sequence[int]) -> torch.Tensor:
    """Mean (h, w) of the maps (len(columns), h, w) of the text positions `wanted`, all among `columns`."""
    at = {column: i for i, column in enumerate(columns)}
    return token_maps[[at[c] for c in wanted]].mean(0)


def _apart(low: torch.Tensor, high: torch.Tensor, least: float) -> bool:
    extent = float(high) - float(low)
    return bool(np.isfinite(extent)) and extent > least


def _cut(scaled: npt.NDArray[np.float32], options: CollectOptions) -> float:
    """The value above which a pixel is inside; at least one always is, except by the fixed rule."""
    if options.threshold_rule == "fixed":
        return options.threshold
    if options.threshold_rule == "otsu":
        from skimage.filters import threshold_otsu

        found = float(threshold_otsu(scaled))
    else:
        found = float(np.quantile(scaled, 1 - options.keep_share))
    # Clipping may leave more pixels at the top than are to be kept: they are alike, so all are.
    return min(found, float(np.nextafter(scaled.max(), np.float32(0))))
