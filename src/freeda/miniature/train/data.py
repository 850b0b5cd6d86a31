"""The training set: rendered once, kept as plain arrays. Masks are never stored here: no model sees one."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..captions import caption
from ..scenes import SIZE, TRAIN, render

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


def _part(span: tuple[int, int]) -> tuple[NDArray[np.uint8], list[list[str]]]:
    images = np.empty((span[1] - span[0], SIZE, SIZE, 3), np.uint8)
    captions = []
    for i in range(*span):
        scene = render(TRAIN, i)
        images[i - span[0]] = scene.image
        rng = np.random.default_rng([TRAIN, i, 1])
        captions.append([caption(scene, rng) for _ in range(CAPTIONS_PER_SCENE)])
    return images, captions


def _parts(n: int) -> Iterator[tuple[int, int]]:
    for start in range(0, n, 500):
        yield start, min(start + 500, n)


def training_pairs(folder: Path, n: int) -> Pairs:
    """The first n training scenes, rendered on first use into `folder` (49 kB a scene)."""
    folder.mkdir(parents=True, exist_ok=True)
    pictures, texts = folder / f"images-{n}.npy", folder / f"captions-{n}.json"
    if not texts.exists():
        out = np.lib.format.open_memmap(pictures, "w+", np.uint8, (n, SIZE, SIZE, 3))
        captions: list[list[str]] = []
        with ProcessPoolExecutor(os.cpu_count()) as pool:
            for (start, stop), (images, words) in zip(_parts(n), pool.map(_part, _parts(n)), strict=True):
                out[start:stop] = images
                captions += words
                print(f"rendered {stop}/{n} scenes", flush=True)
        out.flush()
        temporary = texts.with_suffix(".tmp")
        temporary.write_text(json.dumps(captions))
        temporary.rename(texts)
    return Pairs(np.load(pictures, mmap_mode="r", allow_pickle=False), json.loads(texts.read_text()))
