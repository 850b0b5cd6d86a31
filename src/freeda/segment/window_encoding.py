"""One encoded window, free of class names: every pixel as a sparse blend of a few feature vectors.

A region's pixels all score alike, so the whole region is one *atom* that points at one feature, the region's
pooled patches. A pixel of a region that no grid point samples is an atom of its own, the bilinear blend
(align_corners=True) of four patches' scores. What is stored is thus a map of atoms, the features that atoms
point at, and the sparse matrix of weights between the two; scores of any class list are two products away.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy import sparse

from ..encoders import Encoders
from ..errors import InputError, ModelError
from ..options import Superpixels
from ..pooling import corner_taps, pool_regions
from ..profile import OFF, Clock
from .regions import RegionMap, superpixels
from .windows import Box, crops

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class WindowEncoding:
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


def encode_windows(
    encoders: Encoders,
    image: npt.NDArray[np.uint8],
    boxes: Sequence[Box],
    options: Superpixels,
    batch_size: int | None = None,
    on_done: Callable[[int, int], None] | None = None,
    clock: Clock = OFF,
    beside: bool | None = None,
) -> Iterator[WindowEncoding]:
    """Encode windows of a working image (H, W, 3) uint8, a batch at a time.

    Superpixels are cut by a pool of threads, as many as torch uses. With `beside` they are cut for the next
    windows while the encoders work on these; without, before the encoders, on all threads at once. None takes
    the former on an accelerator, the latter on a CPU, where both share the same cores and it makes no
    difference (docs/speed.md).

    `batch_size` None takes 2 on a CPU, which gains nothing from more, 8 elsewhere. `on_done(windows_done,
    windows_in_all)` is called after every batch; `clock` times the stages. Alive at any moment are one
    batch of patch features and at most max(batch, threads) + batch maps of regions. Raises InputError for a
    batch size under 1.
    """
    on_cpu = encoders.device.type == "cpu"
    if batch_size is None:
        batch_size = 2 if on_cpu else 8
    if not isinstance(batch_size, int) or batch_size < 1:
        raise InputError(f"batch_size is {batch_size}: at least 1 window must be encoded at a time")
    if beside is None:
        beside = not on_cpu
    done, cutter = 0, RegionCutter(image, boxes, options, clock if beside else OFF)
    ahead = max(batch_size, cutter.workers)
    try:
        for batch in crops(image, boxes, batch_size):
            group = boxes[done : done + len(batch)]
            if beside:
                cutter.start(done + batch_size + ahead)
            elif cutter.started < done + len(group):
                cutter.start(done + ahead)
                with clock("regions"):
                    cutter.finish()
            batch = batch.to(encoders.device)
            with clock("clip"):
                embeddings = encoders.clip.encode_image(batch).cpu().numpy()
            with clock("dense"):
                features = encoders.dense.encode(batch)
            if not (np.isfinite(embeddings).all() and torch.isfinite(features.sum())):
                raise ModelError(
                    f"the encoders gave NaN or infinity in {str(encoders.dtype).removeprefix('torch.')}: "
                    "load them with dtype='float32'; if it is that already, their weights are damaged"
                )
            for box, patches, embedding in zip(group, features, embeddings, strict=True):
                with clock("regions"):  # beside the encoders: what is left to wait for
                    regions = cutter.take()
                with clock("pooling"):
                    piece = join_window(box, regions, patches, embedding)
                yield piece
            done += len(group)
            if on_done is not None:
                on_done(done, len(boxes))
    finally:
        cutter.close()


class RegionCutter:
    """Superpixels of windows, in order, cut by threads: scikit-image works without the interpreter's lock."""

    MAX_WORKERS = 16
    """Each holds about 350 bytes a pixel of its window (felzenszwalb's edges)."""

    def __init__(
        self, image: npt.NDArray[np.uint8], boxes: Sequence[Box], options: Superpixels, clock: Clock = OFF
    ):
        self._image, self._boxes, self._options, self._clock = image, boxes, options, clock
        self.workers: int = min(torch.get_num_threads(), self.MAX_WORKERS)
        """Threads that cut."""
        self.started = 0
        """Windows cut or being cut so far."""
        self._pool = ThreadPoolExecutor(self.workers, thread_name_prefix="superpixels")
        self._coming: deque[Future[RegionMap]] = deque()

    def start(self, until: int) -> None:
        """Begin with all windows before number `until`."""
        while self.started < min(until, len(self._boxes)):
            self._coming.append(self._pool.submit(self._cut, self._boxes[self.started]))
            self.started += 1

    def finish(self) -> None:
        """Wait for all that were begun."""
        wait(self._coming)

    def take(self) -> RegionMap:
        """The next window's regions (h, w), waiting for them if need be."""
        return self._coming.popleft().result()

    def close(self) -> None:
        """End the threads; windows not begun are dropped."""
        self._pool.shutdown(cancel_futures=True)

    def _cut(self, b: Box) -> RegionMap:
        with self._clock("superpixels", beside=True):
            return superpixels(self._image[b.y1 : b.y2, b.x1 : b.x2], self._options)


def join_window(
    box: Box, regions: npt.NDArray[np.int64], patches: torch.Tensor, embedding: Floats
) -> WindowEncoding:
    """Join a window's regions (h, w), patch features (gh, gw, D) and image embedding (K,)."""
    n_regions = int(regions.max()) + 1
    pooled, weight = pool_regions(patches, regions, n_regions)
    sampled = weight > 0
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

    chosen = patches.reshape(-1, patches.shape[-1])[torch.from_numpy(used).to(patches.device)]
    kept = torch.cat([torch.from_numpy(pooled[sampled]), chosen.float().cpu()])
    features = torch.nn.functional.normalize(kept, dim=-1).numpy()
    return WindowEncoding(
        box, atoms.astype(np.int32), weights, features, np.asarray(embedding, dtype=np.float32)
    )


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
