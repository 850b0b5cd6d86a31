"""A vision transformer's last block, attended by another encoder's similarity (ProxyCLIP, CorrCLIP)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from .options import DenseClip


def attention(
    guide: torch.Tensor, regions: Sequence[Any], side: int, how: DenseClip
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention of patches (B, N, N) float32, rows sum to 1, and the region of each (B, N) int64; N = side².

    `guide` (B, g, g, C) is brought to the grid bilinearly; S is the cosine of its patches. `regions` are maps
    (H, W) of whole numbers, below 0 in none: a patch is of the region at its centre.

    - "proxy": softmax of gamma * (S - beta * mean S) where that is at least 0. A patch always sees itself,
      also where all are so alike that nothing would be left.
    - "regions": softmax of sharpness * S, between patches of one region where `within` asks for it. A patch
      in no region sees those that are like it at least as much as the mean of its row.
    """
    x = F.interpolate(guide.float().permute(0, 3, 1, 2), (side, side), mode="bilinear", align_corners=False)
    unit = F.normalize(x.flatten(2).transpose(1, 2), dim=-1)
    similarity = unit @ unit.transpose(1, 2)
    region = torch.stack([_at_patches(one, side) for one in regions]).to(guide.device)
    if how.attention == "proxy":
        logits = (similarity - how.beta * similarity.mean(dim=(1, 2), keepdim=True)) * how.gamma
        seen = logits >= 0
    else:
        logits = similarity * how.sharpness
        free = (region < 0)[:, :, None]
        like = similarity >= similarity.mean(dim=-1, keepdim=True)
        seen = torch.where(free, like, (region[:, :, None] == region[:, None]) | (not how.within))
    seen = seen | torch.eye(side**2, dtype=torch.bool, device=guide.device)
    return logits.masked_fill(~seen, -torch.inf).softmax(dim=-1), region


def class_tokens(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, region: torch.Tensor, heads: int
) -> torch.Tensor:
    """(B, N, C): per patch the class token as it attends to the patches of that patch's region alone.

    `query` (B, 1, C) is the class token's, `key` and `value` (B, N, C) the patches', `region` (B, N) their
    regions; for a patch in none (below 0) the class token sees all patches.
    """
    batch, n, width = value.shape
    split = (batch, -1, heads, width // heads)
    logits = torch.einsum("bqhd,bkhd->bhk", query.view(split), key.view(split)) * (width // heads) ** -0.5
    values = value.view(split).transpose(1, 2)
    group = (region.clamp(min=-1) + 1)[:, None].expand(-1, heads, -1)
    shape = (batch, heads, int(group.max()) + 1)
    most = logits.new_full(shape, -torch.inf).scatter_reduce(2, group, logits, "amax")
    weight = (logits - most.gather(2, group)).exp()
    total = logits.new_zeros(shape).scatter_add(2, group, weight)
    where = group[..., None].expand_as(values)
    summed = values.new_zeros(*shape, values.shape[-1]).scatter_add(2, where, weight[..., None] * values)
    inside = summed.gather(2, where) / total.gather(2, group)[..., None]
    everywhere = (logits.softmax(dim=-1)[..., None] * values).sum(dim=2, keepdim=True)
    tokens = torch.where((region >= 0)[:, None, :, None], inside, everywhere)
    return tokens.transpose(1, 2).reshape(batch, n, width)


def _at_patches(regions: Any, side: int) -> torch.Tensor:
    """(side²,) int64: a map (H, W) at the centres of patches."""
    labels = np.asarray(regions)
    rows, columns = (((np.arange(side) + 0.5) * (n / side)).astype(np.int64) for n in labels.shape)
    return torch.from_numpy(labels[rows[:, None], columns].astype(np.int64)).flatten()
