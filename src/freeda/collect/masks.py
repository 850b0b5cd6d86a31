"""Weak masks from attribution maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F


@dataclass(frozen=True)
class WordMask:
    """A word's map at picture size and the mask cut from it."""

    map: npt.NDArray[np.float32]
    """(H, W) in [0, 1], min-max normalised; all 0 where the attribution is flat."""
    mask: npt.NDArray[np.bool_]
    """(H, W), true where `map` is above the threshold."""
    area: float
    """Share of the picture inside the mask, 0 to 1."""
    contrast: float
    """Mean of `map` inside the mask minus its mean outside, 0 to 1: how sharply the word is located."""


def word_mask(attribution: torch.Tensor, size: tuple[int, int], threshold: float) -> WordMask:
    """Mask of one word.

    The attribution (h, w), any non-negative scale, is up-sampled bicubically (align_corners=False) to
    `size` = (H, W) pixels, min-max normalised there, and cut: above `threshold` is inside (DAAM's way).
    """
    up = F.interpolate(attribution.float()[None, None], size, mode="bicubic", align_corners=False)[0, 0]
    low, high = up.min(), up.max()
    # A flat or broken map locates nothing; dividing by its range would blow rounding up to a mask.
    spread = float(high - low)
    if not np.isfinite(spread) or spread <= 1e-6 * max(1e-12, float(high.abs())):
        nothing = np.zeros(size, np.float32)
        return WordMask(nothing, nothing > 0, 0.0, 0.0)
    scaled = ((up - low) / (high - low)).clamp_(0, 1).cpu().numpy()
    mask = scaled > threshold
    area = float(mask.mean())
    contrast = float(scaled[mask].mean() - scaled[~mask].mean()) if 0 < area < 1 else 0.0
    return WordMask(scaled, mask, area, contrast)


def word_map(token_maps: torch.Tensor, columns: Sequence[int], wanted: Sequence[int]) -> torch.Tensor:
    """Mean over a word's tokens, all its occurrences: (h, w) from (len(columns), h, w).

    `columns` names the text position of each token map, `wanted` the word's (all among `columns`).
    """
    at = {column: i for i, column in enumerate(columns)}
    return token_maps[[at[c] for c in wanted]].mean(0)
