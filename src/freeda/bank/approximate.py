"""Approximate nearest-key search, for banks of millions: what lies beside a bank, and when it is made anew.

How many lists a query looks into (see `inverted`) is settled when the index is made, by what it takes to find
enough of the true neighbours of keys drawn from the bank.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..files import atomic_path, atomic_write_json
from ..options.index import RECALL
from .index import FlatIndex, Rows, Scores, best_first, checked
from .inverted import ByteCode, as_one, fill, look_into, parts, widened

ABOUT = "approximate.json"
_QUERIES, _NEIGHBOURS = 128, 350
_VERSION = 2


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
    """Whether a file of a bank's directory belongs to its approximate index, by its name."""
    return name == ABOUT or (name.startswith("approximate-") and name.endswith(".faiss"))


class ApproximateIndex:
    """Most of the nearest keys of a query, in a fraction of the time; beside a bank, made anew when stale."""

    def __init__(self, index: Any, about: About) -> None:
        """`index` is what `as_one` made."""
        self._index, self.about = index, about

    @classmethod
    def open(cls, folder: Path, identity: str) -> ApproximateIndex | None:
        """The index that lies in a bank's folder, memory-mapped; None where it is missing, damaged or stale.

        FAISS checks little of what it reads: an index is only opened where `build` wrote it, and is never
        part of what banks share.
        """
        about = _read_about(folder)
        if about is None or about.bank != identity:
            return None
        path = folder / about.file
        if not path.is_file() or path.stat().st_size != about.bytes:
            return None
        import faiss

        try:
            found = faiss.read_index(os.fspath(path), faiss.IO_FLAG_MMAP_IFC)
        except RuntimeError:
            return None
        return cls(found, about)

    @classmethod
    def build(
        cls,
        keys: npt.NDArray[np.float16],
        folder: Path,
        identity: str,
        recall: float = RECALL,
        on_done: Callable[[str, int, int], None] | None = None,
    ) -> ApproximateIndex:
        """Make the index of keys (N, dk), write it into `folder`, measure it, open it.

        Queries look into as few lists as give at least this `recall` (0 to 1) on keys drawn from the bank.
        `on_done(step, rows, in_all)` is told how far it is. Minutes for millions of rows, twice the index's
        size in memory, and half as much disk as the keys take. Raises BankError for no keys and for keys that
        are not finite or not of length 1, InputError where the folder cannot be written to.
        """
        import faiss

        tell = on_done or (lambda step, rows, in_all: None)
        lists, code = fill(keys, folder, tell)
        about = _measured(lists, code, keys, identity, recall, tell)
        index = as_one(lists, code)
        path = folder / about.file
        with atomic_path(path) as temp:
            faiss.write_index(index, os.fspath(temp))
        about = About(**{**asdict(about), "bytes": path.stat().st_size})
        # Written last: an index is there when this says so.
        atomic_write_json(folder / ABOUT, asdict(about))
        for other in folder.glob("approximate-*.faiss"):
            if other != path:
                other.unlink(missing_ok=True)
        opened = cls.open(folder, identity)
        return cls(index, about) if opened is None else opened

    def search(self, queries: Scores, k: int) -> tuple[Scores, Rows]:
        """About the k' = min(k, N) best keys of each query: scores (Q, k') float32, rows (Q, k') int64.

        As `FlatIndex.search`, but `1 - about.recall` of the rows are others than the best, and scores are
        off by up to about `about.error`.
        """
        queries = checked(queries, self._index.d, k)
        k = min(k, self._index.ntotal)
        if k == 0 or len(queries) == 0:
            return np.zeros((len(queries), k), np.float32), np.zeros((len(queries), k), np.int64)
        lists, code = parts(self._index)
        return best_first(*look_into(lists, code, queries, k, self.about.probes))


def _measured(
    lists: Any,
    code: ByteCode,
    keys: npt.NDArray[np.float16],
    identity: str,
    recall: float,
    tell: Callable[[str, int, int], None],
) -> About:
    """The fewest lists that give the recall asked for, and what they give."""
    n = len(keys)
    drawn = np.sort(np.random.default_rng(2).choice(n, min(n, _QUERIES), replace=False))
    queries: Scores = widened(keys, drawn).numpy()
    tell("measuring", 0, n)
    true, _ = FlatIndex(keys).search(queries, _NEIGHBOURS)
    k = true.shape[1]
    for probes in _steps(lists.nlist):
        scores, rows = look_into(lists, code, queries, k, probes)
        exact = np.stack([widened(keys, r).numpy() @ q for r, q in zip(rows, queries, strict=True)])
        found = (exact >= true[:, -1:] - 1e-6).mean(axis=1)
        if found.mean() >= recall:
            break
    tell("measuring", n, n)
    return About(
        identity,
        f"approximate-{identity[:16]}.faiss",
        0,
        lists.nlist,
        probes,
        float(found.mean()),
        float(found.min()),
        k,
        len(queries),
        float(np.abs(exact - scores).max()),
    )


def _steps(lists: int) -> Iterator[int]:
    """1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, ... up to all."""
    step = 1
    while step < lists:
        yield step
        step += max(1, 2 ** (step.bit_length() - 3))
    yield lists


def _read_about(folder: Path) -> About | None:
    with suppress(OSError, ValueError, TypeError, RecursionError):
        about = About(**json.loads((folder / ABOUT).read_text(encoding="utf-8")))
        counts = (about.bytes, about.lists, about.probes, about.neighbours, about.queries)
        fits = all(type(n) is int and n > 0 for n in counts) and about.version == _VERSION
        # The name follows from the bank, so that no other file is ever read.
        if fits and about.file == f"approximate-{str(about.bank)[:16]}.faiss":
            return about
    return None
