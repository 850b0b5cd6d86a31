"""Keys in lists of bytes (FAISS), which the approximate index looks into.

Keys are put into lists by their nearest of some thousand centres; a query looks into the lists of its nearest
centres only. In the lists every number is a byte. As keys have length 1, the nearest by inner product are the
nearest by distance, and distances mind neither a shift nor a rotation: the keys' mean is taken off and the
rest is turned at random, so that no dimension is wider than another and one scale does for all. Distances
between bytes are whole numbers, which processors take half again as fast as products with widened ones.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import BankError
from .arrays import release
from .index import Rows, Scores

_BLOCK = 32_768
_ITERATIONS, _A_LIST, _SAMPLE = 6, 20, 50_000


class ByteCode:
    """Vectors as bytes: round(x @ turn + shift), where turn is a rotation times a scale."""

    def __init__(self, turn: Scores, shift: Scores) -> None:
        """`turn` is (dk, dk), `shift` (dk,)."""
        self.turn, self.shift = turn, shift
        self.scale = float(np.linalg.norm(turn[0]))

    @classmethod
    def of(cls, sample: Scores) -> ByteCode:
        """For keys like these (n, dk): 0 to 255 holds six standard deviations to either side of the mean."""
        dim, rng = sample.shape[1], np.random.default_rng(3)
        rotation = np.linalg.qr(rng.standard_normal((dim, dim)))[0].astype(np.float32)
        mean = sample.mean(axis=0, dtype=np.float64).astype(np.float32)
        spread = max(float(np.sqrt(np.square(sample - mean).mean(dtype=np.float64))), 1e-6)
        turn = rotation * np.float32(127 / (6 * spread))
        return cls(turn, 128 - mean @ turn)

    def __call__(self, rows: Scores) -> Scores:
        """(n, dk) float32 of whole numbers, 0 to 255, as FAISS takes bytes."""
        import torch

        turn, shift = torch.from_numpy(np.ascontiguousarray(self.turn)), torch.from_numpy(self.shift)
        found: Scores = (torch.from_numpy(rows) @ turn + shift).round_().clamp_(0, 255).numpy()
        return found

    def product(self, distances: Scores, queries: Scores) -> Scores:
        """Inner products of queries (Q, dk) and keys of length 1, from (Q, k) squared distances of bytes."""
        length = np.square(queries).sum(axis=1, keepdims=True)
        found: Scores = (1 + length) / 2 - distances / np.float32(2 * self.scale**2)
        return found


def look_into(lists: Any, code: ByteCode, queries: Scores, k: int, probes: int) -> tuple[Scores, Rows]:
    """k rows of every query from its nearest `probes` lists, or from more where those hold too few."""
    import faiss
    import torch

    faiss.omp_set_num_threads(torch.get_num_threads())
    how = faiss.SearchParametersIVF()
    how.nprobe = min(probes, lists.nlist)
    distances, rows = lists.search(code(queries), k, params=how)
    scores = code.product(distances, queries)
    short = np.flatnonzero((rows < 0).any(axis=1))
    if len(short) and probes < lists.nlist:
        scores[short], rows[short] = look_into(lists, code, queries[short], k, probes * 4)
    return scores, rows


def fill(
    keys: npt.NDArray[np.float16], folder: Path, tell: Callable[[str, int, int], None]
) -> tuple[Any, ByteCode]:
    """The inverted file of keys (N, dk), and how they became bytes; `folder` is named in errors.

    Raises BankError for no keys, and for keys that are not finite or not of length 1.
    """
    import faiss
    import torch

    n, dim = keys.shape
    if n == 0:
        raise BankError(f"{folder}: the bank holds no pairs: there is nothing to index")
    rng = np.random.default_rng(0)
    lists = lists_for(n)
    drawn = np.sort(rng.choice(n, min(n, max(lists * _A_LIST, _SAMPLE)), replace=False))
    sample = widened(keys, drawn)
    _check(sample, folder)
    code, centres = ByteCode.of(sample.numpy()), _centres(sample, lists, tell)
    coarse = faiss.IndexFlatL2(dim)
    coarse.add((centres @ torch.from_numpy(code.turn) + torch.from_numpy(code.shift)).numpy())
    kind = faiss.ScalarQuantizer.QT_8bit_direct
    index = faiss.IndexIVFScalarQuantizer(coarse, dim, lists, kind, faiss.METRIC_L2, False)
    index.is_trained = True  # there is nothing to train: the centres are given, and bytes are bytes
    for start in range(0, n, _BLOCK):
        stop = min(start + _BLOCK, n)
        block = widened(keys, slice(start, stop))
        _check(block, folder)
        of, coded = _nearest(block, centres), code(block.numpy())
        index.add_core(len(coded), faiss.swig_ptr(coded), None, faiss.swig_ptr(of.numpy()))
        tell("filling", stop, n)
    return index, code


def as_one(lists: Any, code: ByteCode) -> Any:
    """Both as one FAISS index, to be written. Its own search would not round: only its parts are used."""
    import faiss

    transform = faiss.LinearTransform(lists.d, lists.d, True)
    faiss.copy_array_to_vector(np.ascontiguousarray(code.turn.T).ravel(), transform.A)
    faiss.copy_array_to_vector(code.shift, transform.b)
    transform.is_trained = True
    return faiss.IndexPreTransform(transform, lists)


def parts(index: Any) -> tuple[Any, ByteCode]:
    """What `as_one` put together."""
    import faiss

    transform: Any = faiss.downcast_VectorTransform(index.chain.at(0))
    turn = faiss.vector_to_array(transform.A).reshape(transform.d_out, transform.d_in).T
    return faiss.downcast_index(index.index), ByteCode(turn, faiss.vector_to_array(transform.b))


def lists_for(rows: int) -> int:
    """How many lists: the power of two next to three times the root, but 32 rows a list at least."""
    wanted = min(3 * rows**0.5, rows / 32)
    return int(2 ** max(0, round(np.log2(max(wanted, 1)))))


def _centres(sample: Any, lists: int, tell: Callable[[str, int, int], None]) -> Any:
    """(lists, dk) unit centres of rows (n, dk) by spherical k-means, started at rows drawn at random."""
    import torch

    start = np.random.default_rng(1).choice(len(sample), lists, replace=False)
    centres = torch.nn.functional.normalize(sample[torch.from_numpy(start)], dim=1)
    for done in range(_ITERATIONS):
        sums = torch.zeros_like(centres).index_add_(0, _nearest(sample, centres), sample)
        length = sums.norm(dim=1, keepdim=True)
        centres = torch.where(length > 0, sums / length.clamp(min=1e-12), centres)
        tell("grouping", (done + 1) * len(sample), _ITERATIONS * len(sample))
    return centres


def _nearest(rows: Any, centres: Any) -> Any:
    import torch

    return torch.cat([(part @ centres.T).argmax(dim=1) for part in rows.split(4096)])


def widened(keys: npt.NDArray[np.float16], which: Any) -> Any:
    """Some keys as a float32 tensor."""
    import torch

    found = torch.from_numpy(np.array(keys[which])).float()
    release(keys)
    return found


def _check(keys: Any, folder: Path) -> None:
    length = keys.norm(dim=1)
    if not bool(((length > 0.98) & (length < 1.02)).all()):  # also where a number is not finite
        raise BankError(
            f"{folder}: some keys are not finite or not of length 1: search this bank exactly (`freeda bank "
            "verify` names damaged files)"
        )
