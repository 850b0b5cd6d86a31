"""Small pictures of intermediate things: tints, borders, heat maps, masks, regions."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import InputError
from .palette import mix

RGB = NDArray[np.uint8]
_IN_CACHE = 1 << 17  # numbers mixed at a time: more would leave the processor's cache

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


def tint(image: RGB, labels: NDArray[Any], colours: RGB, alpha: float | NDArray[np.floating] = 0.55) -> RGB:
    """Every pixel mixed with its label's colour.

    `image` uint8 (H, W, 3), `labels` integer (H, W), `colours` uint8 (n, 3); labels outside [0, n) keep the
    picture as it is. `alpha` is the colour's share in [0, 1], one for all or (n,) one a label. Raises
    InputError for sizes that differ.
    """
    check_sizes(image, labels)
    n = len(colours)
    strength = np.broadcast_to(np.asarray(alpha, np.float32), n)
    # The last entry is for labels without a colour.
    paint = np.zeros((n + 1, 3), np.float32)
    paint[:n] = colours * strength[:, None]
    rest = np.ones((n + 1, 1), np.float32)
    rest[:n, 0] -= strength
    out = np.empty_like(image)
    step = max(1, _IN_CACHE // (3 * image.shape[1] or 1))
    for rows in (slice(start, start + step) for start in range(0, len(image), step)):
        index = labels[rows].astype(np.int64)
        index[(index < 0) | (index > n)] = n
        mixed = image[rows] * rest[index]
        mixed += paint[index]
        out[rows] = np.rint(mixed, out=mixed)
    return out


def label_counts(labels: NDArray[Any], n: int) -> NDArray[np.int64]:
    """(n,): how many pixels each label 0 to n - 1 has; others do not count."""
    return np.bincount(labels[(labels >= 0) & (labels < n)], minlength=n)


def border_mask(labels: NDArray[Any], thickness: int = 1) -> NDArray[np.bool_]:
    """(H, W) bool: the seam where neighbouring labels differ, about `thickness` pixels wide."""
    seam = np.zeros(labels.shape, dtype=bool)
    seam[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    seam[:-1] |= labels[:-1] != labels[1:]
    if thickness <= 1:
        return seam
    # Grown by a disc, so that slanted seams are as thick as straight ones.
    reach = np.arange(thickness) - (thickness - 1) / 2
    return _grown(seam, np.hypot(reach[:, None], reach[None]) <= thickness / 2)


def _grown(seam: NDArray[np.bool_], disc: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """`seam` dilated by `disc` (t, t), as scipy.ndimage.binary_dilation: several times faster on large
    pictures, because a disc's rows are nested runs.
    """
    (height, width), t = seam.shape, len(disc)
    first, wide = -(t // 2), disc.sum(axis=1)
    padded = np.pad(seam, t)
    out, run = np.zeros_like(seam), np.zeros((height + 2 * t, width), bool)
    done: set[int] = set()
    for long in np.unique(wide).tolist():  # rising, so that each run is the one before and its two ends
        ends = set(range(first + (t - long) // 2, first + (t - long) // 2 + long)) - done
        done |= ends
        for dx in ends:
            run |= padded[:, t - dx : t - dx + width]
        for row in np.flatnonzero(wide == long).tolist():
            out |= run[t - first - row : t - first - row + height]
    return out


def draw_borders(
    image: RGB,
    labels: NDArray[Any],
    thickness: int = 1,
    colour: tuple[int, int, int] = (255,) * 3,
    strength: float = 0.9,
) -> RGB:
    """`image` with the seams of `labels` drawn in `colour`, mixed in by `strength` in [0, 1]."""
    check_sizes(image, labels)
    seam = np.flatnonzero(border_mask(labels, thickness))
    mixed = np.rint(np.arange(256)[:, None] * (1 - strength) + np.asarray(colour) * strength).astype(np.uint8)
    out = image.copy()
    pixels = out.reshape(-1, 3)
    pixels[seam] = mixed[pixels[seam], np.arange(3)]
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
    colours = mix(_HEAT, np.clip(np.nan_to_num(heat.astype(np.float64)), 0, 1))
    return np.rint(_grey(image) * (1 - strength) + colours * strength).astype(np.uint8)


def mask_picture(image: RGB, mask: NDArray[Any], colour: tuple[int, int, int] = (255, 214, 64)) -> RGB:
    """The part of `image` in `mask`, bool (H, W), as it is, the rest pale and grey, the seam in `colour`."""
    check_sizes(image, mask)
    mask = mask.astype(bool)
    out = np.where(mask[..., None], image, np.rint(pale(image, 0.25, 0.70))).astype(np.uint8)
    return draw_borders(out, mask, 1 if min(mask.shape) < 300 else 2, colour, 1.0)


def pale(image: RGB, grey: float, white: float) -> NDArray[np.float64]:
    """(H, W, 1): so much of the grey of `image` with so much of white."""
    return _grey(image) * grey + 255 * white


def _grey(image: RGB) -> NDArray[np.float64]:
    return (image @ np.array([0.299, 0.587, 0.114]))[..., None]


def check_sizes(image: RGB, plane: NDArray[Any]) -> None:
    """Raise InputError unless `image` is uint8 (H, W, 3) and `plane` is (H, W)."""
    if image.ndim != 3 or image.shape[-1] != 3 or image.dtype != np.uint8:
        raise InputError(f"picture is {image.dtype} {image.shape}, expected uint8 (H, W, 3)")
    if plane.shape != image.shape[:2]:
        raise InputError(f"map has shape {plane.shape}, its picture {image.shape[:2]}: they must be equal")
