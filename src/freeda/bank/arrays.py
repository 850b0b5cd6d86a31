"""Columns of all shards: keys and prototypes memory-mapped, a copy that can always be remade, and nouns."""

from __future__ import annotations

import mmap
import os
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import repeat
from pathlib import Path
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from ..errors import BankError, InputError
from ..files import atomic_path
from .format import ShardEntry, read_vectors

FILES = {"key": "keys.npy", "prototype": "prototypes.npy"}
Part = tuple[Sequence[str], npt.NDArray[np.integer[Any]]]
_AT_ONCE = 1 << 16


def open_array(path: Path, name: str, shards: Sequence[ShardEntry], dim: int) -> npt.NDArray[np.float16]:
    """The "key" or "prototype" array of a bank, (N, dim) float16, memory-mapped read-only.

    A missing, damaged or wrongly shaped file is rebuilt from the shards, in memory only where the
    directory cannot be written to. Where a writer has appended rows since bank.json was read, the array is
    longer, and its beginning is what is asked for.
    """
    shape = (sum(s.pairs for s in shards), dim)
    if not shape[0]:
        return np.empty(shape, np.float16)
    found = load_array(path / FILES[name], shape, longer=True)
    if found is None:
        with suppress(InputError):
            _write(path, name, shards, dim)
        found = load_array(path / FILES[name], shape, longer=True)
    if found is None:
        found = np.concatenate([read_vectors(path / s.file, name, dim) for s in shards if s.pairs])
        found.flags.writeable = False
    return found


def write_arrays(path: Path, shards: Sequence[ShardEntry], widths: Mapping[str, int]) -> None:
    """Write both arrays anew from the shards, one shard in memory at a time."""
    for name, dim in widths.items() if any(shard.pairs for shard in shards) else ():
        _write(path, name, shards, dim)


def remove_arrays(path: Path) -> None:
    """Remove both arrays, if they are there."""
    for file in FILES.values():
        (path / file).unlink(missing_ok=True)


def _write(path: Path, name: str, shards: Sequence[ShardEntry], dim: int) -> None:
    header = {"descr": "<f2", "fortran_order": False, "shape": (sum(s.pairs for s in shards), dim)}
    with atomic_path(path / FILES[name]) as temp, open(temp, "wb") as out:
        np.lib.format.write_array_header_1_0(out, header)
        for shard in shards:
            if shard.pairs:
                out.write(read_vectors(path / shard.file, name, dim).astype("<f2").tobytes())


def load_array(file: Path, shape: tuple[int, int], longer: bool = False) -> npt.NDArray[np.float16] | None:
    """An array of a bank, memory-mapped; None where it is missing, damaged or of another shape.

    With `longer` the file may hold more rows, and the first are returned.
    """
    try:
        found = _mapped(file)
    except (OSError, ValueError, EOFError):
        return None
    if found.shape[1:] != shape[1:]:
        return None
    if len(found) == shape[0]:
        return found
    return found[: shape[0]] if longer and len(found) > shape[0] else None


class _Stored(np.memmap):
    """A memory-mapped array that knows the file behind it, whatever has taken that file's name since."""

    handle = -1
    """Of the open file; closed with the last array of it."""
    origin = 0
    """Address at which the file's first byte lies."""

    def __array_finalize__(self, obj: Any) -> None:
        super().__array_finalize__(obj)
        if getattr(self, "_mmap", None) is not None:  # not so for what was computed from one
            self.handle, self.origin = getattr(obj, "handle", -1), getattr(obj, "origin", 0)


def _mapped(file: Path) -> npt.NDArray[np.float16]:
    """An .npy file of float16 rows, memory-mapped. Raises OSError, ValueError for anything else."""
    with open(file, "rb") as stream:
        if np.lib.format.read_magic(stream) != (1, 0):
            raise ValueError("not written as a bank's arrays are")
        shape, by_columns, kind = np.lib.format.read_array_header_1_0(stream)
        if by_columns or kind != np.float16 or len(shape) != 2 or min(shape) < 1:
            raise ValueError("not an array of a bank")
        start = stream.tell()
        found = _Stored(stream, kind, "r", start, shape)
        found.handle, found.origin = os.dup(stream.fileno()), found.ctypes.data - start
    weakref.finalize(found._mmap, os.close, found.handle)  # type: ignore[attr-defined]
    return found


def take(array: npt.NDArray[np.float16], rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float16]:
    """Rows (n,), numbered from 0, of an array (N, D) as a new (n, D) array.

    Those of a memory-mapped array are read from its file: to look at them in the mapping would make some
    64 KB resident for each, and take thrice as long. Raises IndexError for a row that is not there.
    """
    handle = getattr(array, "handle", -1)
    if handle < 0 or not hasattr(os, "pread") or not array.flags.c_contiguous or not len(rows):
        found = np.asarray(array[rows])
        release(array)
        return found
    if rows.min() < 0 or rows.max() >= len(array):
        raise IndexError(f"row beyond the {len(array)} there are")
    size = array.shape[1] * array.itemsize
    starts = rows * size + (array.ctypes.data - array.origin)  # type: ignore[attr-defined]
    parts = map(os.pread, repeat(handle), repeat(size), starts.tolist())
    data = bytearray().join(parts)
    if len(data) != len(rows) * size:
        raise BankError("a bank's array was cut short while it was read: open the bank again")
    return np.frombuffer(data, array.dtype).reshape(len(rows), array.shape[1])


def release(array: npt.NDArray[np.generic]) -> None:
    """Let go of what reading a memory-mapped array has made resident; any other array stays as it is.

    The pages stay in the system's cache, whence the next look at them is quick. Without this a whole bank
    would count as this process's memory once it was searched.
    """
    pages: object = array
    while isinstance(pages, np.ndarray):
        pages = pages.base
    if isinstance(pages, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        pages.madvise(mmap.MADV_DONTNEED)


class Nouns(Sequence[str]):
    """N strings, one a row, a few bytes each: of millions only a few thousand differ."""

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
