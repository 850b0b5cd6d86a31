"""Small pictures of intermediate things: tints, borders, heat maps, masks, regions."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from ..errors import InputError

RGB = NDArray[np.uint8]

# Dark violet over red and amber to pale yellow: lightness grows evenly, so it also reads in grey.
_HEAT = np.array([[20, 14, 54], [84, 24, 110], [158, 44, 96], [222, 84, 56], [249, 152, 38], [252, 238, 158]])


def enlarge(image: RGB, factor: int, smooth: bool = True) -> RGB:
    """`image` (H, W, 3) `factor` times as large, bicubic or by plain repetition."""
    if factor == 1:
        return image
    size = (image.shape[1] * factor, image.shape[0] * factor)
    return np.array(
        Image.fromarray(image).resize(size, Image.Resampling.BICUBIC if smooth else Image.Resampling.NEAREST)
    )


def tint(image: RGB, labels: NDArray[Any], colours: RGB, alpha: float = 0.55) -> RGB:
    """Every pixel mixed with its label's colour.

    `image` uint8 (H, W, 3), `labels` integer (H, W), `colours` uint8 (n, 3); labels outside [0, n) keep the
    picture as it is. `alpha` is the colour's share in [0, 1]. Raises InputError for sizes that differ.
    """
    check_sizes(image, labels)
    known = (labels >= 0) & (labels < len(colours))
    if not known.any():
        return image.copy()
    paint = colours[np.where(known, labels, 0)].astype(np.float32)
    share = np.where(known, np.float32(alpha), np.float32(0.0))[..., None]
    return np.rint(image * (1 - share) + paint * share).astype(np.uint8)


def border_mask(labels: NDArray[Any], thickness: int = 1) -> NDArray[np.bool_]:
    """(H, W) bool: the seam where neighbouring labels differ, about `thickness` pixels wide."""
    seam = np.zeros(labels.shape, dtype=bool)
    seam[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    seam[:-1] |= labels[:-1] != labels[1:]
    if thickness > 1:
        # Grown by a disc, so that slanted seams are as thick as straight ones.
        reach = np.arange(thickness) - (thickness - 1) / 2
        disc = np.hypot(reach[:, None], reach[None]) <= thickness / 2
        seam = ndimage.binary_dilation(seam, disc)
    return seam


def draw_borders(
    image: RGB,
    labels: NDArray[Any],
    thickness: int = 1,
    colour: tuple[int, int, int] = (255,) * 3,
    strength: float = 0.9,
) -> RGB:
    """`image` with the seams of `labels` drawn in `colour`, mixed in by `strength` in [0, 1]."""
    check_sizes(image, labels)
    seam = border_mask(labels, thickness)
    out = image.copy()
    out[seam] = np.rint(out[seam] * (1 - strength) + np.asarray(colour) * strength).astype(np.uint8)
    return out


def draw_regions(image: RGB, regions: NDArray[Any], colour: tuple[int, int, int] = (255, 214, 64)) -> RGB:
    """`image` uint8 (H, W, 3) with the borders of its superpixels `regions`, integer (H, W)."""
    return draw_borders(image, regions, 1, colour, 0.85)


def heat_map(image: RGB, heat: NDArray[Any], strength: float = 0.75) -> RGB:
    """A word's map over its picture.

    `image` uint8 (H, W, 3); `heat` (H, W) in [0, 1], clipped; `strength` is the colours' share over the
    picture, which shows through in grey.
    """
    check_sizes(image, heat)
    values = np.clip(np.nan_to_num(heat.astype(np.float64)), 0, 1) * (len(_HEAT) - 1)
    low = np.minimum(values.astype(np.int64), len(_HEAT) - 2)
    rest = (values - low)[..., None]
    colours = _HEAT[low] * (1 - rest) + _HEAT[low + 1] * rest
    grey = (image @ np.array([0.299, 0.587, 0.114]))[..., None]
    return np.rint(grey * (1 - strength) + colours * strength).astype(np.uint8)


def mask_picture(image: RGB, mask: NDArray[Any], colour: tuple[int, int, int] = (255, 214, 64)) -> RGB:
    """The masked part of `image` as it is, the rest pale and grey, the seam in `colour`; `mask` bool (H,
    W).
    """
    check_sizes(image, mask)
    grey = (image @ np.array([0.299, 0.587, 0.114]))[..., None]
    pale = np.broadcast_to(grey * 0.25 + 255 * 0.70, image.shape)
    out = np.where(mask.astype(bool)[..., None], image, np.rint(pale)).astype(np.uint8)
    return draw_borders(out, mask.astype(bool), 1 if min(mask.shape) < 300 else 2, colour, 1.0)


def check_sizes(image: RGB, plane: NDArray[Any]) -> None:
    """Raise InputError unless `image` is uint8 (H, W, 3) and `plane` is (H, W)."""
    if image.ndim != 3 or image.shape[-1] != 3 or image.dtype != np.uint8:
        raise InputError(f"picture is {image.dtype} {image.shape}, expected uint8 (H, W, 3)")
    if plane.shape != image.shape[:2]:
        raise InputError(f"map has shape {plane.shape}, its picture {image.shape[:2]}: they must be equal")
