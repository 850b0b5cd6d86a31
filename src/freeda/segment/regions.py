"""Superpixels: a window cut into regions of like colour, by scikit-image."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ..options import Superpixels

RegionMap = npt.NDArray[np.int64]


def superpixels(window: npt.NDArray[np.uint8], options: Superpixels) -> RegionMap:
    """Cut a window (H, W, 3) uint8 RGB into regions: (H, W) int64, labels 0 to R-1 without gaps.

    Algorithm "none" labels every pixel -1, "in no region", so that patches decide everywhere.
    """
    if options.algorithm == "none":
        return np.full(window.shape[:2], -1, dtype=np.int64)
    # The published code hands over x / 255 in float32; other roundings merge other regions now and then.
    rgb = window.astype(np.float32) / np.float32(255)
    if options.algorithm == "slic":
        return _without_gaps(_slic(rgb, options))
    from skimage.segmentation import felzenszwalb

    return _without_gaps(
        felzenszwalb(rgb, scale=options.scale, sigma=options.sigma, min_size=options.min_size)
    )


def _slic(rgb: npt.NDArray[np.float32], options: Superpixels) -> npt.NDArray[Any]:
    from skimage.segmentation import slic

    found: npt.NDArray[Any] = slic(
        rgb,
        n_segments=options.n_segments,
        compactness=options.compactness,
        sigma=options.sigma,
        start_label=options.start_label,
        channel_axis=-1,
    )
    return found


def _without_gaps(labels: npt.NDArray[Any]) -> RegionMap:
    used = np.bincount(labels.ravel()) > 0
    number = np.cumsum(used) - 1
    return number[labels].astype(np.int64)
