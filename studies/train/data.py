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

from freeda.miniature.captions import caption
from freeda.miniature.scenes import SIZE, TRAIN, render

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
        temporary = texts.with_suffix(".tmp")
        temporary.write_text(json.dumps(captions))
        temporary.rename(texts)
    return Pairs(np.load(pictures, mmap_mode="r", allow_pickle=False), json.loads(texts.read_text()))
