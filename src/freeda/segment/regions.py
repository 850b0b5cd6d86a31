"""Where regions come from: superpixels of each window, a map of the caller's, or any source of `Regions`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from ..encoders import check_part
from ..errors import InputError, extra
from ..images import RGB
from ..options import Superpixels

RegionMap = npt.NDArray[np.int64]


class Masks(NamedTuple):
    """Regions that may overlap: where they do, the one of the higher score has the pixel."""

    masks: npt.NDArray[np.bool_]
    """(M, h, w) bool."""
    scores: npt.NDArray[np.floating[Any]]
    """(M,)."""


class Regions(Protocol):
    """A source of regions; docs/extending.md has an example."""

    name: str
    """What results remember it by; "superpixels" is the package's own."""
    whole: bool
    """True: asked once a photograph, which it gets at its own size. False: asked once a window."""

    def __call__(self, image: RGB) -> npt.NDArray[np.integer[Any]] | Masks:
        """Cut a picture, uint8 RGB (h, w, 3), into regions.

        Return (h, w) whole numbers, the region of every pixel, -1 in none (patches decide there); or `Masks`.
        """


@dataclass(frozen=True)
class SuperpixelRegions:
    """The published regions: every window cut by itself."""

    options: Superpixels
    name = "superpixels"
    whole = False

    def __call__(self, image: RGB) -> RegionMap:
        """See `superpixels`."""
        return superpixels(image, self.options)


@dataclass(frozen=True)
class GivenRegions:
    """A map that the caller has of this very photograph."""

    regions: Any
    name = "map"
    whole = True

    def __call__(self, image: RGB) -> Any:
        """The map, whatever the image."""
        return self.regions


def regions_from(source: Any, options: Superpixels) -> Regions:
    """A source of `Regions` as it is, a map (H, W) or `Masks` as one; superpixels by `options` where None.

    Raises InputError for a source that lacks what such a one has.
    """
    if source is None:
        return SuperpixelRegions(options)
    if not callable(source):
        return GivenRegions(source)
    check_part(source, "regions", "name", "whole")
    found: Regions = source
    return found


def region_map(source: Regions, image: RGB, size: tuple[int, int] | None = None) -> RegionMap:
    """What a source makes of a picture, as labels 0 to R-1 without gaps and -1; resized to `size` = (h, w).

    Resizing takes the nearest pixel. Raises InputError for what is no map of this picture.
    """
    if isinstance(source, SuperpixelRegions):
        return source(image)
    # A source may draw into its picture, which may be the caller's own array.
    found = source(image if isinstance(source, GivenRegions) else image.copy())
    overlap = isinstance(found, tuple) and len(found) == 2
    labels = np.asarray(paint(*found) if overlap else found)
    if labels.shape != image.shape[:2] or labels.dtype.kind not in "iu":
        raise InputError(
            f"regions ({source.name}) are {labels.dtype} of shape {labels.shape}: expected whole numbers of "
            f"shape {image.shape[:2]}, one for each pixel"
        )
    if labels.size and labels.min() < -1:
        raise InputError(
            f"regions ({source.name}) hold {labels.min()}: numbers start at 0, -1 is in no region"
        )
    if size is not None and size != labels.shape:
        rows, columns = (nearest(n_in, n_out) for n_in, n_out in zip(labels.shape, size, strict=True))
        labels = labels[rows[:, None], columns]
    return without_gaps(labels)


def paint(masks: npt.NDArray[np.bool_], scores: npt.NDArray[np.floating[Any]]) -> RegionMap:
    """(h, w) int64: masks (M, h, w) painted by ascending score (M,), of equal ones the later above; -1 where
    none is. Raises InputError for other shapes, masks of fractions, and scores that are not finite."""
    masks, scores = np.asarray(masks), np.asarray(scores)
    if masks.ndim != 3 or scores.shape != masks.shape[:1] or not np.isfinite(scores).all():
        raise InputError(
            f"masks of shape {masks.shape} and scores of shape {scores.shape}: expected (M, h, w) and (M,), "
            "and finite scores"
        )
    if masks.dtype.kind not in "biu":
        raise InputError(f"masks are {masks.dtype}: expected bool, so compare them with a threshold")
    out = np.full(masks.shape[1:], -1, np.int64)
    for number in np.argsort(scores, kind="stable").tolist():
        out[masks[number].astype(bool)] = number
    return out


def voted(labels: npt.NDArray[np.int32], regions: RegionMap) -> npt.NDArray[np.int32]:
    """(H, W) int32: of every region (H, W) the label that most of its pixels have in `labels` (H, W), of
    equally many the smallest; in no region (-1) as they were."""
    inside, most = regions >= 0, int(labels.max()) + 1
    shape = int(regions.max()) + 1, most
    counts = np.bincount(regions[inside] * most + labels[inside], minlength=shape[0] * most).reshape(shape)
    out = labels.copy()
    out[inside] = counts.argmax(axis=1)[regions[inside]]
    return out


def nearest(n_in: int, n_out: int) -> npt.NDArray[np.int64]:
    """(n_out,) which of n_in pixels in a line lies under the centre of each of n_out."""
    return ((np.arange(n_out) + 0.5) * (n_in / n_out)).astype(np.int64)


def superpixels(window: npt.NDArray[np.uint8], options: Superpixels) -> RegionMap:
    """Cut a window (H, W, 3) uint8 RGB into regions: (H, W) int64, labels 0 to R-1 without gaps.

    Algorithm "none" labels every pixel -1, "in no region", so that patches decide everywhere. Raises
    InputError for "seeds" where OpenCV's contributed modules are not installed.
    """
    if options.algorithm == "none":
        return np.full(window.shape[:2], -1, dtype=np.int64)
    if options.algorithm == "seeds":
        return without_gaps(_seeds(window, **options.parameters()))
    from skimage import segmentation

    # The published code hands over x / 255 in float32; other roundings merge other regions now and then.
    rgb = window.astype(np.float32) / np.float32(255)
    if options.algorithm == "watershed":
        return without_gaps(_watershed(rgb, **options.parameters()))
    cut = getattr(segmentation, options.algorithm)
    return without_gaps(cut(rgb, channel_axis=-1, **options.parameters()))


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


def without_gaps(labels: npt.NDArray[Any]) -> RegionMap:
    """Labels of at least -1 renumbered in their order; -1 stays."""
    shifted = labels.astype(np.int64, copy=False) + 1
    if shifted.size and shifted.max() > 2 * shifted.size:  # a table would be larger than the map
        shifted = np.unique(np.append(shifted, 0), return_inverse=True)[1][:-1].reshape(labels.shape)
    used = np.bincount(shifted.ravel(), minlength=1) > 0
    used[0] = True  # of -1, whether it is in the map or not
    found: RegionMap = (np.cumsum(used) - 2)[shifted]
    return found
