"""Overlapping windows joined into one map of atoms, still free of class names.

Where windows overlap their scores are averaged, so a pixel's score depends only on *which atom of each
covering window* it belongs to. Pixels alike in that share one atom of the joined map; its row of weights is
the mean of the windows' rows. The average is thereby taken once per atom, not once per pixel and class.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from .window_encoding import Floats, WindowEncoding

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Mosaic:
    """All windows of an image as one sparse structure."""

    atoms: npt.NDArray[np.int32]
    """(H, W) atom of every pixel of the working image, 0 to A-1."""
    local: Any
    """(A, B) scipy CSR float32: features whose local scores an atom averages; rows sum to 1."""
    context: Any
    """(A, N) scipy CSR float32: windows whose global scores an atom averages; rows sum to 1."""
    features: Floats
    """(B, D) float32, L2-normalised."""
    embeddings: Floats
    """(N, K) float32, L2-normalised: one per window."""
    joint: Floats | None = None
    """(B, K) float32, L2-normalised: image-text features beside `features`, where they were asked for."""


def join(encodings: list[WindowEncoding], height: int, width: int) -> Mosaic:
    """Join windows that together cover a working image of that size.

    The features of all windows move into one array; in `encodings` views of it take their place, so that they
    are never held twice.
    """
    features = _gather(encodings)
    starts = np.cumsum([0] + [p.weights.shape[0] for p in encodings])
    atoms = np.empty((height, width), dtype=np.int32)
    members: list[Ints] = []
    windows: list[Ints] = []
    counts: list[Ints] = []
    n_atoms = 0
    for y1, x1, y2, x2, covering in _cells(encodings):
        maps = [
            one.atoms[y1 - one.box.y1 : y2 - one.box.y1, x1 - one.box.x1 : x2 - one.box.x1].ravel()
            for one in (encodings[w] for w in covering)
        ]
        code, first = _joint_codes(maps)
        atoms[y1:y2, x1:x2] = (n_atoms + code).reshape(y2 - y1, x2 - x1)
        members.append(
            np.stack([starts[w] + m[first] for w, m in zip(covering, maps, strict=True)], axis=1).ravel()
        )
        windows.append(np.tile(np.asarray(covering, dtype=np.int64), len(first)))
        counts.append(np.full(len(first), len(covering), dtype=np.int64))
        n_atoms += len(first)
    count = np.concatenate(counts)
    pointer = np.concatenate([[0], np.cumsum(count)])
    mean = np.repeat(1.0 / count, count).astype(np.float32)
    average = sparse.csr_matrix((mean, np.concatenate(members), pointer), shape=(n_atoms, int(starts[-1])))
    context = sparse.csr_matrix((mean, np.concatenate(windows), pointer), shape=(n_atoms, len(encodings)))
    local = average @ sparse.block_diag([p.weights for p in encodings], format="csr", dtype=np.float32)
    joint = None if encodings[0].joint is None else np.concatenate([p.joint for p in encodings])
    return Mosaic(atoms, local.tocsr(), context, features, np.stack([p.embedding for p in encodings]), joint)


def _gather(encodings: list[WindowEncoding]) -> Floats:
    rows = np.cumsum([0] + [len(p.features) for p in encodings])
    out = np.empty((rows[-1], encodings[0].features.shape[1]), dtype=np.float32)
    for i, (start, stop) in enumerate(pairwise(rows)):
        out[start:stop] = encodings[i].features
        encodings[i] = replace(encodings[i], features=out[start:stop])
    return out


def _cells(encodings: Sequence[WindowEncoding]) -> Iterator[tuple[int, int, int, int, list[int]]]:
    """Rectangles between the windows' borders, each with the windows that cover it."""
    boxes = np.array([p.box for p in encodings])
    rows, columns = np.unique(boxes[:, [0, 2]]), np.unique(boxes[:, [1, 3]])
    for y1, y2 in pairwise(rows):
        band = np.flatnonzero((boxes[:, 0] <= y1) & (boxes[:, 2] >= y2))
        for x1, x2 in pairwise(columns):
            inside = (boxes[band, 1] <= x1) & (boxes[band, 3] >= x2)
            yield int(y1), int(x1), int(y2), int(x2), band[inside].tolist()


def _joint_codes(maps: Sequence[npt.NDArray[np.int32]]) -> tuple[Ints, Ints]:
    """Number the distinct tuples of label arrays (P,): code (P,) from 0, and one position of each code."""
    code, first = _compact(maps[0].astype(np.int64))
    for other in maps[1:]:
        extra, firsts = _compact(other.astype(np.int64))
        code, first = _compact(code * len(firsts) + extra)
    return code, first


def _compact(values: Ints) -> tuple[Ints, Ints]:
    """Renumber non-negative values without gaps, in order; also one position of each."""
    bound = int(values.max()) + 1
    if (
        bound <= 4 * values.size + 1_000_000
    ):  # a table is several times faster than sorting, while it is small
        used = np.zeros(bound, dtype=bool)
        used[values] = True
        code = (np.cumsum(used) - 1)[values]
    else:
        code = np.unique(values, return_inverse=True)[1].ravel()
    first = np.empty(int(code.max()) + 1, dtype=np.int64)
    first[code] = np.arange(values.size)
    return code, first
