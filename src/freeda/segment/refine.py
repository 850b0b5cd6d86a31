"""Refinement of merged scores along the image's edges: PAMR (Araslanov & Roth, CVPR 2020)."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F

from ..options import SegmentOptions
from .background import Verdict
from .matching import CHUNK, TABLE, AtomScores, LocalScore, PlaceScores, slices
from .prototypes import ReferenceBank
from .scene import Scene
from .support import Support
from .vocabulary import Vocabulary
from .window_encoding import Floats

AROUND = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if (dy, dx) != (0, 0)]
"""The eight neighbours."""


def place_scores(
    scene: Scene,
    vocabulary: Vocabulary,
    options: SegmentOptions,
    score: LocalScore | None = None,
    bank: ReferenceBank | None = None,
    support: Support | None = None,
) -> PlaceScores:
    """The scores that labels are decided by: a mosaic's atoms' or, where the options ask for it, refined."""
    scores = AtomScores(scene.mosaic, vocabulary, options, score, bank, support)
    return scores if options.refine == "none" else RefinedScores(scores, scene.working_image(), options)


class RefinedScores:
    """An `AtomScores` after PAMR: every working pixel is a place of its own.

    Memory, with h x w working pixels and d dilations: 4 h w (8 d + 3) bytes for the affinity and its making,
    three times `CHUNK` numbers for the planes in work, and the refined planes, of which at most `TABLE`
    numbers are held; more of them lie in a temporary file without a name, gone when this object is.
    """

    def __init__(self, scores: AtomScores, image: npt.NDArray[np.uint8], options: SegmentOptions):
        """`image` is the working image (h, w, 3) uint8 that the atoms were cut from."""
        self.verdict: Verdict = scores.verdict
        height, width = scores.places.shape
        self.places = np.arange(height * width, dtype=np.int32).reshape(height, width)
        self._planes = _room(height * width, self.verdict.n_planes)
        weights = affinity(image, options.refine_dilations)
        for part in slices(self.verdict.n_planes, CHUNK // (height * width)):
            planes = np.empty((part.stop - part.start, height * width), dtype=np.float32)
            for pixels in slices(height * width, CHUNK // self.verdict.n_planes):
                planes[:, pixels] = scores.of(scores.places.ravel()[pixels])[:, part].T
            refined = propagate(
                planes.reshape(-1, height, width),
                weights,
                options.refine_dilations,
                options.refine_iterations,
            )
            self._planes[:, part] = refined.reshape(len(refined), -1).T

    def decide(self) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
        """(h * w,) labels and (h * w,) codes of all pixels."""
        n = len(self._planes)
        labels, codes = np.empty(n, dtype=np.int32), np.empty(n, dtype=np.int64)
        for rows in slices(n, CHUNK // self.verdict.n_planes):
            labels[rows], codes[rows] = self.verdict.decide(np.asarray(self._planes[rows]))
        return labels, codes

    def of(self, places: npt.NDArray[np.integer]) -> Floats:
        """(P, n_planes) float32 planes of the pixels named by (P,) indices."""
        return np.asarray(self._planes[places])


def affinity(image: npt.NDArray[np.uint8], dilations: Sequence[int]) -> torch.Tensor:
    """(8 d, h, w) float32, sums to 1 over the first axis: how much a pixel listens to each of its neighbours.

    softmax over the neighbours of the channels' mean of -|I_i - I_j| / (0.1 s_i + 1e-8), where s_i is the
    standard deviation (n - 1) of the channel over the 9 d pixels of all dilated 3 x 3 windows around i, with
    the edge repeated outward. From the PAMR authors' code; the paper writes the variance instead of 0.1 s_i.
    `image` is (h, w, 3) uint8.
    """
    x = torch.tensor(image).permute(2, 0, 1).float()
    n = 9 * len(dilations)
    mean, square = len(dilations) * x, torch.zeros_like(x)
    for neighbour in _neighbours(x, dilations):
        mean += neighbour
    mean /= n
    for neighbour in _neighbours(x, dilations):
        square += (neighbour - mean) ** 2
    square += len(dilations) * (x - mean) ** 2
    scale = 0.1 * (square / (n - 1)).sqrt() + 1e-8
    out = torch.empty(8 * len(dilations), *x.shape[1:])
    for i, neighbour in enumerate(_neighbours(x, dilations)):
        out[i] = ((neighbour - x).abs() / scale).mean(dim=0).neg()
    out -= out.amax(dim=0)
    out.exp_()
    out /= out.sum(dim=0)
    return out


def propagate(planes: Floats, weights: torch.Tensor, dilations: Sequence[int], iterations: int) -> Floats:
    """Planes (C, h, w) float32 after so many rounds of replacing each pixel by its neighbours' weighted mean.

    `weights` is what `affinity` returns for the same dilations; the edge is repeated outward.
    """
    x = torch.from_numpy(planes)
    for _ in range(iterations):
        mixed = torch.zeros_like(x)
        for weight, neighbour in zip(weights, _neighbours(x, dilations), strict=True):
            mixed.addcmul_(neighbour, weight)
        x = mixed
    out: Floats = x.numpy()
    return out


def influence(
    start: npt.NDArray[np.float64], weights: torch.Tensor, dilations: Sequence[int], iterations: int
) -> npt.NDArray[np.float64]:
    """(h, w): what every pixel of a plane counts for in the sum `start` (h, w) * `propagate(plane)`.

    The transpose of `propagate`: one map serves all planes where few refined pixels are asked for.
    """
    height, width = start.shape
    share = torch.from_numpy(start)
    for _ in range(iterations):
        back, number = torch.zeros_like(share), 0
        for d in dilations:
            padded = torch.zeros(height + 2 * d, width + 2 * d, dtype=share.dtype)
            for dy, dx in AROUND:
                y, left = d + dy * d, d + dx * d
                padded[y : y + height, left : left + width] += weights[number] * share
                number += 1
            # Beyond the edge the edge was repeated: what was heard there was heard from it.
            padded[d] += padded[:d].sum(dim=0)
            padded[height + d - 1] += padded[height + d :].sum(dim=0)
            padded[:, d] += padded[:, :d].sum(dim=1)
            padded[:, width + d - 1] += padded[:, width + d :].sum(dim=1)
            back += padded[d : height + d, d : width + d]
        share = back
    return np.asarray(share.numpy())


def _neighbours(x: torch.Tensor, dilations: Sequence[int]) -> Iterator[torch.Tensor]:
    """The 8 d shifted views of x (C, h, w), dilation by dilation in the order of `AROUND`."""
    height, width = x.shape[1:]
    for d in dilations:
        padded = F.pad(x[None], (d, d, d, d), mode="replicate")[0]
        for dy, dx in AROUND:
            y, left = d + dy * d, d + dx * d
            yield padded[:, y : y + height, left : left + width]


def _room(rows: int, columns: int) -> Floats:
    if rows * columns <= TABLE:
        return np.empty((rows, columns), dtype=np.float32)
    with tempfile.TemporaryFile() as file:
        return np.memmap(file, dtype=np.float32, mode="w+", shape=(rows, columns))
