"""A bank in memory, read by sorting: what the online stage asks of one, by the definition."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass
class PlainBank:
    keys: np.ndarray
    """(N, dk)."""
    prototypes: np.ndarray
    """(N, dp)."""

    def __len__(self) -> int:
        return len(self.keys)

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Scores and rows (Q, min(k, N)) of the keys of highest inner product; equal ones in row order."""
        scores = queries @ self.keys.T
        rows = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(scores, rows, axis=1), rows
