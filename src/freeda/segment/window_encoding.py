"""One encoded window, free of class names: every pixel as a sparse blend of a few feature vectors.

A region's pixels all score alike, so the whole region is one *atom* that points at one feature, the region's
pooled patches. A pixel of a region that no grid point samples is an atom of its own, the bilinear blend
(align_corners=True) of four patches' scores. What is stored is thus a map of atoms, the features that atoms
point at, and the sparse matrix of weights between the two; scores of any class list are two products away.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy import sparse
from torch.nn import functional as F

from ..encoders import Encoders
from ..errors import InputError, ModelError, out_of_memory
from ..images import RGB
from ..options import DenseClip
from ..pooling import corner_taps, pool_regions
from ..profile import OFF, Clock
from .regions import RegionMap, Regions, region_map, without_gaps
from .windows import Box

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
    joint: Floats | None = None
    """(B, K) float32, L2-normalised: image-text features of the same rows, where they were asked for."""


class Frame:
    """A working image on its way through the encoders; see `encode_frames`."""

    def __init__(
        self,
        image: RGB,
        boxes: Sequence[Box],
        regions: Regions,
        whole: RegionMap | None = None,
        on_done: Callable[[int, int], None] | None = None,
        error: Exception | None = None,
        dense_clip: DenseClip | None = None,
    ) -> None:
        """`whole` is the map of regions of the whole image, where `regions` gave one; else windows are cut.
        `dense_clip` asks for image-text features of regions beside the dense encoder's.

        `on_done(windows_done, windows_in_all)` is called after every batch.
        """
        self.image, self.boxes, self.regions, self.whole, self.on_done = image, boxes, regions, whole, on_done
        self.encodings: list[WindowEncoding] = []
        """Filled in the order of `boxes`."""
        self.dense_clip = dense_clip
        self.error = error
        """Why it has none: memory that ran out, regions that are none."""
        self._maps: deque[Future[RegionMap]] = deque()
        self._cut = 0

    @property
    def done(self) -> bool:
        """Whether nothing is left to do."""
        return self.error is not None or len(self.encodings) == len(self.boxes)

    def start(self, pool: Executor, clock: Clock) -> bool:
        """Begin to cut the next window's regions; False where all are begun."""
        if self._cut == len(self.boxes):
            return False
        self._maps.append(pool.submit(self._regions, self.boxes[self._cut], clock))
        self._cut += 1
        return True

    @property
    def begun(self) -> Sequence[Future[RegionMap]]:
        """The maps that are cut or being cut, and not taken yet."""
        return self._maps

    def take(
        self, patches: torch.Tensor, embedding: Floats, clock: Clock, joint: torch.Tensor | None = None
    ) -> None:
        """Add the next window's encoding: patch features (gh, gw, D), image embedding (K,) and, where they
        are asked for, image-text features of patches (gh, gw, K)."""
        with clock("regions"):  # beside the encoders: what is left to wait for
            regions = self._maps.popleft().result()
        with clock("pooling"):
            box = self.boxes[len(self.encodings)]
            self.encodings.append(join_window(box, regions, patches, embedding, joint))

    def _regions(self, box: Box, clock: Clock) -> RegionMap:
        window = np.s_[box.y1 : box.y2, box.x1 : box.x2]
        with clock("superpixels", beside=True):
            if self.whole is not None:
                return without_gaps(self.whole[window])
            return region_map(self.regions, self.image[window])


MAX_THREADS = 16
"""Threads that cut windows, at most: each holds about 350 bytes a pixel of its window (felzenszwalb)."""


def batch_of(encoders: Encoders, batch_size: int | None) -> int:
    """How many windows go together: what suits the device, where it is None. Raises InputError under 1."""
    if batch_size is None:
        return 2 if encoders.device.type == "cpu" else 8
    if not isinstance(batch_size, int) or batch_size < 1:
        raise InputError(f"batch_size is {batch_size}: at least 1 window must be encoded at a time")
    return batch_size


def encode_frames(
    encoders: Encoders,
    frames: Iterable[Frame],
    batch_size: int | None = None,
    clock: Clock = OFF,
    beside: bool | None = None,
) -> Iterator[Frame]:
    """Encode the windows of working images, a batch at a time: each frame in its order, when it is done.

    A batch is filled from as many frames as it takes, where their windows are of one size. Regions are cut by
    a pool of threads, as many as torch uses. With `beside` they are cut for the next windows, and the next
    frames asked for, while the encoders work on these; without, before the encoders, on all threads at once.
    None takes the former on an accelerator, the latter on a CPU, where both share the same cores and it makes
    no difference (docs/speed.md).

    `batch_size` None takes 2 on a CPU, which gains nothing from more, 8 elsewhere; `clock` times the stages.
    Alive at any moment are one batch of patch features, at most max(batch, threads) + batch maps of regions,
    and the frames of one batch of windows, with `beside` of two. Where memory runs out in a batch of several
    frames, each is tried by itself; one for which it does not suffice has the `error`. Raises InputError for
    a batch size under 1, ModelError for encoders that give NaN.
    """
    batch_size = batch_of(encoders, batch_size)
    beside = encoders.device.type != "cpu" if beside is None else beside
    threads = min(torch.get_num_threads(), MAX_THREADS)
    ahead, coming = max(batch_size, threads), iter(frames)
    waiting: deque[Frame] = deque()

    def left() -> list[tuple[Frame, Box]]:
        return [(f, b) for f in waiting if not f.done for b in f.boxes[len(f.encodings) :]]

    def pull(windows: int) -> None:
        while len(left()) < windows and (following := next(coming, None)) is not None:
            waiting.append(following)

    def cut(windows: int) -> None:
        missing = windows - sum(len(f.begun) for f in waiting)
        for frame in waiting:
            while missing > 0 and not frame.done and frame.start(pool, clock if beside else OFF):
                missing -= 1

    pool = ThreadPoolExecutor(threads, thread_name_prefix="superpixels")
    try:
        while True:
            pull(batch_size)
            while waiting and waiting[0].done:
                yield waiting.popleft()
            group = _alike(left())[:batch_size]
            if not group:
                if waiting:
                    continue
                return
            if beside:
                cut(batch_size + ahead)
                pull(2 * batch_size)
                cut(batch_size + ahead)
            elif sum(len(f.begun) for f in waiting) < len(group):
                cut(ahead)
                with clock("regions"):
                    wait([one for f in waiting for one in f.begun])
            _encode(encoders, group, clock)
            for frame in dict.fromkeys(frame for frame, _ in group):
                if frame.on_done is not None and frame.error is None:
                    frame.on_done(len(frame.encodings), len(frame.boxes))
    finally:
        pool.shutdown(cancel_futures=True)


def _alike(windows: list[tuple[Frame, Box]]) -> list[tuple[Frame, Box]]:
    """The first windows, as long as they are of one size and asked alike."""

    def kind(window: tuple[Frame, Box]) -> tuple[int, int, DenseClip | None]:
        frame, box = window
        return box.y2 - box.y1, box.x2 - box.x1, frame.dense_clip

    return list(takewhile(lambda window: kind(window) == kind(windows[0]), windows))


def _encode(encoders: Encoders, group: list[tuple[Frame, Box]], clock: Clock) -> None:
    """Have windows of one size encoded together, in their frames' order."""
    stacked = np.stack([f.image[b.y1 : b.y2, b.x1 : b.x2] for f, b in group])
    batch = torch.from_numpy(stacked).to(encoders.device).permute(0, 3, 1, 2).float() / 255.0
    frames = list(dict.fromkeys(frame for frame, _ in group))
    how, joint = frames[0].dense_clip, None
    try:
        with clock("dense"):
            features = encoders.patches(batch)
        if how is None:
            with clock("clip"):
                embeddings = encoders.embed(batch).cpu().numpy()
        else:
            with clock("regions"):
                maps = [] if how.attention == "own" else _begun(group, frames)
            with clock("clip"):
                embedded, joint = encoders.joint(batch, features, maps, how)
                embeddings = embedded.cpu().numpy()
        if not (np.isfinite(embeddings).all() and torch.isfinite(features.sum())):
            raise ModelError(
                f"the encoders gave NaN or infinity in {str(encoders.dtype).removeprefix('torch.')}: "
                "load them with dtype='float32'; if it is that already, their weights are damaged"
            )
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        if len(frames) == 1:
            frames[0].error = error
            return
        features = None
    if features is None:  # outside the handler, whose error holds what was taken for the batch
        for frame in frames:
            _encode(encoders, [window for window in group if window[0] is frame], clock)
        return
    for i, (frame, _) in enumerate(group):
        if frame.error is None:
            try:
                frame.take(features[i], embeddings[i], clock, None if joint is None else joint[i])
            except (InputError, MemoryError) as error:
                frame.error = error


def _begun(group: list[tuple[Frame, Box]], frames: list[Frame]) -> list[RegionMap]:
    """The windows' maps of regions; one that cannot be made is told when its frame takes it."""
    maps = []
    following = {frame: iter(frame.begun) for frame in frames}
    for frame, box in group:
        try:
            maps.append(next(following[frame]).result())
        except (InputError, MemoryError):
            maps.append(np.full((box.y2 - box.y1, box.x2 - box.x1), -1))
    return maps


def join_window(
    box: Box,
    regions: npt.NDArray[np.int64],
    patches: torch.Tensor,
    embedding: Floats,
    joint: torch.Tensor | None = None,
) -> WindowEncoding:
    """Join a window's regions (h, w), patch features (gh, gw, D), image embedding (K,) and, if there are any,
    image-text features of the patches (gh, gw, K): regions are pooled from these with the same weights."""
    n_regions, dim = int(regions.max()) + 1, patches.shape[-1]
    if joint is not None:
        patches = torch.cat([patches.float(), joint], dim=-1)
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
    features, own = (F.normalize(part, dim=-1).numpy() for part in (kept[:, :dim], kept[:, dim:]))
    seen = np.asarray(embedding, dtype=np.float32)
    return WindowEncoding(
        box, atoms.astype(np.int32), weights, features, seen, None if joint is None else own
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


def unit_rows(x: Floats) -> Floats:
    """Rows (n, D) brought to length 1; a row of zeros stays one."""
    out: Floats = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12).astype(np.float32)
    return out
