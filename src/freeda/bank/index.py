"""Approximate nearest-key search for banks of millions, by an index that lies beside the bank.

FAISS puts the keys into lists by their nearest of some thousand centres; a query
looks into the lists of its nearest centres only. How many is settled when the index is made, by what it takes
to find enough of the true neighbours of keys drawn from the bank.

In the lists every number is a byte. As keys have length 1, the nearest by inner product are the nearest by
distance, and distances mind neither a shift nor a rotation: the keys' mean is taken off and the rest is
turned at random, so that no dimension is wider than another and one scale does for all. Distances between
bytes are whole numbers: they take two thirds of the time of FAISS's "IVF...,SQ8" and err half as much.

Prototypes are asked for by each photograph, for few neighbours of many regions: of them only the 128
directions of largest variance are in the lists, and three times as many rows as wanted are compared again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import BankError
from ..files import atomic_path, atomic_write_json
from ..options.index import PROTOTYPE_RECALL, RECALL
from .arrays import release
from .exact import Column, FlatIndex, Rows, Scores, best_first, checked

_QUERIES, _NEIGHBOURS, _FEW = 128, 350, 20
_ITERATIONS, _A_LIST, _SAMPLE, _BLOCK = 6, 20, 50_000, 32_768
_VERSION = 2
_WIDTH, _AGAIN, _AT_ONCE, _MOST = 128, 3, 6144, 12
"""Of the index of prototypes: its width, candidates a neighbour that are compared again, how many are read at
once, lists looked into at most."""
_STEMS: dict[Column, str] = {"key": "approximate", "prototype": "approximate_prototypes"}
ABOUT = f"{_STEMS['key']}.json"
Tell = Callable[[str, int, int], None]


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

    def __init__(self, index: Any, about: About, prototypes: npt.NDArray[np.float16] | None = None) -> None:
        """`index` is what `_fill` made; of prototypes (N, dp), where they are given."""
        self._index, self.about, self._prototypes = index, about, prototypes

    @classmethod
    def open(
        cls, folder: Path, identity: str, prototypes: npt.NDArray[np.float16] | None = None
    ) -> ApproximateIndex | None:
        """The index that lies in a bank's folder, memory-mapped; None where it is missing, damaged or stale.
        That of the bank's prototypes where they are given, else that of its keys.

        FAISS checks little of what it reads: an index is only opened where `build` wrote it, and is never
        part of what banks share.
        """
        about = _read_about(folder, identity, "key" if prototypes is None else "prototype")
        if about is None:
            return None
        path = folder / about.file
        if not path.is_file() or path.stat().st_size != about.bytes:
            return None
        import faiss

        with suppress(RuntimeError):
            return cls(faiss.read_index(os.fspath(path), faiss.IO_FLAG_MMAP_IFC), about, prototypes)
        return None

    @classmethod
    def build(
        cls,
        keys: npt.NDArray[np.float16],
        folder: Path,
        identity: str,
        recall: float | None = None,
        on_done: Tell | None = None,
        column: Column = "key",
    ) -> ApproximateIndex:
        """Make the index of keys (N, dk), write it into `folder`, measure it, open it. Those of another
        `column` are brought to length 1 before.

        Queries look into as few lists as give at least this `recall` (0 to 1; None: what suits the column) on
        keys drawn from the bank; of prototypes, into 12 at most.
        `on_done(step, rows, in_all)` is told how far it is. Minutes for millions of rows, twice the index's
        size in memory, and half as much disk as the keys take. Raises BankError for no keys and for keys that
        are not finite or not of length 1, InputError where the folder cannot be written to.
        """
        import faiss

        tell = on_done or (lambda step, rows, in_all: None)
        own = keys if column == "prototype" else None
        index = _fill(keys, folder, tell, column)
        path = folder / _file(identity, column)
        with atomic_path(path) as temp:
            faiss.write_index(index, os.fspath(temp))
        tell("measuring", 0, len(keys))
        about = About(identity, path.name, path.stat().st_size, **_measured(index, keys, recall, own))
        # Written last: an index is there when this says so.
        atomic_write_json(folder / f"{_STEMS[column]}.json", asdict(about))
        for other in folder.glob(f"{_STEMS[column]}-*.faiss"):
            if other != path:
                other.unlink(missing_ok=True)
        return cls.open(folder, identity, own) or cls(index, about, own)

    def search(self, queries: Scores, k: int) -> tuple[Scores, Rows]:
        """About the k' = min(k, N) best keys of each query: scores (Q, k') float32, rows (Q, k') int64.

        As `FlatIndex.search`, but `1 - about.recall` of the rows are others than the best, and scores are
        off by up to about `about.error`.
        """
        queries, k = checked(queries, self._index.d, k), min(k, self._index.ntotal)
        if len(queries) == 0:
            return np.zeros((0, k), np.float32), np.zeros((0, k), np.int64)
        if self._prototypes is not None:
            return _compared(self._index, queries, k, self.about.probes, self._prototypes)
        return best_first(*_look_into(self._index, queries, k, self.about.probes))


def _fill(keys: npt.NDArray[np.float16], folder: Path, tell: Tell, column: Column) -> Any:
    """The index of keys (N, dk), or of prototypes; `folder` is named in errors.

    It is one FAISS index, `to_bytes` without its rounding and the lists, so as to be written to one file; its
    own search would not round.
    """
    import faiss
    import torch

    n, dim = keys.shape
    cosine = column == "prototype"
    width = min(dim, _WIDTH) if cosine else dim
    if n == 0:
        raise BankError(f"{folder}: the bank holds no pairs: there is nothing to index")
    faiss.omp_set_num_threads(torch.get_num_threads())
    lists = lists_for(n)
    drawn = np.random.default_rng(0).choice(n, min(n, max(lists * _A_LIST, _SAMPLE)), replace=False)
    sample = _checked_keys(keys, np.sort(drawn), folder, cosine)
    turn = byte_code(sample, width)
    tell("grouping", 0, len(sample))
    sample = turn.apply(sample) if width < dim else sample
    how: dict[str, Any] = {"niter": _ITERATIONS, "min_points_per_centroid": 1, "spherical": width == dim}
    groups = faiss.Kmeans(width, lists, **how)
    groups.train(sample)
    coarse = faiss.IndexFlatL2(width)
    centres: Any = groups.centroids
    coarse.add(centres if width < dim else turn.apply(centres))
    kind = faiss.ScalarQuantizer.QT_8bit_direct
    index = faiss.IndexIVFScalarQuantizer(coarse, width, lists, kind, faiss.METRIC_L2, False)
    index.is_trained = True  # there is nothing to train: the centres are given, and bytes are bytes
    for start in range(0, n, _BLOCK):
        index.add(to_bytes(turn, _checked_keys(keys, slice(start, start + _BLOCK), folder, cosine)))
        tell("filling", index.ntotal, n)
    return faiss.IndexPreTransform(turn, index)


def byte_code(sample: Scores, width: int | None = None) -> Any:
    """A FAISS transform for keys like these (n, dk): a rotation times a scale, and a shift; with a `width`
    below theirs, of that many directions, in which they vary most.

    0 to 255 holds six standard deviations to either side of the mean.
    """
    import faiss

    dim, rng = sample.shape[1], np.random.default_rng(3)
    width = dim if width is None else width
    rotation = np.linalg.qr(rng.standard_normal((width, width)))[0].T.astype(np.float32)
    mean = sample.mean(axis=0, dtype=np.float64).astype(np.float32)
    centred = sample - mean
    if width < dim:
        widest = np.linalg.eigh((centred.T @ centred).astype(np.float64))[1][:, -width:].astype(np.float32)
        rotation, centred = rotation @ widest.T, centred @ widest
    spread = max(float(np.sqrt(np.square(centred).mean(dtype=np.float64))), 1e-6)
    rotation *= np.float32(127 / (6 * spread))
    turn = faiss.LinearTransform(dim, width, True)
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


def _compared(
    index: Any, queries: Scores, k: int, probes: int, prototypes: npt.NDArray[np.float16]
) -> tuple[Scores, Rows]:
    """The k rows of highest cosine among the candidates that the index gives for each query."""
    import torch

    _, rows = _look_into(index, queries, min(_AGAIN * k, len(prototypes)), probes)
    scores = np.empty(rows.shape, np.float32)
    step = max(1, _AT_ONCE // rows.shape[1])
    for at in range(0, len(rows), step):
        # Through the mapping, in a seventh of the time of `take`; what that makes resident goes at once.
        found = torch.from_numpy(np.asarray(prototypes[rows[at : at + step]])).float()
        release(prototypes)
        asked = torch.from_numpy(queries[at : at + step])[:, :, None]
        length = torch.linalg.vector_norm(found, dim=2).clamp_min(1e-12)
        scores[at : at + step] = (torch.bmm(found, asked)[:, :, 0] / length).numpy()
    scores, rows = best_first(scores, rows)
    return scores[:, :k], rows[:, :k]


def _measured(
    index: Any,
    keys: npt.NDArray[np.float16],
    recall: float | None,
    prototypes: npt.NDArray[np.float16] | None,
) -> dict[str, Any]:
    """The fewest lists that give the recall asked for, and what they give: `About`'s fields."""
    import faiss

    lists: Any = faiss.downcast_index(index.index)
    cosine = prototypes is not None
    usual = PROTOTYPE_RECALL if cosine else RECALL
    wanted = usual if recall is None else recall
    drawn = np.random.default_rng(2).choice(len(keys), min(len(keys), _QUERIES), replace=False)
    queries = _widened(keys, np.sort(drawn), cosine)
    true, _ = FlatIndex(keys, cosine).search(queries, _FEW if cosine else _NEIGHBOURS)
    most = min(lists.nlist, _MOST) if cosine else lists.nlist
    for probes in np.unique(np.geomspace(1, most, 40).round().astype(int)).tolist():
        if prototypes is None:
            scores, rows = _look_into(index, queries, true.shape[1], probes)
        else:
            scores, rows = _compared(index, queries, true.shape[1], probes, prototypes)
        exact = np.stack([_widened(keys, r, cosine) @ q for r, q in zip(rows, queries, strict=True)])
        found = (exact >= true[:, -1:] - 1e-6).mean(axis=1)
        if found.mean() >= wanted:
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


def _checked_keys(keys: npt.NDArray[np.float16], which: Any, folder: Path, cosine: bool) -> Scores:
    """Some keys, widened. Raises BankError where one is not finite or not of length 1."""
    found = _widened(keys, which, cosine)
    length = np.linalg.norm(found, axis=1)
    if not ((length > 0.98) & (length < 1.02)).all():  # also where a number is not finite
        raise BankError(
            f"{folder}: some keys are not finite or not of length 1: search this bank exactly (`freeda bank "
            "verify` names damaged files)"
        )
    return found


def _widened(keys: npt.NDArray[np.float16], which: Any, cosine: bool) -> Scores:
    """Some keys in float32, with `cosine` brought to length 1; one of zeros stays."""
    found = np.array(keys[which], np.float32)
    release(keys)
    if cosine:
        found /= np.maximum(np.linalg.norm(found, axis=1, keepdims=True), np.float32(1e-12))
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
