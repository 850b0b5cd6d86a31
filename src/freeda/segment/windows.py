"""The working size of a photograph and the sliding windows that cover it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from ..errors import InputError
from ..options import SegmentOptions
from ..pooling import centre_taps

LARGEST = 1 << 28
"""Pixels of a working image, at most: beyond that an option must be a mistake."""
STRIP = 1 << 17
"""New pixels made at a time when an image is resized."""


class Box(NamedTuple):
    """A window in the working image: rows y1 to y2, columns x1 to x2, in pixels, ends exclusive."""

    y1: int
    x1: int
    y2: int
    x2: int


def working_size(height: int, width: int, options: SegmentOptions) -> tuple[int, int]:
    """(height, width) at which windows are cut: short side to `short_side`, long side at most `long_side`.

    Raises InputError where that is more than `LARGEST` pixels.
    """
    if options.short_side is None:
        return height, width
    scale = min(options.short_side / min(height, width), options.long_side / max(height, width))
    size = max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))
    if size[0] * size[1] > LARGEST:
        raise InputError(
            f"short_side {options.short_side} and long_side {options.long_side} would enlarge this image to "
            f"{size[1]} x {size[0]} pixels: at most {LARGEST:,} are taken"
        )
    return size


def resize_image(image: npt.NDArray[np.uint8], size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Resize (H, W, 3) uint8 to `size` = (height, width): bilinear, half-pixel centres, no antialias.

    Only the four pixels around each new one are ever looked at, a strip of new rows at a time: beside the
    result this needs a few MiB, however large the photograph.
    """
    if image.shape[:2] == size:
        return image
    tall, wide = centre_taps(image.shape[0], size[0]), centre_taps(image.shape[1], size[1])
    right = wide.fraction.astype(np.float32)[None, :, None]
    out = np.empty((*size, 3), dtype=np.uint8)
    step = max(1, STRIP // size[1])
    for start in range(0, size[0], step):
        rows = slice(start, start + step)
        down = tall.fraction[rows].astype(np.float32)[:, None, None]
        upper, lower = (
            (1 - right) * image[y[:, None], wide.low] + right * image[y[:, None], wide.high]
            for y in (tall.low[rows], tall.high[rows])
        )
        out[rows] = np.rint((1 - down) * upper + down * lower)
    return out


def sliding_boxes(height: int, width: int, window: int | None, stride: int) -> list[Box]:
    """Windows in reading order that cover an image of that size; a last one is flush with each border.

    Where the image is smaller than the window, the window takes the image's extent; None = one window of all.
    """
    if window is None:
        return [Box(0, 0, height, width)]
    return [
        Box(y, x, min(y + window, height), min(x + window, width))
        for y in _starts(height, window, stride)
        for x in _starts(width, window, stride)
    ]


def _starts(length: int, window: int, stride: int) -> list[int]:
    last = max(length - window, 0)
    return [*range(0, last, stride), last]


def crops(image: npt.NDArray[np.uint8], boxes: Sequence[Box], batch_size: int) -> Iterator[torch.Tensor]:
    """The windows as batches (B, 3, h, w) float32 in [0, 1]; all windows of one image are of one size."""
    for start in range(0, len(boxes), batch_size):
        batch = np.stack([image[b.y1 : b.y2, b.x1 : b.x2] for b in boxes[start : start + batch_size]])
        yield torch.from_numpy(batch).permute(0, 3, 1, 2).float() / 255.0
