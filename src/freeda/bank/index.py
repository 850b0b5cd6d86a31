"""Nearest-key search: exact, and for banks of millions approximate, by an index that lies beside the bank.

The exact search asks no FAISS: on macOS a process that holds it beside torch may be ended by their two OpenMP
libraries, and every use of a bank, however small, begins with this search.

For the approximate one FAISS puts the keys into lists by their nearest of some thousand centres; a query
looks into the lists of its nearest centres only. How many is settled when the index is made, by what it takes
to find enough of the true neighbours of keys drawn from the bank.

In the lists every number is a byte. As keys have length 1, the nearest by inner product are the nearest by
distance, and distances mind neither a shift nor a rotation: the keys' mean is taken off and the rest is
turned at random, so that no dimension is wider than another and one scale does for all. Distances between
bytes are whole numbers: they take two thirds of the time of FAISS's "IVF...,SQ8" and err half as much.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ..errors import BankError, InputError
from ..files import atomic_path, atomic_write_json
from ..options.index import RECALL
from .arrays import release

Scores = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]
_QUERIES, _NEIGHBOURS = 128, 350
_ITERATIONS, _A_LIST, _SAMPLE, _BLOCK = 6, 20, 50_000, 32_768
_VERSION = 2
_KEYS = 8192
"""Keys widened to float32 at a time: bounds memory whatever the bank's size, and stays in the caches."""
_LOWEST = float(np.finfo(np.float32).min)
Column = Literal["key", "prototype"]
"""What rows are searched by: their textual keys, or their visual prototypes."""
_STEMS: dict[Column, str] = {"key": "approximate", "prototype": "approximate_prototypes"}
ABOUT = f"{_STEMS['key']}.json"
Tell = Callable[[str, int, int], None]


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


@dataclass(frozen=True)
class About:
    """What stands beside the index, in approximate.json."""

    bank: str
    """`Bank.identity` of the bank that it was made from."""
    file: str
    bytes: int
    lists: int
    probes: int
    """Lists that a query looks into."""
    recall: float
    """Share of the true `neighbours` nearest keys that were found, mean over `queries` keys of the bank drawn
    at random; a key as similar as the last true one counts as found. 0 to 1."""
    worst: float
    """The same for the worst of these queries."""
    neighbours: int
    queries: int
    error: float
    """Largest difference between a score and the true inner product."""
    version: int = _VERSION


def is_index_file(name: str) -> bool:
    """Whether a file of a bank's directory belongs to an approximate index of it, by its name."""
    return any(name == f"{s}.json" or fnmatchcase(name, f"{s}-*.faiss") for s in _STEMS.values())


class ApproximateIndex:
    """Most of the nearest keys of a query, in a fraction of the time; beside a bank, made anew when stale."""

    def __init__(self, index: Any, about: About) -> None:
        """`index` is what `_fill` made."""
        self._index, self.about = index, about

    @classmethod
    def open(cls, folder: Path, identity: str, column: Column = "key") -> ApproximateIndex | None:
        """The index that lies in a bank's folder, memory-mapped; None where it is missing, damaged or stale.

        FAISS checks little of what it reads: an index is only opened where `build` wrote it, and is never
        part of what banks share.
        """
        about = _read_about(folder, identity, column)
        if about is None:
            return None
        path = folder / about.file
        if not path.is_file() or path.stat().st_size != about.bytes:
            return None
        import faiss

        with suppress(RuntimeError):
            return cls(faiss.read_index(os.fspath(path), faiss.IO_FLAG_MMAP_IFC), about)
        return None

    @classmethod
    def build(
        cls,
        keys: npt.NDArray[np.float16],
        folder: Path,
        identity: str,
        recall: float = RECALL,
        on_done: Tell | None = None,
        column: Column = "key",
    ) -> ApproximateIndex:
        """Make the index of keys (N, dk), write it into `folder`, measure it, open it. Those of another
        `column` are brought to length 1 before.

        Queries look into as few lists as give at least this `recall` (0 to 1) on keys drawn from the bank.
        `on_done(step, rows, in_all)` is told how far it is. Minutes for millions of rows, twice the index's
        size in memory, and half as much disk as the keys take. Raises BankError for no keys and for keys that
        are not finite or not of length 1, InputError where the folder cannot be written to.
        """
        import faiss

        tell = on_done or (lambda step, rows, in_all: None)
        index = _fill(keys, folder, tell)
        path = folder / _file(identity, column)
        with atomic_path(path) as temp:
            faiss.write_index(index, os.fspath(temp))
        tell("measuring", 0, len(keys))
        about = About(identity, path.name, path.stat().st_size, **_measured(index, keys, recall))
        # Written last: an index is there when this says so.
        atomic_write_json(folder / f"{_STEMS[column]}.json", asdict(about))
        for other in folder.glob(f"{_STEMS[column]}-*.faiss"):
            if other != path:
                other.unlink(missing_ok=True)
        return cls.open(folder, identity, column) or cls(index, about)

    def search(self, queries: Scores, k: int) -> tuple[Scores, Rows]:
        """About the k' = min(k, N) best keys of each query: scores (Q, k') float32, rows (Q, k') int64.

        As `FlatIndex.search`, but `1 - about.recall` of the rows are others than the best, and scores are
        off by up to about `about.error`.
        """
        queries, k = checked(queries, self._index.d, k), min(k, self._index.ntotal)
        if len(queries) == 0:
            return np.zeros((0, k), np.float32), np.zeros((0, k), np.int64)
        return best_first(*_look_into(self._index, queries, k, self.about.probes))


def _fill(keys: npt.NDArray[np.float16], folder: Path, tell: Tell) -> Any:
    """The index of keys (N, dk); `folder` is named in errors.

    It is one FAISS index, `to_bytes` without its rounding and the lists, so as to be written to one file; its
    own search would not round.
    """
    import faiss
    import torch

    n, dim = keys.shape
    if n == 0:
        raise BankError(f"{folder}: the bank holds no pairs: there is nothing to index")
    faiss.omp_set_num_threads(torch.get_num_threads())
    lists = lists_for(n)
    drawn = np.random.default_rng(0).choice(n, min(n, max(lists * _A_LIST, _SAMPLE)), replace=False)
    sample = _checked_keys(keys, np.sort(drawn), folder)
    turn = byte_code(sample)
    tell("grouping", 0, len(sample))
    groups = faiss.Kmeans(dim, lists, niter=_ITERATIONS, spherical=True, min_points_per_centroid=1)
    groups.train(sample)
    coarse = faiss.IndexFlatL2(dim)
    coarse.add(turn.apply(groups.centroids))
    kind = faiss.ScalarQuantizer.QT_8bit_direct
    index = faiss.IndexIVFScalarQuantizer(coarse, dim, lists, kind, faiss.METRIC_L2, False)
    index.is_trained = True  # there is nothing to train: the centres are given, and bytes are bytes
    for start in range(0, n, _BLOCK):
        index.add(to_bytes(turn, _checked_keys(keys, slice(start, start + _BLOCK), folder)))
        tell("filling", index.ntotal, n)
    return faiss.IndexPreTransform(turn, index)


def byte_code(sample: Scores) -> Any:
    """A FAISS transform for keys like these (n, dk): a rotation times a scale, and a shift.

    0 to 255 holds six standard deviations to either side of the mean.
    """
    import faiss

    dim, rng = sample.shape[1], np.random.default_rng(3)
    rotation = np.linalg.qr(rng.standard_normal((dim, dim)))[0].T.astype(np.float32)
    mean = sample.mean(axis=0, dtype=np.float64).astype(np.float32)
    spread = max(float(np.sqrt(np.square(sample - mean).mean(dtype=np.float64))), 1e-6)
    rotation *= np.float32(127 / (6 * spread))
    turn = faiss.LinearTransform(dim, dim, True)
    faiss.copy_array_to_vector(rotation.ravel(), turn.A)
    faiss.copy_array_to_vector(128 - rotation @ mean, turn.b)
    turn.is_trained = True
    return turn


def to_bytes(turn: Any, rows: Scores) -> Scores:
    """(n, dk) float32 of whole numbers, 0 to 255, as FAISS takes bytes."""
    found: Scores = turn.apply(np.ascontiguousarray(rows))
    return np.rint(found, out=found).clip(0, 255, out=found)


def products(turn: Any, distances: Scores, queries: Scores) -> Scores:
    """Inner products of queries (Q, dk) and keys of length 1, from (Q, k) squared distances of bytes."""
    import faiss

    square = np.square(faiss.vector_to_array(turn.A)[: turn.d_in]).sum()  # of the scale
    found: Scores = (1 + np.square(queries).sum(axis=1, keepdims=True) - distances / square) / 2
    return found


def _look_into(index: Any, queries: Scores, k: int, probes: int) -> tuple[Scores, Rows]:
    """k rows of every query from its nearest `probes` lists, or from more where those hold too few."""
    import faiss
    import torch

    faiss.omp_set_num_threads(torch.get_num_threads())
    turn: Any = faiss.downcast_VectorTransform(index.chain.at(0))
    lists: Any = faiss.downcast_index(index.index)
    how = faiss.SearchParametersIVF()
    how.nprobe = min(probes, lists.nlist)
    distances, rows = lists.search(to_bytes(turn, queries), k, params=how)
    scores = products(turn, distances, queries)
    short = np.flatnonzero((rows < 0).any(axis=1))
    if len(short) and probes < lists.nlist:
        scores[short], rows[short] = _look_into(index, queries[short], k, probes * 4)
    return scores, rows


def _measured(index: Any, keys: npt.NDArray[np.float16], recall: float) -> dict[str, Any]:
    """The fewest lists that give the recall asked for, and what they give: `About`'s fields."""
    import faiss

    lists: Any = faiss.downcast_index(index.index)
    drawn = np.random.default_rng(2).choice(len(keys), min(len(keys), _QUERIES), replace=False)
    queries = _widened(keys, np.sort(drawn))
    true, _ = FlatIndex(keys).search(queries, _NEIGHBOURS)
    for probes in np.unique(np.geomspace(1, lists.nlist, 40).round().astype(int)).tolist():
        scores, rows = _look_into(index, queries, true.shape[1], probes)
        exact = np.stack([_widened(keys, r) @ q for r, q in zip(rows, queries, strict=True)])
        found = (exact >= true[:, -1:] - 1e-6).mean(axis=1)
        if found.mean() >= recall:
            break
    return {
        "lists": lists.nlist,
        "probes": probes,
        "recall": float(found.mean()),
        "worst": float(found.min()),
        "neighbours": true.shape[1],
        "queries": len(queries),
        "error": float(np.abs(exact - scores).max()),
    }


def lists_for(rows: int) -> int:
    """How many lists: the power of two next to three times the root, but 32 rows a list at least."""
    return int(2 ** max(0, round(np.log2(max(min(3 * rows**0.5, rows / 32), 1)))))


def _checked_keys(keys: npt.NDArray[np.float16], which: Any, folder: Path) -> Scores:
    """Some keys, widened. Raises BankError where one is not finite or not of length 1."""
    found = _widened(keys, which)
    length = np.linalg.norm(found, axis=1)
    if not ((length > 0.98) & (length < 1.02)).all():  # also where a number is not finite
        raise BankError(
            f"{folder}: some keys are not finite or not of length 1: search this bank exactly (`freeda bank "
            "verify` names damaged files)"
        )
    return found


def _widened(keys: npt.NDArray[np.float16], which: Any) -> Scores:
    found = np.array(keys[which], np.float32)
    release(keys)
    return found


def _file(identity: str, column: Column) -> str:
    """The index's name follows from the bank, so that no other file is ever read."""
    return f"{_STEMS[column]}-{identity[:16]}.faiss"


def _read_about(folder: Path, identity: str, column: Column) -> About | None:
    with suppress(OSError, ValueError, TypeError, RecursionError):
        about = About(**json.loads((folder / f"{_STEMS[column]}.json").read_text(encoding="utf-8")))
        counts = (about.bytes, about.lists, about.probes, about.neighbours, about.queries)
        fits = all(type(n) is int and n > 0 for n in counts) and about.version == _VERSION
        if fits and about.bank == identity and about.file == _file(identity, column):
            return about
    return None
