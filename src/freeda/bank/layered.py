"""Several banks read as one: a bank and the layers that lie beside it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import BankError
from ..files import cache_folder
from .arrays import Nouns, take
from .bank import Bank
from .cache import Cache
from .exact import Column, FlatIndex, Rows, Scores, best_first

SAME = 0.01
"""Keys whose similarity to a query is within this of the best one's are of the same word. Embeddings of one
word differ by the rounding of float16 (under 0.001); those of CLIP's different words by more, as a rule."""


NEAR = 0.9
"""Cosine from which a key counts as near a word. Our choice, measured on the miniature only: its synonyms lie
at 0.98 to 1, words it never saw beside a bank's own at 0.81 to 0.99, different words below 0.5, and words
of no meaning to it at 0.6 to 0.85."""


def answering(bank: Any, queries: Scores, k: int) -> tuple[Scores, Rows, npt.NDArray[np.bool_]]:
    """What answers each query: scores, row numbers, and which rows are references of its word from pictures,
    all (Q, n).

    As a rule the `k` keys that `bank.search` finds. Where a reference from a picture (`Bank.real`) is of the
    query's very word (within `SAME` of the best key, and `NEAR` the query), only rows of that word answer: at
    most `k` such references, then those of the `k` keys found. Places left over hold score -inf and row -1.
    """
    scores, rows = bank.search(queries, min(k, len(bank)))
    real: Rows = np.asarray(getattr(bank, "real", ()), np.int64)
    if len(real) == 0:
        return scores, rows, np.zeros(rows.shape, bool)
    keys = take(bank.keys, real) if isinstance(bank.keys, np.ndarray) else bank.keys[real]
    theirs, places = FlatIndex(keys).search(queries, k)
    least = np.maximum(scores[:, :1], theirs[:, :1]) - SAME
    own = theirs >= np.maximum(least, NEAR)
    rest = ~own.any(axis=1, keepdims=True) | ((scores >= least) & ~np.isin(rows, real))
    taken = np.concatenate([own, rest], axis=1)
    scores = np.where(taken, np.concatenate([theirs, scores], axis=1), np.float32(-np.inf))
    rows = np.where(taken, np.concatenate([real[places], rows], axis=1), -1)
    return scores, rows, np.concatenate([own, np.zeros_like(rest)], axis=1)


class LayeredBank:
    """Banks made with the same models, read as one: rows are numbered one bank after another.

    Has what the online stage asks of a bank: `len`, `search`, `prototypes[rows]`, `nouns`, `check_models`.
    """

    _first = 0
    """The row from which on they are layers that answer for words of their own."""

    def __init__(self, banks: Sequence[Bank]) -> None:
        """Raises BankError for no bank, and where one was made with other models than the first."""
        if not banks:
            raise BankError("there is no bank to read: name at least one")
        self.banks = tuple(banks)
        """The banks, in the order of their rows."""
        for other in self.banks[1:]:
            other.check_models(self.banks[0].meta["models"])
        self.starts: npt.NDArray[np.int64] = np.cumsum([0] + [len(bank) for bank in self.banks])
        """(banks + 1,) the row that each bank begins at, then the number of all."""

    def __len__(self) -> int:
        return int(self.starts[-1])

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self.banks))})"

    @cached_property
    def keys(self) -> StackedRows:
        """(N, dk) keys of all rows; only what is asked for is read."""
        return StackedRows([bank.keys for bank in self.banks])

    @cached_property
    def real(self) -> Rows:
        """(n,) ascending: the rows that are references from pictures."""
        starts = self.starts.tolist()
        return np.concatenate([bank.real + at for bank, at in zip(self.banks, starts, strict=False)])

    @cached_property
    def prototypes(self) -> StackedRows:
        """(N, dp) raw prototypes of all rows, in the same way."""
        return StackedRows([bank.prototypes for bank in self.banks])

    @cached_property
    def nouns(self) -> Nouns:
        """The noun of every row."""
        return Nouns(bank.nouns.part for bank in self.banks)

    @cached_property
    def regions(self) -> Bank | LayeredBank | None:
        """The banks of region values of those that have one, read as one; None where none has."""
        found = [bank.regions for bank in self.banks if bank.regions is not None]
        return LayeredBank(found) if len(found) > 1 else next(iter(found), None)

    @property
    def named(self) -> bool:
        """Whether all these are words, see `Bank.named`."""
        return all(bank.named for bank in self.banks)

    @property
    def cache(self) -> Cache | None:
        """Where class prototypes are kept for the next time, if any of the banks keeps its own."""
        if all(bank.cache is None for bank in self.banks):
            return None
        parts = " ".join(f"{bank.identity} {bank.kind}" for bank in self.banks)
        return Cache(cache_folder() / "prototypes", f"{type(self).__name__} {SAME} {self._first} {parts}")

    def search(self, queries: Scores, k: int, column: Column = "key") -> tuple[Scores, Rows]:
        """The k' = min(k, N) best rows of all banks, as `Bank.search`; equal scores come in row order."""
        other = () if column == "key" else (column,)  # which a bank of somebody's own may not know
        found = [bank.search(queries, k, *other) for bank in self.banks]
        scores = np.concatenate([part for part, _ in found], axis=1)
        rows = np.concatenate(
            [np.where(r < 0, -1, r + start) for (_, r), start in zip(found, self.starts, strict=False)],
            axis=1,
        )
        scores, rows = best_first(scores, rows)
        return scores[:, :k], rows[:, :k]

    def row(self, i: int) -> dict[str, Any]:
        """Row i as plain values, as `Bank.row`."""
        if not -len(self) <= i < len(self):
            raise IndexError(f"row {i} of banks of {len(self)} pairs")
        i %= len(self)
        which = int(np.searchsorted(self.starts, i, side="right")) - 1
        return self.banks[which].row(i - int(self.starts[which]))

    def check_models(self, identity: dict[str, Any]) -> None:
        """Raise BankError unless the banks were built with the models of `identity`."""
        for bank in self.banks:
            bank.check_models(identity)


class GrownBank(LayeredBank):
    """A bank and layers grown for certain words, or such layers alone.

    A grown word has few references, far fewer than the k that are taken of a bank of millions. So where a row
    of a layer is among the keys nearest to a query (within `SAME` of the best, and `NEAR` it), only these
    nearest keys answer it. All other queries are answered as by a `LayeredBank`.
    """

    def __init__(self, base: Bank | None, *layers: Bank) -> None:
        """`base` is None where there is nothing but layers."""
        super().__init__(layers if base is None else [base, *layers])
        self._first = 0 if base is None else len(base)

    def search(self, queries: Scores, k: int, column: Column = "key") -> tuple[Scores, Rows]:
        """As `LayeredBank.search`; the places left over by a grown word hold score -inf and row -1."""
        scores, rows = super().search(queries, k, column)
        if scores.size == 0 or column != "key":
            return scores, rows
        near = scores >= scores[:, :1] - SAME
        grown = (near & (scores >= NEAR) & (rows >= self._first)).any(axis=1, keepdims=True)
        answers = near | ~grown
        return np.where(answers, scores, np.float32(-np.inf)), np.where(answers, rows, -1)


class StackedRows:
    """Arrays of one width under one another, without a copy; read by arrays of row numbers."""

    def __init__(self, parts: Sequence[npt.NDArray[np.float16]]) -> None:
        self._parts = parts
        self._starts = np.cumsum([0] + [len(part) for part in parts])
        self.shape = (int(self._starts[-1]), parts[0].shape[1])
        """(N, D)."""

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> npt.NDArray[np.float16]:
        """`rows` is a row number, an array of them or a slice; IndexError beyond the last row."""
        if isinstance(rows, slice):
            rows = np.arange(*rows.indices(len(self)))
        rows = np.asarray(rows, np.int64)
        if rows.size and not (-len(self) <= rows.min() and rows.max() < len(self)):
            raise IndexError(f"row beyond the {len(self)} there are")
        rows = rows % max(len(self), 1)
        out = np.empty((*rows.shape, self.shape[1]), np.float16)
        of = np.searchsorted(self._starts, rows, side="right") - 1
        for i, part in enumerate(self._parts):
            here = of == i
            if np.any(here):
                out[here] = take(part, rows[here] - self._starts[i])
        return out
