"""The vectors that a FAISS index file holds, read without FAISS: HNSW over flat storage, or flat.

FAISS believes what a file says of its sizes and loads a graph whole. Here every size is held against the
file's length before anything is read, and the vectors are memory-mapped where they lie.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from ..errors import InputError

_FLAT = {b"IxFI", b"IxF2", b"IxFl"}
_GRAPH = b"IHNf"
_HEADER = struct.Struct("<iqqqBi")  # width, count, two unused, trained, metric
_INNER_PRODUCT, _L2 = 0, 1
_GRAPH_VECTORS = (8, 4, 4, 8, 4)
"""Bytes an item of an HNSW graph's arrays: level odds, neighbours by level, levels, offsets, neighbours."""
_GRAPH_NUMBERS = 5 * 4
_MOST_WIDE = 1 << 16


def index_vectors(path: Path) -> npt.NDArray[np.float32]:
    """The vectors (N, d) float32 of an index file, read-only and memory-mapped, in the order they were added.

    Read are IndexFlatIP, IndexFlatL2 and IndexHNSWFlat, as FAISS writes them on little-endian machines. Where
    the metric is L2 the vectors must be of unit length, so that the inner product ranks them alike. Raises
    InputError for another kind of index, sizes that the file does not have, and other metrics.
    """
    try:
        with open(path, "rb") as file:
            end = path.stat().st_size
            kind = _take(path, file, 4)
            if kind == _GRAPH:
                width, count, metric = _header(path, file)
                for item in _GRAPH_VECTORS:
                    _skip(path, file, end, _size(path, file) * item)
                _skip(path, file, end, _GRAPH_NUMBERS)
                kind = _take(path, file, 4)
                if kind in _FLAT and (width, count, metric) != (inner := _header(path, file)):
                    raise InputError(f"{path}: damaged index: its graph and its vectors differ ({inner})")
            elif kind in _FLAT:
                width, count, metric = _header(path, file)
            if kind not in _FLAT:
                raise InputError(
                    f"{path}: not an index that can be read: it begins with {kind!r}; flat and HNSW indices "
                    "of FAISS can, whose vectors are stored as they are"
                )
            size, start = _size(path, file), file.tell()
    except OSError as error:
        raise InputError(f"{path}: this index cannot be read ({error.strerror})") from error
    if not (0 < width <= _MOST_WIDE and count >= 0) or size != width * count:
        raise InputError(
            f"{path}: damaged index: {count:,} vectors of {width:,} do not make {size:,} numbers"
        )
    if start + size * 4 != end:
        raise InputError(
            f"{path}: damaged index: {count:,} vectors of {width:,} need {start + size * 4:,} bytes, the "
            f"file has {end:,}"
        )
    if metric not in (_INNER_PRODUCT, _L2):
        raise InputError(f"{path}: its metric is number {metric}: only inner product and L2 can be read")
    if count == 0:
        return np.zeros((0, width), np.float32)
    found: Any = np.memmap(path, "<f4", "r", offset=start, shape=(count, width))
    if metric == _L2:
        _refuse_unequal(path, found)
    return found


def _refuse_unequal(path: Path, vectors: npt.NDArray[np.float32]) -> None:
    for start in range(0, len(vectors), 8192):
        length = np.linalg.norm(vectors[start : start + 8192], axis=1)
        if (np.abs(length[np.isfinite(length)] - 1) > 1e-3).any():
            raise InputError(
                f"{path}: an L2 index of vectors that are not of unit length: a bank is searched by inner "
                "product and would answer otherwise"
            )


def _header(path: Path, file: BinaryIO) -> tuple[int, int, int]:
    """Width, count and metric."""
    width, count, _, _, _, metric = _HEADER.unpack(_take(path, file, _HEADER.size))
    return width, count, metric


def _size(path: Path, file: BinaryIO) -> int:
    size: int = struct.unpack("<Q", _take(path, file, 8))[0]
    return size


def _take(path: Path, file: BinaryIO, n: int) -> bytes:
    data = file.read(n)
    if len(data) != n:
        raise InputError(f"{path}: damaged index: it ends at byte {file.tell():,}")
    return data


def _skip(path: Path, file: BinaryIO, end: int, n: int) -> None:
    if n > end - file.tell():
        raise InputError(f"{path}: damaged index: its graph says {n:,} bytes, more than the file has left")
    file.seek(n, 1)
