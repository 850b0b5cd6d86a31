"""What the dense encoder says of every patch of the training pictures: the other stages' teacher."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from transformers import Dinov2Model

from ...presets import IMAGENET_MEAN, IMAGENET_STD
from .common import batch_of
from .data import Pairs


def patch_features(pairs: Pairs, dense: Path, path: Path, device: torch.device) -> NDArray[np.float16]:
    """(N, D, 16, 16) float16 unit vectors: the dense encoder.s word on every patch, less the mean."""
    if not path.exists():
        encoder = Dinov2Model.from_pretrained(dense, dtype=torch.float32).to(device).eval()
        mean, std = (torch.tensor(v, device=device).view(1, 3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
        parts = []
        with torch.inference_mode():
            for i in range(0, len(pairs), 200):
                x = batch_of(pairs.images, np.arange(i, min(i + 200, len(pairs))), device)
                tokens = encoder((x - mean) / std).last_hidden_state[:, 1:]
                parts.append(tokens.half().cpu())
        whole = torch.cat(parts)
        usual = whole.float().mean((0, 1))
        side = round(whole.shape[1] ** 0.5)
        temporary = path.with_suffix(".tmp.npy")
        out = np.lib.format.open_memmap(temporary, "w+", np.float16, (len(whole), whole.shape[2], side, side))
        for i in range(0, len(whole), 1000):
            unit = F.normalize(whole[i : i + 1000].float() - usual, dim=-1)
            out[i : i + 1000] = unit.transpose(1, 2).unflatten(2, (side, side)).half().numpy()
        out.flush()
        temporary.replace(path)
    return np.load(path, mmap_mode="r", allow_pickle=False)
