"""What the dense encoder says of every patch of the training pictures: the other stages' teacher."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from transformers import Dinov2Model

from freeda.presets import IMAGENET_MEAN, IMAGENET_STD

from .common import batch_of
from .data import Pairs


def patch_features(pairs: Pairs, dense: Path, path: Path, device: torch.device) -> NDArray[np.float16]:
    """(N, D, gh, gw) float16 unit vectors: the dense encoder's word on every patch, less the mean."""
    if not path.exists():
        encoder = Dinov2Model.from_pretrained(dense, dtype=torch.float32).to(device).eval()
        mean, std = (torch.tensor(v, device=device).view(1, 3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
        dim, side = encoder.config.hidden_size, pairs.images.shape[1] // encoder.config.patch_size
        temporary = path.with_suffix(".tmp.npy")
        out = np.lib.format.open_memmap(temporary, "w+", np.float16, (len(pairs), dim, side, side))
        parts = [slice(i, min(i + 200, len(pairs))) for i in range(0, len(pairs), 200)]
        usual = torch.zeros(dim, 1, 1)
        with torch.inference_mode():
            for part in parts:
                x = batch_of(pairs.images, np.arange(part.start, part.stop), device)
                tokens = encoder((x - mean) / std).last_hidden_state[:, 1:].cpu()
                features = tokens.transpose(1, 2).unflatten(2, (side, side))
                usual += features.mean((0, 2, 3))[:, None, None] * (len(x) / len(pairs))
                out[part] = features.half().numpy()
        for part in parts:
            out[part] = F.normalize(torch.from_numpy(out[part]).float() - usual, dim=1).half().numpy()
        out.flush()
        temporary.replace(path)
    return np.load(path, mmap_mode="r", allow_pickle=False)
