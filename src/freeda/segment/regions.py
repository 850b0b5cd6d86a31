"""Superpixels: a window cut into regions of like colour, by scikit-image or OpenCV."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import InputError, extra
from ..options import Superpixels

RegionMap = npt.NDArray[np.int64]


def superpixels(window: npt.NDArray[np.uint8], options: Superpixels) -> RegionMap:
    """Cut a window (H, W, 3) uint8 RGB into regions: (H, W) int64, labels 0 to R-1 without gaps.

    Algorithm "none" labels every pixel -1, "in no region", so that patches decide everywhere. Raises
    InputError for "seeds" where OpenCV's contributed modules are not installed.
    """
    if options.algorithm == "none":
        return np.full(window.shape[:2], -1, dtype=np.int64)
    if options.algorithm == "seeds":
        return _without_gaps(_seeds(window, **options.parameters()))
    from skimage import segmentation

    # The published code hands over x / 255 in float32; other roundings merge other regions now and then.
    rgb = window.astype(np.float32) / np.float32(255)
    if options.algorithm == "watershed":
        return _without_gaps(_watershed(rgb, **options.parameters()))
    cut = getattr(segmentation, options.algorithm)
    return _without_gaps(cut(rgb, channel_axis=-1, **options.parameters()))


def _watershed(rgb: npt.NDArray[np.float32], **parameters: Any) -> npt.NDArray[Any]:
    """Basins of the grey image's Sobel gradient, as in scikit-image's own comparison of superpixels."""
    from skimage.color import rgb2gray
    from skimage.filters import sobel
    from skimage.segmentation import watershed

    if parameters["markers"] is not None:  # more markers than pixels cannot be placed
        parameters["markers"] = min(parameters["markers"], rgb[..., 0].size)
    found: npt.NDArray[Any] = watershed(sobel(rgb2gray(rgb)), **parameters)
    return found


def _seeds(
    window: npt.NDArray[np.uint8],
    num_superpixels: int,
    num_levels: int,
    prior: int,
    histogram_bins: int,
    double_step: bool,
    num_iterations: int,
) -> npt.NDArray[Any]:
    """SEEDS on the HSV picture, as in OpenCV's own sample; a window too small for any grid is one region."""
    try:
        import cv2

        create = cv2.ximgproc.createSuperpixelSEEDS
    except (ImportError, AttributeError) as error:
        raise InputError(
            f"superpixel algorithm 'seeds' needs OpenCV's contributed modules: {extra('seeds')}"
        ) from error
    height, width = window.shape[:2]
    number = _seeds_number(height, width, num_superpixels)
    if number is None:
        return np.zeros((height, width), dtype=np.int64)
    found = create(width, height, 3, number, num_levels, prior, histogram_bins, double_step)
    found.iterate(cv2.cvtColor(np.ascontiguousarray(window), cv2.COLOR_RGB2HSV), num_iterations)
    labels: npt.NDArray[Any] = found.getLabels()
    return labels


def _seeds_number(height: int, width: int, wanted: int) -> int | None:
    """The number of superpixels nearest to `wanted` whose grid fits the window: OpenCV crashes on others.

    It takes at least 10, lays them out as computed here, and needs a grid of at least 2 x 2 blocks of at
    least 2 x 2 pixels (found by trying 776 sizes and settings, each in a process of its own).
    """

    def fits(n: int) -> bool:
        rows = int(np.sqrt(np.float32(n) * height / width))
        columns = rows * width // height
        return rows >= 2 and columns >= 2 and height >= 2 * rows and width >= 2 * columns

    wanted = max(wanted, 10)
    longest = 8 * max(height, width)  # beyond this, the grid of an elongated window only grows
    return next((n for n in (*range(wanted, 9, -1), *range(wanted, wanted + longest)) if fits(n)), None)


def _without_gaps(labels: npt.NDArray[Any]) -> RegionMap:
    used = np.bincount(labels.ravel()) > 0
    number = np.cumsum(used) - 1
    return number[labels].astype(np.int64)
