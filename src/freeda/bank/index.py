"""Exact nearest-key search; whatever index a bank uses stands behind `FlatIndex`'s one method."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from ..errors import InputError

_BLOCK = 8192
"""Keys widened to float32 at a time: bounds memory whatever the bank's size, and stays in the caches."""

Scores = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]


class FlatIndex:
    """Inner product of queries with every key, in blocks."""

    def __init__(self, keys: npt.NDArray[np.float16] | npt.NDArray[np.float32]) -> None:
        """`keys` is (N, dk), in memory or memory-mapped; it is never copied as a whole."""
        self._keys = keys

    def search(
        self,
        queries: Scores,
        k: int,
    ) -> tuple[Scores, Rows]:
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
        n = len(self._keys)
        k = min(k, n)
        if k == 0 or len(queries) == 0:
            return np.zeros((len(queries), k), np.float32), np.zeros((len(queries), k), np.int64)
        begin = min(max(k, _BLOCK // 4), n)
        scores, rows = _best(
            self._products(queries, 0, begin), np.broadcast_to(np.arange(begin), (len(queries), begin)), k
        )
        # Only keys better than the k-th best so far can matter, and the more were seen the fewer they are.
        # Of equal scores the earlier row wins, so a later key must be strictly better.
        waiting: list[tuple[Rows, Rows, Scores]] = []
        held = 0
        with ThreadPoolExecutor(1) as pool:  # multiplies the next block while this one is looked through
            coming = pool.submit(self._products, queries, begin, min(begin + _BLOCK, n))
            for start in range(begin, n, _BLOCK):
                stop, new = min(start + _BLOCK, n), coming.result()
                coming = pool.submit(self._products, queries, stop, min(stop + _BLOCK, n))
                better = np.flatnonzero(new > scores[:, -1:])
                line, column = np.divmod(better, stop - start)
                waiting.append((line, column + start, new.ravel()[better]))
                held += len(better)
                if held >= rows.size or stop == n:
                    scores, rows = _merge(scores, rows, waiting, k)
                    waiting, held = [], 0
        return scores, rows

    def _products(self, queries: Scores, start: int, stop: int) -> Scores:
        """(Q, stop - start) inner products with some of the keys; -inf for a key that is not finite."""
        import torch  # its products and its widening of float16 run on all cores; loaded only for a search

        out = np.empty((len(queries), stop - start), np.float32)
        left = torch.from_numpy(queries)
        for at in range(start, stop, _BLOCK):
            end = min(at + _BLOCK, stop)
            block = torch.from_numpy(np.array(self._keys[at:end])).float()
            new = torch.from_numpy(out[:, at - start : end - start])
            torch.matmul(left, block.T, out=new)
        with np.errstate(invalid="ignore"):  # of opposite infinities
            good = np.isfinite(out.sum())
        if not good:
            out[:, ~np.isfinite(out).all(axis=0)] = -np.inf
        return out


def _merge(
    scores: Scores, rows: Rows, waiting: list[tuple[Rows, Rows, Scores]], k: int
) -> tuple[Scores, Rows]:
    """The k best of each line among `scores` and the candidates (line, row, score), these in row order."""
    line, row, score = (np.concatenate(parts) for parts in zip(*waiting, strict=True))
    order = np.argsort(line, kind="stable")
    line, row, score = line[order], row[order], score[order]
    count = np.bincount(line, minlength=len(scores))
    place = np.arange(len(line)) - (np.cumsum(count) - count)[line]
    more = np.full((len(scores), int(count.max(initial=0))), -np.inf, np.float32)
    theirs = np.zeros(more.shape, np.int64)
    more[line, place], theirs[line, place] = score, row
    return _best(np.concatenate([scores, more], 1), np.concatenate([rows, theirs], 1), k)


def _best(
    scores: Scores,
    rows: Rows,
    k: int,
) -> tuple[Scores, Rows]:
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
