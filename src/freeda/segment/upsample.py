"""From the working size to the photograph's own: labels without ever holding classes x height x width.

Scores are resized bilinearly (half-pixel centres) and the largest wins. Between four neighbours that share
their best label that label also wins every blend of them, so only pixels between *differing* labels need
scores at all: exact, and a few per cent of the work.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from .matching import CHUNK, AtomScores
from .pieces import Floats

STRIP = 1 << 20
"""Output pixels handled at a time."""


class _Axis:
    """Bilinear interpolation with half-pixel centres (align_corners=False) along one axis."""

    def __init__(self, n_in: int, n_out: int):
        at = np.maximum((np.arange(n_out) + 0.5) * (n_in / n_out) - 0.5, 0.0)
        self.low = np.minimum(np.floor(at).astype(np.int64), n_in - 1)
        self.high = np.minimum(self.low + 1, n_in - 1)
        self.fraction = (at - self.low).astype(np.float32)


def label_map(scores: AtomScores, size: tuple[int, int]) -> npt.NDArray[np.int32]:
    """(H, W) int32: the arg-max of the scores resized to `size` = (H, W)."""
    atoms, best = scores.mosaic.atoms, scores.labels()
    if atoms.shape == size:
        return best[atoms]
    labels = best[atoms]
    tall, wide = _Axis(atoms.shape[0], size[0]), _Axis(atoms.shape[1], size[1])
    out = np.empty(size, dtype=np.int32)
    for start, stop in _strips(size, STRIP):
        upper, lower = labels[tall.low[start:stop]], labels[tall.high[start:stop]]
        corner = upper[:, wide.low]
        alike = (
            (corner == upper[:, wide.high]) & (corner == lower[:, wide.low]) & (corner == lower[:, wide.high])
        )
        ys, xs = np.nonzero(~alike)
        step = max(1, CHUNK // (4 * scores.n_labels))
        for i in range(0, len(ys), step):
            y, x = ys[i : i + step], xs[i : i + step]
            corner[y, x] = _blend(scores, tall, wide, y + start, x).argmax(axis=1)
        out[start:stop] = corner
    return out


def dense_scores(scores: AtomScores, size: tuple[int, int]) -> Iterator[tuple[int, int, Floats]]:
    """The scores themselves, strip by strip: (first row, end row, (rows, W, C) float32)."""
    atoms = scores.mosaic.atoms
    tall, wide = _Axis(atoms.shape[0], size[0]), _Axis(atoms.shape[1], size[1])
    for start, stop in _strips(size, max(1, CHUNK // (4 * scores.n_labels))):
        y, x = np.mgrid[start:stop, : size[1]].reshape(2, -1)
        if atoms.shape == size:
            strip = scores.of(atoms[start:stop].ravel())
        else:
            strip = _blend(scores, tall, wide, y, x)
        yield start, stop, strip.reshape(stop - start, size[1], -1)


def _blend(
    scores: AtomScores, tall: _Axis, wide: _Axis, y: npt.NDArray[np.intp], x: npt.NDArray[np.intp]
) -> Floats:
    """(P, C) scores resized, at the output pixels (y, x)."""
    atoms = scores.mosaic.atoms
    down, right = tall.fraction[y][:, None], wide.fraction[x][:, None]
    around = np.concatenate(
        [atoms[rows[y], columns[x]] for rows in (tall.low, tall.high) for columns in (wide.low, wide.high)]
    )
    a, b, c, d = scores.of(around).reshape(4, len(y), -1)
    out: Floats = (1 - down) * ((1 - right) * a + right * b) + down * ((1 - right) * c + right * d)
    return out


def _strips(size: tuple[int, int], pixels: int) -> Iterator[tuple[int, int]]:
    step = max(1, pixels // size[1])
    for start in range(0, size[0], step):
        yield start, min(start + step, size[0])
