"""The method as its definition reads: one dense mask a region, dense planes a class, window by window.

Written from the published description (sigmoid of cosines painted on regions, patches where no grid point
falls, the mean over windows, softmax, arg-max), to compare speed with and to check labels
against.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F

from freeda.options import SegmentOptions
from freeda.segment.regions import superpixels
from freeda.segment.vocabulary import Vocabulary
from freeda.segment.windows import resize_image, sliding_boxes, working_size


@torch.inference_mode()
def window_scores(
    encoders: Any,
    window: npt.NDArray[np.uint8],
    text: torch.Tensor,
    prototypes: torch.Tensor,
    o: SegmentOptions,
) -> torch.Tensor:
    """(C, h, w) scores of one window (h, w, 3)."""
    x = torch.from_numpy(np.ascontiguousarray(window)).permute(2, 0, 1)[None].float() / 255
    context = text @ encoders.clip.encode_image(x)[0]
    patches = encoders.dense.encode(x)[0]
    regions = torch.from_numpy(superpixels(window, o.superpixels))
    masks = F.one_hot(regions).permute(2, 0, 1).float()
    weights = F.interpolate(masks[:, None], patches.shape[:2], mode="bilinear", align_corners=True)[:, 0]
    total = weights.sum(dim=(1, 2))
    sampled = total >= 1e-5
    pooled = torch.einsum("rij,ijd->rd", weights, patches) / total.clamp(min=1e-5)[:, None]
    local = torch.sigmoid(F.normalize(pooled, dim=-1) @ prototypes.T)
    painted = torch.einsum("rc,rhw->chw", local * sampled[:, None], masks)
    planes = torch.sigmoid(F.normalize(patches, dim=-1) @ prototypes.T).permute(2, 0, 1)[None]
    planes = F.interpolate(planes, window.shape[:2], mode="bilinear", align_corners=True)[0]
    local_map = torch.where(sampled[regions], painted, planes)
    return o.local_weight * local_map + (1 - o.local_weight) * context[:, None, None]


@torch.inference_mode()
def segment(
    encoders: Any, image: npt.NDArray[np.uint8], vocabulary: Vocabulary, options: SegmentOptions
) -> torch.Tensor:
    """(C, H, W) softmax of the windows' averaged scores, at the image's own size."""
    h, w = working_size(image.shape[0], image.shape[1], options)
    working = resize_image(image, (h, w))
    text = torch.from_numpy(vocabulary.text_embeddings)
    prototypes = F.normalize(torch.from_numpy(vocabulary.prototypes), dim=-1)
    scores, count = torch.zeros(len(text), h, w), torch.zeros(h, w)
    for b in sliding_boxes(h, w, options.window, options.stride):
        crop = working[b.y1 : b.y2, b.x1 : b.x2]
        scores[:, b.y1 : b.y2, b.x1 : b.x2] += window_scores(encoders, crop, text, prototypes, options)
        count[b.y1 : b.y2, b.x1 : b.x2] += 1
    scores = scores / count
    return F.interpolate(scores[None], image.shape[:2], mode="bilinear", align_corners=False)[0].softmax(
        dim=0
    )
