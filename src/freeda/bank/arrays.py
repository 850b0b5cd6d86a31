"""Keys and prototypes as memory-mapped arrays: a copy of the shards' columns that can always be remade."""

from __future__ import annotations

import mmap
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from ..files import atomic_path
from .format import read_vectors

FILES = {"key": "keys.npy", "prototype": "prototypes.npy"}


class Shard(Protocol):
    """What is needed of a shard: where it is and how many rows it has."""

    @property
    def file(self) -> str: ...
    @property
    def pairs(self) -> int: ...


def open_array(path: Path, name: str, shards: Sequence[Shard], dim: int) -> npt.NDArray[np.float16]:
    """The "key" or "prototype" array of a bank, (N, dim) float16, memory-mapped read-only.

    A missing, damaged or wrongly shaped file is rebuilt from the shards, in memory only where the
    directory cannot be written to.
    """
    shape = (sum(s.pairs for s in shards), dim)
    found = load_array(path / FILES[name], shape)
    if found is None:
        with suppress(InputError):
            _write(path, name, shards, dim)
        found = load_array(path / FILES[name], shape)
    if found is None:
        found = np.concatenate([read_vectors(path / s.file, name, dim) for s in shards if s.pairs])
        found.flags.writeable = False
    return found


def write_arrays(path: Path, shards: Sequence[Shard], widths: Mapping[str, int]) -> None:
    """Write both arrays anew from the shards, one shard in memory at a time."""
    for name, dim in widths.items():
        _write(path, name, shards, dim)


def remove_arrays(path: Path) -> None:
    """Remove both arrays, if they are there."""
    for file in FILES.values():
        (path / file).unlink(missing_ok=True)


def _write(path: Path, name: str, shards: Sequence[Shard], dim: int) -> None:
    header = {"descr": "<f2", "fortran_order": False, "shape": (sum(s.pairs for s in shards), dim)}
    with atomic_path(path / FILES[name]) as temp, open(temp, "wb") as out:
        np.lib.format.write_array_header_1_0(out, header)
        for shard in shards:
            if shard.pairs:
                out.write(read_vectors(path / shard.file, name, dim).astype("<f2").tobytes())


def load_array(file: Path, shape: tuple[int, int]) -> npt.NDArray[np.float16] | None:
    """An array of a bank, memory-mapped; None where it is missing, damaged or of another shape."""
    try:
        found = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return found if found.shape == shape and found.dtype == np.float16 else None


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
