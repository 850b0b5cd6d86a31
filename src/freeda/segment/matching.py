"""A mosaic meets a vocabulary: class scores of atoms."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from ..options import SegmentOptions
from .background import with_background
from .mosaic import Mosaic
from .pieces import Floats
from .vocabulary import Vocabulary

CHUNK = 1 << 22
"""Scores computed at a time (float32 numbers): what bounds the memory of matching."""
TABLE = 1 << 26
"""Scores kept for reuse, at most (float32 numbers, 256 MiB); beyond that they are computed anew."""


class AtomScores:
    """Scores of a mosaic's atoms for the classes of a vocabulary.

    local_weight * sigmoid(<feature, prototype>) + (1 - local_weight) * <window, text>, averaged over an
    atom's features and windows (FreeDA's released code: no temperature, no softmax before the merge).
    """

    def __init__(self, mosaic: Mosaic, vocabulary: Vocabulary, options: SegmentOptions):
        self.mosaic, self.options = mosaic, options
        cosine: Floats = mosaic.features @ _unit(vocabulary.prototypes).T
        self._local = _sigmoid(cosine) * np.float32(options.local_weight)
        similarity: Floats = mosaic.embeddings @ vocabulary.text_embeddings.T
        self._global = similarity * np.float32(1.0 - options.local_weight)
        self.n_atoms: int = mosaic.local.shape[0]
        self.n_labels: int = len(vocabulary) + (options.background != "none")
        self._table: Floats | None = None

    def labels(self) -> npt.NDArray[np.int32]:
        """(A,) the best label of every atom."""
        out = np.empty(self.n_atoms, dtype=np.int32)
        keep = self.n_atoms * self.n_labels <= TABLE
        table = np.empty((self.n_atoms, self.n_labels), dtype=np.float32) if keep else None
        for start, stop in self._chunks():
            scores = self._compute(slice(start, stop))
            out[start:stop] = scores.argmax(axis=1)
            if table is not None:
                table[start:stop] = scores
        self._table = table
        return out

    def of(self, atoms: npt.NDArray[np.integer]) -> Floats:
        """(P, C) float32 scores of the atoms named by (P,) indices, which may repeat."""
        if self._table is not None:
            return self._table[atoms]
        distinct, where = np.unique(atoms, return_inverse=True)
        return self._compute(distinct)[where.ravel()]

    def _compute(self, rows: slice | npt.NDArray[np.integer]) -> Floats:
        scores: Floats = self.mosaic.local[rows] @ self._local
        scores += self.mosaic.context[rows] @ self._global
        return with_background(scores, self.options)

    def _chunks(self) -> Iterator[tuple[int, int]]:
        step = max(1, CHUNK // self.n_labels)
        for start in range(0, self.n_atoms, step):
            yield start, min(start + step, self.n_atoms)


def _unit(x: Floats) -> Floats:
    out: Floats = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12).astype(np.float32)
    return out


def _sigmoid(x: Floats) -> Floats:
    out: Floats = np.float32(1.0) / (np.float32(1.0) + np.exp(-x))
    return out
