"""Exact search, in blocks, and without FAISS: on macOS a process that holds it beside torch may be ended by
their two OpenMP libraries, and every use of a bank, however small, begins with this search.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from .arrays import release

Scores = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]
Column = Literal["key", "prototype"]
"""What rows are searched by: their textual keys, or their visual prototypes."""
_KEYS = 8192
"""Keys widened to float32 at a time: bounds memory whatever the bank's size, and stays in the caches."""
_LOWEST = float(np.finfo(np.float32).min)


class FlatIndex:
    """Inner product of queries with every key, in blocks."""

    def __init__(self, keys: npt.NDArray[np.float16] | npt.NDArray[np.float32], cosine: bool = False) -> None:
        """`keys` is (N, dk), in memory or memory-mapped; never copied nor kept resident as a whole.

        `cosine`: keys are brought to length 1 before; one of zeros stays.
        """
        self._keys, self._cosine = keys, cosine

    def search(self, queries: Scores, k: int) -> tuple[Scores, Rows]:
        """The k' = min(k, N) best keys of each query.

        `queries` is (Q, dk) float32. Returns scores (Q, k') float32, descending, and row numbers (Q, k')
        int64; equal scores come in row order, and a key that is not finite comes last, with score -inf.
        Raises InputError for another width, a query that is not finite, or k < 1.
        """
        queries = checked(queries, self._keys.shape[1], k)
        k, n = min(k, len(self._keys)), len(queries)
        short = np.min_scalar_type(n)  # a byte or two, which are sorted much faster than eight
        line, row, score = np.empty(0, short), np.empty(0, np.int64), np.empty(0, np.float32)
        limit = np.full((n, 1), -np.inf, np.float32)
        for start, products in self._products(queries):
            if not start and k < products.shape[1]:  # the first block's k best, and equals
                limit = np.nextafter(np.partition(products, -k)[:, -k, None], np.float32(-np.inf))
            # Only keys better than the k-th best so far can matter: the more were seen, the fewer they are.
            # Of equal scores the earlier row wins, so a later key must be strictly better.
            lines, columns = np.divmod(np.flatnonzero(products > limit), products.shape[1])
            line, row = np.append(line, lines.astype(short)), np.append(row, columns + start)
            score = np.append(score, products[lines, columns])
            if len(line) > 2 * n * k:
                limit = _kth_best(line, score, n, k)
                kept = score >= limit[line, 0]  # of equals too many, which the last sort sees to
                line, row, score = line[kept], row[kept], score[kept]
        order = np.lexsort((-score, line))  # stable: equal scores stay in row order
        place = np.arange(len(order)) - np.searchsorted(line[order], np.arange(n))[line[order]]
        best = order[place < k]
        row, score = row[best], score[best]
        score[score == _LOWEST] = -np.inf
        return score.reshape(n, k), row.reshape(n, k)

    def _products(self, queries: Scores) -> Iterator[tuple[int, Scores]]:
        """(first row, (Q, n) inner products) of the keys in blocks, valid until the next.

        What is not finite is the lowest number there is.
        """
        import torch  # its products and its widening of float16 run on all cores; loaded only for a search

        with warnings.catch_warnings():  # of arrays that cannot be written to, which nothing here does
            warnings.simplefilter("ignore", UserWarning)
            stored, asked = torch.from_numpy(self._keys), torch.from_numpy(queries)
        wide, out = torch.empty(_KEYS, stored.shape[1]), torch.empty(len(queries), _KEYS)
        for start in range(0, len(stored) if len(queries) else 0, _KEYS):
            block = wide[: len(stored) - start].copy_(stored[start : start + _KEYS])
            release(self._keys)
            if self._cosine:
                block = torch.nn.functional.normalize(block, dim=1)
            products = torch.matmul(asked, block.T, out=out[:, : len(block)])
            yield start, products.nan_to_num_(_LOWEST, _LOWEST, _LOWEST).numpy()


def _kth_best(line: npt.NDArray[Any], score: Scores, n: int, k: int) -> Scores:
    """(n, 1) the k-th best score of each line; every line has at least k."""
    order = np.argsort(line, kind="stable")
    count = np.bincount(line, minlength=n)
    place = np.arange(len(order)) - np.repeat(np.cumsum(count) - count, count)
    table = np.full((n, int(count.max())), -np.inf, np.float32)
    table[line[order], place] = score[order]
    return np.partition(table, -k, axis=1)[:, -k, None]


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
