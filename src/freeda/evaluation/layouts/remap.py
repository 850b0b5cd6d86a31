"""Values of mask files to labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from ..metric import IGNORE as IGNORE

MOST_LABELS = 254
"""As many labels, a background included, as one data set can have beside `IGNORE`."""

_UNKNOWN = -1


class Remap:
    """Which label each value of a mask file stands for."""

    def __init__(self, labels: Mapping[int, int], expected: str, show: Callable[[int], str] = str) -> None:
        """`labels`: value in the file -> label or `IGNORE`; any other value is an error.

        `expected` ends the message about such a value ("0 to 20, or 255 for pixels that do not count");
        `show` writes a value for it.
        """
        self.labels = dict(labels)
        self.expected = expected
        self.show = show
        self._values = np.array(sorted(self.labels), dtype=np.int64)
        self._labels = np.array([self.labels[v] for v in self._values.tolist()], dtype=np.int16)
        # Colours are numbers up to 2^24: only the others get a table.
        small = len(self._values) > 0 and self._values[-1] < 1 << 16
        self._table: NDArray[np.int16] | None = None
        if small:
            self._table = np.full(int(self._values[-1]) + 1, _UNKNOWN, dtype=np.int16)
            self._table[self._values] = self._labels

    def __call__(self, values: NDArray[np.int64], path: Path) -> NDArray[np.uint8]:
        """(H, W) values of the mask file `path` as (H, W) labels. InputError for an unknown value."""
        found = self._by_table(values) if self._table is not None else self._by_search(values)
        unknown = found == _UNKNOWN
        if unknown.any():
            value = int(values[unknown].min())
            raise InputError(f"{path}: holds {self.show(value)}, expected {self.expected}")
        return found.astype(np.uint8)

    def _by_table(self, values: NDArray[np.int64]) -> NDArray[np.int16]:
        assert self._table is not None
        inside = (values >= 0) & (values < len(self._table))
        if inside.all():
            return self._table[values]
        return np.where(inside, self._table[np.where(inside, values, 0)], np.int16(_UNKNOWN))

    def _by_search(self, values: NDArray[np.int64]) -> NDArray[np.int16]:
        at = np.searchsorted(self._values, values).clip(max=len(self._values) - 1)
        return np.where(self._values[at] == values, self._labels[at], np.int16(_UNKNOWN))


def in_order(values: range | list[int], more: Mapping[int, int], expected: str) -> Remap:
    """`values` stand for the labels 0, 1, 2, ... in their order; `more` says what other values stand for."""
    return Remap({**{value: i for i, value in enumerate(values)}, **more}, expected)
