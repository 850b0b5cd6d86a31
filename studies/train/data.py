"""What models learn from: scenes rendered once, their captions' words, the dense encoder's word on patches.

Masks are never stored: no model but the region model (`masks`) sees one.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from transformers import Dinov2Model

from freeda.files import atomic_path, atomic_write_text
from freeda.miniature.captions import UNSEEN, WORDS, caption
from freeda.miniature.scenes import SIZE, TRAIN, render
from freeda.presets import IMAGENET_MEAN, IMAGENET_STD

from .common import batch_of

CAPTIONS_PER_SCENE = 5


@dataclass(frozen=True)
class Pairs:
    """Training pictures and what people said of them."""

    images: NDArray[np.uint8]
    """(N, 128, 128, 3), memory-mapped."""
    captions: list[list[str]]
    """N lists of CAPTIONS_PER_SCENE captions."""

    def __len__(self) -> int:
        return len(self.captions)


@dataclass(frozen=True)
class Run:
    """What the stages of one run share."""

    pairs: Pairs
    near: Pairs
    """Close-ups."""
    state: Path
    """The folder of training states and of what is computed once."""
    results: dict[str, Path]
    """Stage -> the folder of its model."""
    device: torch.device
    pace: float = 1.0
    """Share of every recipe's steps."""


def _part(job: tuple[int, int, int]) -> tuple[NDArray[np.uint8], list[list[str]]]:
    stream, start, stop = job
    images = np.empty((stop - start, SIZE, SIZE, 3), np.uint8)
    captions = []
    for i in range(start, stop):
        scene = render(stream, i)
        images[i - start] = scene.image
        rng = np.random.default_rng([stream, i, 1])
        captions.append([caption(scene, rng) for _ in range(CAPTIONS_PER_SCENE)])
    return images, captions


def _parts(stream: int, n: int) -> Iterator[tuple[int, int, int]]:
    for start in range(0, n, 500):
        yield stream, start, min(start + 500, n)


def training_pairs(folder: Path, n: int, stream: int = TRAIN) -> Pairs:
    """The first n scenes of a training stream, rendered on first use into `folder` (49 kB a scene)."""
    folder.mkdir(parents=True, exist_ok=True)
    pictures, texts = folder / f"images-{stream}-{n}.npy", folder / f"captions-{stream}-{n}.json"
    if not texts.exists():
        out = np.lib.format.open_memmap(pictures, "w+", np.uint8, (n, SIZE, SIZE, 3))
        captions: list[list[str]] = []
        with ProcessPoolExecutor(os.cpu_count()) as pool:
            jobs = list(_parts(stream, n))
            for (_, start, stop), (images, words) in zip(jobs, pool.map(_part, jobs), strict=True):
                out[start:stop] = images
                captions += words
                print(f"rendered {stop}/{n} scenes", flush=True)
        out.flush()
        atomic_write_text(texts, json.dumps(captions))
    return Pairs(np.load(pictures, mmap_mode="r", allow_pickle=False), json.loads(texts.read_text()))


FORMS: tuple[str, ...] = tuple(
    dict.fromkeys([form for forms in WORDS.values() for form in forms] + list(UNSEEN.values()))
)
"""Every noun form that occurs in training captions."""
# Longest first: "beach ball" must not also count as "beach".
_PATTERN = re.compile(r"\b(" + "|".join(sorted(FORMS, key=len, reverse=True)) + r")\b")


def present(captions: list[list[str]]) -> NDArray[np.bool_]:
    """(N, len(FORMS)): whether any caption of an image uses the form."""
    out = np.zeros((len(captions), len(FORMS)), bool)
    index = {form: i for i, form in enumerate(FORMS)}
    for row, texts in enumerate(captions):
        for text in texts:
            for match in _PATTERN.findall(text):
                out[row, index[match]] = True
    return out


def patch_features(pairs: Pairs, dense: Path, path: Path, device: torch.device) -> NDArray[np.float16]:
    """(N, D, gh, gw) float16 unit vectors: the dense encoder's word on every patch, less the mean."""
    if not path.exists():
        encoder = Dinov2Model.from_pretrained(dense, dtype=torch.float32).to(device).eval()
        mean, std = (torch.tensor(v, device=device).view(1, 3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
        dim, side = encoder.config.hidden_size, pairs.images.shape[1] // encoder.config.patch_size
        parts = [slice(i, min(i + 200, len(pairs))) for i in range(0, len(pairs), 200)]
        usual = torch.zeros(dim, 1, 1)
        with atomic_path(path) as temp, torch.inference_mode():
            out = np.lib.format.open_memmap(temp, "w+", np.float16, (len(pairs), dim, side, side))
            for part in parts:
                x = batch_of(pairs.images, np.arange(part.start, part.stop), device)
                tokens = encoder((x - mean) / std).last_hidden_state[:, 1:].cpu()
                features = tokens.transpose(1, 2).unflatten(2, (side, side))
                usual += features.mean((0, 2, 3))[:, None, None] * (len(x) / len(pairs))
                out[part] = features.half().numpy()
            for part in parts:
                out[part] = F.normalize(torch.from_numpy(out[part]).float() - usual, dim=1).half().numpy()
            out.flush()
    return np.load(path, mmap_mode="r", allow_pickle=False)
