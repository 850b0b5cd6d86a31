"""The working size of a photograph and the sliding windows that cover it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F

from ..options import SegmentOptions


class Box(NamedTuple):
    """A window in the working image: rows y1 to y2, columns x1 to x2, in pixels, ends exclusive."""

    y1: int
    x1: int
    y2: int
    x2: int


def working_size(height: int, width: int, options: SegmentOptions) -> tuple[int, int]:
    """(height, width) at which windows are cut: short side to `short_side`, long side at most `long_side`."""
    if options.short_side is None:
        return height, width
    scale = min(options.short_side / min(height, width), options.long_side / max(height, width))
    return max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))


def resize_image(image: npt.NDArray[np.uint8], size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Resize (H, W, 3) uint8 to `size` = (height, width): bilinear, half-pixel centres, no antialias."""
    if image.shape[:2] == size:
        return image
    x = torch.from_numpy(np.require(image, requirements=["C", "W"])).permute(2, 0, 1)[None].float()
    x = F.interpolate(x, size, mode="bilinear", align_corners=False, antialias=False)
    return x[0].round_().clamp_(0, 255).to(torch.uint8).permute(1, 2, 0).contiguous().numpy()


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
