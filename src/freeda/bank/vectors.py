"""Vectors in files that others made: small .npy files by the million, and FAISS indices read without FAISS.

Every size is held against the file's length before anything is read. FAISS believes what a file says of its
sizes and loads a graph whole; here vectors are memory-mapped where they lie, and graphs are never looked at.
"""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import InputError

_MOST = 1 << 20
"""Bytes of an .npy file, at most: a vector of 65,536 numbers takes half as many."""
_KINDS = (np.float16, np.float32, np.float64)
_FLAT, _GRAPH = (b"IxFI", b"IxF2", b"IxFl"), b"IHNf"
_HEADER = struct.Struct("<4siqqqBi")  # kind, width, count, two unused, trained, metric
_SIZE = struct.Struct("<Q")
_INNER_PRODUCT, _L2 = 0, 1


class NpyReader:
    """Reads vectors of one width; the first read settles it."""

    def __init__(self) -> None:
        self.width = 0
        """Numbers of a vector; 0 before the first."""
        self._known: dict[bytes, np.dtype[Any]] = {}  # headers seen, for they are nearly always the same

    def read(self, path: Path) -> npt.NDArray[Any]:
        """The vector (D,) of a file that holds (D,) or (1, D) float16, float32 or float64.

        Raises InputError for anything else, for another width than before, and for a file whose size is not
        what its header says.
        """
        try:
            with open(path, "rb") as file:
                data = file.read(_MOST + 1)
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror})") from error
        if len(data) > _MOST:
            raise InputError(f"{path}: larger than {_MOST:,} bytes: not one prototype")
        start = 10 + int.from_bytes(data[8:10], "little")  # of a header of version 1, as vectors have
        kind = self._known.get(data[:start])
        if kind is None:
            kind = self._known[data[:start]] = self._header(path, data)
        if len(data) - start != self.width * kind.itemsize:
            raise InputError(
                f"{path}: damaged: {self.width} numbers of {kind.itemsize} bytes do not make its "
                f"{len(data) - start}"
            )
        return np.frombuffer(data, kind, offset=start)

    def _header(self, path: Path, data: bytes) -> np.dtype[Any]:
        stream = io.BytesIO(data)
        try:
            if np.lib.format.read_magic(stream) != (1, 0):
                raise ValueError("another version")
            shape, _, kind = np.lib.format.read_array_header_1_0(stream)
        except (ValueError, EOFError, SyntaxError, TypeError, KeyError) as error:
            raise InputError(f"{path}: not a whole .npy file") from error
        if kind.newbyteorder("=") not in _KINDS or not shape or shape[:-1] not in ((), (1,)):
            raise InputError(f"{path}: holds {shape} of {kind}: a prototype is (D,) or (1, D) of floats")
        if not 0 < shape[-1] <= _MOST:
            raise InputError(f"{path}: holds a vector of {shape[-1]:,} numbers")
        if self.width not in (0, shape[-1]):
            raise InputError(f"{path}: {shape[-1]} numbers, but the files before it hold {self.width}")
        self.width = shape[-1]
        return kind


def index_vectors(path: Path) -> npt.NDArray[np.float32]:
    """The vectors (N, d) float32 of an index file, read-only and memory-mapped, in the order they were added.

    Read are IndexFlatIP, IndexFlatL2 and IndexHNSWFlat, as FAISS writes them on little-endian machines: the
    vectors come last, behind a header like the one that the file begins with. Where the metric is L2 they
    must be of unit length, so that the inner product ranks them alike. Raises InputError for another kind of
    index, vectors that do not end with the file, and other metrics.
    """
    try:
        with open(path, "rb") as file:
            end, first = path.stat().st_size, file.read(_HEADER.size)
            if first[:4] not in (*_FLAT, _GRAPH):
                raise InputError(
                    f"{path}: not an index that can be read: it begins with {first[:4]!r}; flat and HNSW "
                    "indices of FAISS can, whose vectors are stored as they are"
                )
            _, width, count, _, _, _, metric = _HEADER.unpack(first.ljust(_HEADER.size, b"\0"))
            start = end - 4 * width * count
            begin = start - _HEADER.size - _SIZE.size
            flat = b""
            if width > 0 and count >= 0 and (begin == 0 or (begin > 0 and first[:4] == _GRAPH)):
                file.seek(begin)
                flat = file.read(start - begin)
    except OSError as error:
        raise InputError(f"{path}: this index cannot be read ({error.strerror})") from error
    if flat[:4] not in _FLAT or flat[4:] != first[4:] + _SIZE.pack(width * count):
        raise InputError(
            f"{path}: damaged index: it does not end with {count:,} vectors of {width:,} numbers"
        )
    if metric not in (_INNER_PRODUCT, _L2):
        raise InputError(f"{path}: its metric is number {metric}: only inner product and L2 can be read")
    if count == 0:
        return np.zeros((0, width), np.float32)
    found: Any = np.memmap(path, "<f4", "r", offset=start, shape=(count, width))
    for at in range(0, count if metric == _L2 else 0, 8192):
        length = np.linalg.norm(found[at : at + 8192], axis=1)
        if (np.abs(length[np.isfinite(length)] - 1) > 1e-3).any():
            raise InputError(
                f"{path}: an L2 index of vectors that are not of unit length: a bank is searched by inner "
                "product and would answer otherwise"
            )
    return found
