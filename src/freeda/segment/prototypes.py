"""What the bank says a class looks like: the prototypes of the nearest keys, and what is made of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch

from ..bank.arrays import take
from ..bank.cache import Answer
from ..bank.layered import answering
from ..errors import BankError
from ..options import SegmentOptions
from .window_encoding import Floats

WORTH = 10
"""References from pictures that all drawn ones of a word together weigh as much as. Our choice, measured on
the miniature only (docs/references.md)."""
ITERATIONS = 25
"""Rounds of k-means, at most."""
_HELD = 2**28
"""Bytes of prototypes that are looked up and not yet condensed, at most, unless one word has more."""
_DECISIVE = ("k", "min_similarity", "prototypes", "clusters", "spherical")
"""Options that decide what prototypes a text embedding gets."""


class ReferenceBank(Protocol):
    """What the online stage asks of a bank."""

    @property
    def prototypes(self) -> Any:
        """(N, D) array-like of raw prototypes."""

    def __len__(self) -> int: ...

    def search(self, queries: npt.NDArray[np.float32], k: int) -> tuple[Floats, npt.NDArray[np.int64]]:
        """Inner products and row numbers, (Q, k') each, best first, k' = min(k, N)."""


def class_prototypes(
    bank: ReferenceBank, text: Floats, words: Sequence[str], options: SegmentOptions
) -> tuple[Floats, npt.NDArray[np.int64] | None]:
    """Prototypes (P, D) float32 of text embeddings (T, K), and the row (P,) that each belongs to.

    The owners are None where every row has exactly one prototype. Arguments and errors as `answers`.
    """
    return stacked(answers(bank, text, words, options))


def stacked(found: Sequence[Answer]) -> tuple[Floats, npt.NDArray[np.int64] | None]:
    """What `class_prototypes` makes of the answers."""
    owner = np.repeat(np.arange(len(found)), [len(one.prototypes) for one in found])
    return np.concatenate([one.prototypes for one in found]), owner if len(owner) > len(found) else None


def answers(bank: ReferenceBank, text: Floats, words: Sequence[str], options: SegmentOptions) -> list[Answer]:
    """What a bank gives for each text embedding of (T, K): prototypes, and the nouns behind them.

    The `k` nearest keys of a row are looked up, or what has the row's very word where a reference from a
    picture has it (`answering`); rows of the bank that are not finite are dropped, then those whose key is
    less similar than `min_similarity`, except the nearest. What remains, un-normalised, is
    averaged ("mean": the published way), clustered ("k-means") or kept ("all", "knn-vote"), nearest first.

    `words` names the rows in errors: BankError for an empty bank and a row without any finite prototype.

    A bank that has a `cache` (see `freeda.bank.cache`) is only asked for the rows that are not in it.
    """
    if len(bank) == 0:
        raise BankError("the bank holds no pairs: collect some captions first")
    cache = getattr(bank, "cache", None)
    if cache is None:
        return _retrieved(bank, text, words, options)
    recipe = " ".join(f"{name}={getattr(options, name)!r}" for name in _DECISIVE)
    keys = [cache.key(row, recipe) for row in text]
    known = {key: found for key in keys if (found := cache.get(key)) is not None}
    new = [i for i, key in enumerate(keys) if key not in known]
    if new:
        made = _retrieved(bank, text[new], [words[i] for i in new], options)
        for i, answer in zip(new, made, strict=True):
            known[keys[i]] = answer
            cache.put(keys[i], answer)
    return [known[key] for key in keys]


def nouns_of(bank: Any) -> Sequence[str] | None:
    """The noun of every row of a bank; None where rows have none, or none that is a word."""
    return bank.nouns if getattr(bank, "named", hasattr(bank, "nouns")) else None


def by_frequency(nouns: Sequence[str], rows: npt.NDArray[np.int64]) -> dict[str, int]:
    """The nouns of these rows with how many have each: most frequent first, of equal ones the earlier."""
    return dict(Counter(nouns[row] for row in rows.tolist()).most_common())


def _retrieved(
    bank: ReferenceBank, text: Floats, words: Sequence[str], options: SegmentOptions
) -> list[Answer]:
    """Per row of text what the bank gives."""
    similarity, found, real = answering(bank, text, options.k)
    nouns = nouns_of(bank)

    def group(word: str, near: Floats, rows: Any, real: Any, stored: npt.NDArray[np.float16]) -> Answer:
        raw: Floats = torch.from_numpy(stored).float().numpy()  # numpy widens float16 slowly
        good = _usable(raw, near, options)
        if not good.any():
            raise BankError(
                f"class {word[:60]!r}: none of the {found.shape[1]} retrieved prototypes is finite"
            )
        made = condense(raw if good.all() else raw[good], real[good], options)
        return Answer(made, None if nouns is None else tuple(by_frequency(nouns, rows[good])))

    there = (found >= 0) & np.isfinite(similarity)
    near = [scores[here] for scores, here in zip(similarity, there, strict=True)]
    rows = [numbers[here] for numbers, here in zip(found, there, strict=True)]
    marks = [ours[here] for ours, here in zip(real, there, strict=True)]
    # The pool takes all that it is given at once: a part of the words at a time bounds what was looked up.
    part = max(1, _HELD // (2 * found.shape[1] * bank.prototypes.shape[1]))
    made: list[Answer] = []
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:  # this thread reads, the others compute
        for start in range(0, len(rows), part):
            some = slice(start, start + part)
            stored = (looked_up(bank.prototypes, numbers) for numbers in rows[some])
            made += pool.map(group, words[some], near[some], rows[some], marks[some], stored)
    return made


class Retrieved(NamedTuple):
    """The rows of a bank that stand behind one text embedding, nearest key first."""

    rows: npt.NDArray[np.int64]
    """(n,) row numbers."""
    similarity: Floats
    """(n,) float32: inner products of the text and the keys."""
    prototypes: Floats
    """(n, D) float32, raw."""
    real: npt.NDArray[np.bool_]
    """(n,) which are references from pictures."""


def retrieve(bank: ReferenceBank, text: Floats, options: SegmentOptions) -> list[Retrieved]:
    """The rows that `class_prototypes` makes the prototypes of text embeddings (T, K) from."""
    if len(bank) == 0:
        raise BankError("the bank holds no pairs: collect some captions first")
    out = []
    for near, found, real in zip(*answering(bank, text, options.k), strict=True):
        there = (found >= 0) & np.isfinite(near)
        near, found, real = near[there], found[there], real[there]
        raw = looked_up(bank.prototypes, found).astype(np.float32)
        good = _usable(raw, near, options)
        out.append(Retrieved(found[good], near[good], raw[good], real[good]))
    return out


def _usable(raw: Floats, near: Floats, options: SegmentOptions) -> npt.NDArray[np.bool_]:
    good = np.asarray(np.isfinite(raw).all(axis=1))
    if options.min_similarity is not None and good.any():
        good &= near >= min(options.min_similarity, near[good].max())
    return good


def looked_up(stored: Any, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float16]:
    """Rows of a bank's keys or prototypes, wherever they lie."""
    return take(stored, rows) if isinstance(stored, np.ndarray) else np.asarray(stored[rows])


def condense(
    rows: Floats, real: npt.NDArray[np.bool_], options: SegmentOptions, worth: float = WORTH
) -> Floats:
    """What retrieved prototypes (n, D) become: (p, D) float32, by `options.prototypes`.

    In a mean the drawn ones together weigh as much as `worth` of the `real` ones (n,), at most.
    """
    if options.prototypes == "mean":
        drawn = len(real) - np.count_nonzero(real)
        if worth < drawn < len(real):
            return np.average(rows, 0, np.where(real, 1.0, worth / drawn)).astype(np.float32)[None]
        return rows.mean(axis=0, keepdims=True, dtype=np.float64).astype(np.float32)
    if options.prototypes == "k-means":
        return k_means(rows, options.clusters, options.spherical)
    return rows


def k_means(rows: Floats, clusters: int, spherical: bool) -> Floats:
    """At most `clusters` centroids (c, D) float32 of `rows` (N, D): Lloyd's algorithm, at most 25 rounds.

    Spherical: rows are normalised, nearness is the cosine, and centroids are normalised again each round. It
    begins by k-means++ (Arthur & Vassilvitskii 2007) with a fixed seed, so that the same rows give the same
    centroids; how the authors begin is not known to us. Centroids that no row is nearest to are left out.
    """
    points = np.asarray(rows, dtype=np.float64)
    if spherical:
        points = _unit(points)
    if len(points) <= clusters:
        return points.astype(np.float32)
    centres, nearest = points[starting_rows(points, clusters)], np.full(len(points), -1)
    for _ in range(ITERATIONS):
        # |x - c|^2 less the |x|^2 that all centres share; unit centres make it the cosine.
        distance = (centres**2).sum(axis=1) - 2.0 * points @ centres.T
        before, nearest = nearest, distance.argmin(axis=1)
        if np.array_equal(before, nearest):
            break
        members = nearest[:, None] == np.arange(len(centres))
        count = members.sum(axis=0)
        means = members.T.astype(np.float64) @ points / np.maximum(count, 1)[:, None]
        means = _unit(means) if spherical else means
        centres = np.where(count[:, None] > 0, means, centres)
    return centres[np.unique(nearest)].astype(np.float32)


def starting_rows(points: npt.NDArray[np.float64], clusters: int) -> list[int]:
    """At most `clusters` rows of points (N, D): each drawn by its squared distance to those before it."""
    rng = np.random.default_rng(0)
    chosen = [int(rng.integers(len(points)))]
    distance = np.full(len(points), np.inf)
    while len(chosen) < clusters:
        distance = np.minimum(distance, ((points - points[chosen[-1]]) ** 2).sum(axis=1))
        if not distance.any():
            break  # all points are chosen already, the rest repeats them
        chosen.append(int(rng.choice(len(points), p=distance / distance.sum())))
    return chosen


def _unit(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray(x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12))
