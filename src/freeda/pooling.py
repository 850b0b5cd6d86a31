"""Region pooling of patch features: the average of the patches a region's mask touches, done sparsely."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

MIN_WEIGHT = 1e-5
"""A region's summed weight below this is rounding of a grid point on a pixel border, and counts as none."""

IntArray = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Taps:
    """Bilinear interpolation from n_in to n_out points along one axis."""

    low: IntArray
    """(n_out,) index of the lower neighbour, in [0, n_in)."""
    high: IntArray
    """(n_out,) index of the upper neighbour, in [0, n_in)."""
    fraction: npt.NDArray[np.float64]
    """(n_out,) weight of the upper neighbour, in [0, 1]."""


def corner_taps(n_in: int, n_out: int) -> Taps:
    """Where each of n_out points falls among n_in ones when the first and last of both coincide."""
    step = (n_in - 1) / (n_out - 1) if n_out > 1 else 0.0
    at = np.arange(n_out) * step
    low = np.minimum(np.floor(at).astype(np.int64), n_in - 1)
    return Taps(low, np.minimum(low + 1, n_in - 1), at - low)


def centre_taps(n_in: int, n_out: int) -> Taps:
    """Where each of n_out points falls among n_in ones at half-pixel centres (align_corners=False)."""
    at = np.maximum((np.arange(n_out) + 0.5) * (n_in / n_out) - 0.5, 0.0)
    low = np.minimum(np.floor(at).astype(np.int64), n_in - 1)
    return Taps(low, np.minimum(low + 1, n_in - 1), np.where(low < n_in - 1, at - low, 0.0))


def pool_regions(
    features: torch.Tensor,
    regions: npt.NDArray[np.integer],
    n_regions: int,
) -> tuple[Floats, Floats]:
    """Weighted mean of patch features over every region of a label map.

    The weight of patch (i, j) for a region is the region's binary mask sampled bilinearly, align_corners=True
    and no antialias, at the gh x gw grid (FreeDA's released code). Four pixels are looked at per patch and no
    mask is ever built, so the cost does not depend on the number of regions.

    Args:
        features: (gh, gw, D) float tensor, any device.
        regions: (H, W) integers: the region of every pixel, 0 to n_regions - 1; negative = in no region.
        n_regions: R, the number of rows of the answer.

    Returns:
        pooled (R, D) and weight (R,), a region's summed weight; float32 arrays, whatever the device.
        Where that sum is under 1e-5 the region holds no grid point: its row and its weight are both 0.
    """
    gh, gw, dim = features.shape
    ys, xs = corner_taps(regions.shape[0], gh), corner_taps(regions.shape[1], gw)
    patch = np.arange(gh * gw)
    labels, patches, weights = [], [], []
    for rows, wy in ((ys.low, 1.0 - ys.fraction), (ys.high, ys.fraction)):
        for columns, wx in ((xs.low, 1.0 - xs.fraction), (xs.high, xs.fraction)):
            labels.append(regions[rows[:, None], columns[None, :]].ravel())
            patches.append(patch)
            weights.append((wy[:, None] * wx[None, :]).ravel())
    label, weight = np.concatenate(labels).astype(np.int64), np.concatenate(weights)
    keep = (label >= 0) & (weight > 0)
    label, weight, source = label[keep], weight[keep], np.concatenate(patches)[keep]

    total = np.bincount(label, weights=weight, minlength=n_regions)[:n_regions]
    total[total < MIN_WEIGHT] = 0.0
    inside = total[label] > 0
    label, weight, source = label[inside], weight[inside], source[inside]

    share = (weight / total[label]).astype(np.float32)
    row, taken, part = (torch.from_numpy(a).to(features.device) for a in (label, source, share))
    flat = features.reshape(gh * gw, dim).float()
    pooled = torch.zeros(n_regions, dim, dtype=torch.float32, device=features.device)
    pooled.index_add_(0, row, flat[taken] * part[:, None])
    return pooled.cpu().numpy(), total.astype(np.float32)
