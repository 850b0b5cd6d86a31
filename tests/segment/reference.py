"""The online stage written out from its definition: dense masks, dense planes, loops, torch's resize."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from freeda.options import SegmentOptions
from freeda.segment.regions import superpixels


def window_logits(
    encoders: Any, window: np.ndarray, text: np.ndarray, prototypes: np.ndarray, options: SegmentOptions
) -> torch.Tensor:
    """(C, h, w) scores of one window."""
    x = torch.from_numpy(window.copy()).permute(2, 0, 1)[None].float() / 255
    t, p = torch.from_numpy(text), F.normalize(torch.from_numpy(prototypes), dim=-1)
    context = t @ encoders.clip.encode_image(x)[0]
    patches = encoders.dense.encode(x)[0]
    h, w = window.shape[:2]
    cosine = F.normalize(patches, dim=-1) @ p.T
    planes = torch.sigmoid(cosine).permute(2, 0, 1)[None]
    local = F.interpolate(planes, (h, w), mode="bilinear", align_corners=True)[0]
    regions = superpixels(window, options.superpixels)
    for r in range(regions.max() + 1):
        mask = torch.from_numpy(regions == r)
        weight = F.interpolate(
            mask[None, None].double(), patches.shape[:2], mode="bilinear", align_corners=True
        )[0, 0].float()
        if weight.sum() < 1e-5:
            continue
        feature = (weight[..., None] * patches).sum((0, 1)) / weight.sum()
        local[:, mask] = torch.sigmoid(p @ F.normalize(feature, dim=-1))[:, None]
    return options.local_weight * local + (1 - options.local_weight) * context[:, None, None]


def merged(
    encoders: Any, image: np.ndarray, text: np.ndarray, prototypes: np.ndarray, options: SegmentOptions
) -> torch.Tensor:
    """(C, h, w): the windows' scores averaged over a working image."""
    h, w = image.shape[:2]
    side = options.window or max(h, w)
    total, count = torch.zeros(len(text), h, w), torch.zeros(h, w)
    seen = set()
    for top in range(0, h + options.stride, options.stride):
        for left in range(0, w + options.stride, options.stride):
            y1, x1 = max(min(top, h - side), 0), max(min(left, w - side), 0)
            if (y1, x1) in seen:
                continue
            seen.add((y1, x1))
            crop = image[y1 : y1 + side, x1 : x1 + side]
            total[:, y1 : y1 + side, x1 : x1 + side] += window_logits(
                encoders, crop, text, prototypes, options
            )
            count[y1 : y1 + side, x1 : x1 + side] += 1
    return total / count


def resized(scores: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    return F.interpolate(scores[None], size, mode="bilinear", align_corners=False)[0]
