"""The nouns of a bank's rows, a few bytes a row: of millions only a few thousand differ."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, overload

import numpy as np
import numpy.typing as npt

Part = tuple[Sequence[str], npt.NDArray[np.integer[Any]]]
_AT_ONCE = 1 << 16


class Nouns(Sequence[str]):
    """N strings, one a row; equal ones are one string in memory."""

    def __init__(self, parts: Iterable[Part]) -> None:
        """`parts` follow one another: different strings, and which of them each row has, (n,)."""
        known: dict[str, int] = {}
        rows = [np.empty(0, np.int32)]
        for different, which in parts:
            rows.append(np.array([known.setdefault(one, len(known)) for one in different], np.int32)[which])
        self.different = tuple(known)
        """Each of them once."""
        self._which = np.concatenate(rows)

    @property
    def part(self) -> Part:
        """All of them as a part of more."""
        return self.different, self._which

    def rows_of(self, nouns: Iterable[str]) -> npt.NDArray[np.int64]:
        """The rows that have one of `nouns`, ascending."""
        wanted = set(nouns)
        numbers = [i for i, noun in enumerate(self.different) if noun in wanted]
        return np.flatnonzero(np.isin(self._which, numbers))

    def __len__(self) -> int:
        return len(self._which)

    @overload
    def __getitem__(self, row: int) -> str: ...
    @overload
    def __getitem__(self, row: slice) -> list[str]: ...
    def __getitem__(self, row: int | slice) -> str | list[str]:
        if isinstance(row, slice):
            return [self.different[i] for i in self._which[row].tolist()]
        return self.different[self._which[row]]

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), _AT_ONCE):
            yield from self[start : start + _AT_ONCE]

    def __eq__(self, other: object) -> bool:
        """As a list does; also of a list of the same strings."""
        return isinstance(other, (list, Nouns)) and list(self) == list(other)
