"""Exact nearest-key search; whatever index a bank uses stands behind `FlatIndex`'s one method."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..errors import InputError

_BLOCK = 65536  # keys widened to float32 at a time: bounds memory whatever the bank's size


class FlatIndex:
    """Inner product of queries with every key, in blocks."""

    def __init__(self, keys: npt.NDArray[np.float16] | npt.NDArray[np.float32]) -> None:
        """`keys` is (N, dk), in memory or memory-mapped; it is never copied as a whole."""
        self._keys = keys

    def search(
        self,
        queries: npt.NDArray[np.float32],
        k: int,
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """The k' = min(k, N) best keys of each query.

        `queries` is (Q, dk) float32. Returns scores (Q, k') float32, descending, and row numbers (Q, k')
        int64; equal scores come in row order, and a key that is not finite comes last, with score -inf.
        Raises InputError for another width, a query that is not finite, or k < 1.
        """
        queries = np.ascontiguousarray(queries, np.float32)
        if queries.ndim != 2 or queries.shape[1] != self._keys.shape[1]:
            raise InputError(
                f"queries have shape {queries.shape}: this bank's keys need (Q, {self._keys.shape[1]})"
            )
        if k < 1:
            raise InputError(f"k is {k}: at least 1 key must be retrieved")
        if not np.isfinite(queries).all():
            raise InputError("a query holds NaN or infinity")
        scores = np.zeros((len(queries), 0), np.float32)
        rows = np.zeros((len(queries), 0), np.int64)
        for start in range(0, len(self._keys), _BLOCK):
            block = np.asarray(self._keys[start : start + _BLOCK], np.float32)
            good = np.asarray(np.isfinite(block).all(axis=1))
            new = queries @ np.where(good[:, None], block, 0).T
            new[:, ~good] = -np.inf
            numbers = np.broadcast_to(np.arange(start, start + len(block)), new.shape)
            scores, rows = _best(np.concatenate([scores, new], 1), np.concatenate([rows, numbers], 1), k)
        return scores, rows


def _best(
    scores: npt.NDArray[np.float32],
    rows: npt.NDArray[np.int64],
    k: int,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """The k best of each line, descending; of equal scores those with the lower column first."""
    n = scores.shape[1]
    if n > k:
        limit = np.partition(scores, n - k, axis=1)[:, n - k]
        chosen = np.empty((len(scores), k), np.int64)
        for i, line in enumerate(scores):
            above = np.flatnonzero(line > limit[i])
            ties = np.flatnonzero(line == limit[i])[: k - len(above)]
            chosen[i] = np.sort(np.concatenate([above, ties]))
        scores, rows = np.take_along_axis(scores, chosen, 1), np.take_along_axis(rows, chosen, 1)
    order = np.argsort(-scores, axis=1, kind="stable")
    return np.take_along_axis(scores, order, 1), np.take_along_axis(rows, order, 1)
