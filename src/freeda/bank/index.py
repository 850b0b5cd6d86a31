"""Exact nearest-key search; whatever index a bank uses has `FlatIndex`'s one method."""

from __future__ import annotations

import warnings

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from .arrays import release

_BLOCK = 8192
"""Keys widened to float32 at a time: bounds memory whatever the bank's size, and stays in the caches."""

Scores = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]


class FlatIndex:
    """Inner product of queries with every key, in blocks."""

    def __init__(self, keys: npt.NDArray[np.float16] | npt.NDArray[np.float32]) -> None:
        """`keys` is (N, dk), in memory or memory-mapped; never copied nor kept resident as a whole."""
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
        queries = checked(queries, self._keys.shape[1], k)
        n = len(self._keys)
        k = min(k, n)
        if k == 0 or len(queries) == 0:
            return np.zeros((len(queries), k), np.float32), np.zeros((len(queries), k), np.int64)
        begin = min(max(k, _BLOCK // 2), n)
        scores = _Products(self._keys, queries, begin)(0, begin)
        scores[~np.isfinite(scores)] = -np.inf
        scores, rows = _best(scores, np.broadcast_to(np.arange(begin), scores.shape), k)
        # Only keys better than the k-th best so far can matter, and the more were seen the fewer they are.
        # Of equal scores the earlier row wins, so a later key must be strictly better.
        limit = scores.min(axis=1, keepdims=True)
        waiting: list[tuple[Rows, Rows, Scores]] = []
        held, products = 0, _Products(self._keys, queries, _BLOCK)
        for start in range(begin, n, _BLOCK):
            stop = min(start + _BLOCK, n)
            new = products(start, stop)
            better = np.flatnonzero(new > limit)  # faster than nonzero in two dimensions
            line, column = np.divmod(better, stop - start)
            score = new[line, column]
            finite = np.flatnonzero(score < np.inf)
            waiting.append((line[finite], column[finite] + start, score[finite]))
            held += len(finite)
            if held >= rows.size or stop == n:
                scores, rows = _merge(scores, rows, waiting, k)
                limit, waiting, held = scores.min(axis=1, keepdims=True), [], 0
        return best_first(scores, rows)


def checked(queries: Scores, width: int, k: int) -> Scores:
    """Queries as (Q, width) float32. Raises InputError for another width, one not finite, or k < 1."""
    queries = np.ascontiguousarray(queries, np.float32)
    if queries.ndim != 2 or queries.shape[1] != width:
        raise InputError(f"queries have shape {queries.shape}: this bank's keys need (Q, {width})")
    if k < 1:
        raise InputError(f"k is {k}: at least 1 key must be retrieved")
    if not np.isfinite(queries).all():
        raise InputError("a query holds NaN or infinity")
    return queries


def best_first(scores: Scores, rows: Rows) -> tuple[Scores, Rows]:
    """Both (Q, k), each line by descending score; of equal scores the lower row comes first."""
    order = np.lexsort((rows, -scores), axis=1)
    return np.take_along_axis(scores, order, 1), np.take_along_axis(rows, order, 1)


class _Products:
    """Inner products of all queries with some keys, in memory that every call uses again."""

    def __init__(
        self, keys: npt.NDArray[np.float16] | npt.NDArray[np.float32], queries: Scores, block: int
    ) -> None:
        import torch  # its products and its widening of float16 run on all cores; loaded only for a search

        self._multiply, self._keys = torch.matmul, keys
        with warnings.catch_warnings():  # of arrays that cannot be written to, which nothing here does
            warnings.simplefilter("ignore", UserWarning)
            self._stored, self._queries = torch.from_numpy(keys), torch.from_numpy(queries)
        self._wide = torch.empty(min(block, _BLOCK), keys.shape[1])
        self._out = torch.empty(len(queries), block)

    def __call__(self, start: int, stop: int) -> Scores:
        """(Q, stop - start) float32, valid until the next call; not finite for a key that is not."""
        for at in range(start, stop, _BLOCK):
            size = min(_BLOCK, stop - at)
            wide = self._wide[:size].copy_(self._stored[at : at + size])
            release(self._keys)
            self._multiply(self._queries, wide.T, out=self._out[:, at - start : at - start + size])
        out: Scores = self._out[:, : stop - start].numpy()
        return out


def _merge(
    scores: Scores, rows: Rows, waiting: list[tuple[Rows, Rows, Scores]], k: int
) -> tuple[Scores, Rows]:
    """The k best of each line among `scores` and the candidates (line, row, score), all in row order."""
    line, row, score = (np.concatenate(parts) for parts in zip(*waiting, strict=True))
    order = np.argsort(line, kind="stable")
    line, row, score = line[order], row[order], score[order]
    count = np.bincount(line, minlength=len(scores))
    place = np.arange(len(line)) - (np.cumsum(count) - count)[line]
    more = np.full((len(scores), int(count.max(initial=0))), -np.inf, np.float32)
    theirs = np.zeros(more.shape, np.int64)
    more[line, place], theirs[line, place] = score, row
    return _best(np.concatenate([scores, more], 1), np.concatenate([rows, theirs], 1), k)


def _best(scores: Scores, rows: Rows, k: int) -> tuple[Scores, Rows]:
    """The k best of each line, in the order they had; of equal scores those with the lower column."""
    n = scores.shape[1]
    if n <= k:
        return scores, rows
    limit = np.partition(scores, n - k, axis=1)[:, n - k, None]
    chosen, ties = scores > limit, scores == limit
    chosen |= ties & (np.cumsum(ties, axis=1) <= k - chosen.sum(axis=1, keepdims=True))
    return scores[chosen].reshape(-1, k), rows[chosen].reshape(-1, k)
