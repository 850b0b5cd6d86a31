"""One encoded window, free of class names: every pixel as a sparse blend of a few feature vectors.

A region's pixels all score alike, so the whole region is one *atom* that points at one feature, the region's
pooled patches. A pixel of a region that no grid point samples is an atom of its own, the bilinear blend
(align_corners=True) of four patches' scores. What is stored is thus a map of atoms, the features that atoms
point at, and the sparse matrix of weights between the two; scores of any class list are two products away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy import sparse

from ..encoders import Encoders
from ..options import Superpixels
from ..pooling import corner_taps, pool_regions
from .regions import superpixels
from .windows import Box, crops

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Piece:
    """An encoded window (method.md, section 2, steps 4 to 7, before any class name is known)."""

    box: Box
    atoms: npt.NDArray[np.int32]
    """(h, w) atom of every pixel, 0 to A-1."""
    weights: Any
    """(A, B) scipy CSR float32, rows sum to 1: the features whose scores an atom blends."""
    features: Floats
    """(B, D) float32, L2-normalised: pooled regions, then the patches that unsampled pixels need."""
    embedding: Floats
    """(K,) float32, L2-normalised: CLIP's image embedding of the window."""


def encode_pieces(
    encoders: Encoders,
    image: npt.NDArray[np.uint8],
    boxes: Sequence[Box],
    options: Superpixels,
    batch_size: int = 8,
    on_done: Callable[[int, int], None] | None = None,
) -> Iterator[Piece]:
    """Encode windows of a working image (H, W, 3) uint8, a batch at a time, superpixels beside the encoders.

    `on_done(windows_done, windows_in_all)` is called after every batch. At most two batches of regions and
    one of patch features are alive at any moment.
    """
    groups = [boxes[i : i + batch_size] for i in range(0, len(boxes), batch_size)]
    with ThreadPoolExecutor(max_workers=1) as pool:

        def cut(group: Sequence[Box]) -> Any:
            return pool.submit(lambda: [superpixels(image[b.y1 : b.y2, b.x1 : b.x2], options) for b in group])

        coming = cut(groups[0])
        done = 0
        for number, (group, batch) in enumerate(zip(groups, crops(image, boxes, batch_size), strict=True)):
            current = coming
            if number + 1 < len(groups):
                coming = cut(groups[number + 1])
            batch = batch.to(encoders.device)
            embeddings = encoders.clip.encode_image(batch).cpu().numpy()
            features = encoders.dense.encode(batch)
            for box, regions, patches, embedding in zip(
                group, current.result(), features, embeddings, strict=True
            ):
                yield make_piece(box, regions, patches, embedding)
            done += len(group)
            if on_done is not None:
                on_done(done, len(boxes))


def make_piece(box: Box, regions: npt.NDArray[np.int64], patches: torch.Tensor, embedding: Floats) -> Piece:
    """Join a window's regions (h, w), patch features (gh, gw, D) and image embedding (K,) into a `Piece`."""
    n_regions = int(regions.max()) + 1
    pooled, weight = pool_regions(patches, regions, n_regions)
    sampled = weight.cpu().numpy() > 0
    n_sampled = int(sampled.sum())

    number = np.where(sampled, np.cumsum(sampled) - 1, -1)
    number = np.append(number, -1)  # so that region -1, "in no region", reads -1 too
    atoms = number[regions]
    ys, xs = np.nonzero(atoms < 0)
    atoms[ys, xs] = n_sampled + np.arange(len(ys))

    patch, share = _patch_blend(regions.shape, patches.shape[:2], ys, xs)
    used, column = np.unique(patch, return_inverse=True)
    weights = sparse.csr_matrix(
        (
            np.concatenate([np.ones(n_sampled), share.ravel()]).astype(np.float32),
            np.concatenate([np.arange(n_sampled), n_sampled + column.ravel()]),
            np.concatenate([np.arange(n_sampled), n_sampled + 4 * np.arange(len(ys) + 1)]),
        ),
        shape=(n_sampled + len(ys), n_sampled + len(used)),
    )

    device = patches.device
    chosen = patches.reshape(-1, patches.shape[-1])[torch.from_numpy(used).to(device)]
    kept = torch.cat([pooled[torch.from_numpy(sampled).to(device)], chosen.float()])
    features = torch.nn.functional.normalize(kept, dim=-1).cpu().numpy()
    return Piece(box, atoms.astype(np.int32), weights, features, np.asarray(embedding, dtype=np.float32))


def _patch_blend(
    size: tuple[int, ...],
    grid: Sequence[int],
    ys: npt.NDArray[Any],
    xs: npt.NDArray[Any],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """The four patches around each pixel (ys, xs) and their bilinear weights: both (P, 4)."""
    tall, wide = corner_taps(grid[0], size[0]), corner_taps(grid[1], size[1])
    rows, columns = (tall.low[ys], tall.high[ys]), (wide.low[xs], wide.high[xs])
    high_y, high_x = tall.fraction[ys], wide.fraction[xs]
    parts = [
        (rows[i] * grid[1] + columns[j], (high_y if i else 1 - high_y) * (high_x if j else 1 - high_x))
        for i in (0, 1)
        for j in (0, 1)
    ]
    return np.stack([p for p, _ in parts], axis=1), np.stack([w for _, w in parts], axis=1)
