"""Small .npy files by the million: one vector each, its header checked before its numbers are read."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import InputError

_MOST = 1 << 20
"""Bytes of a file, at most: a vector of 65,536 numbers takes half as many."""
_KINDS = (np.float16, np.float32, np.float64)


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
        kind, start = self._header(path, data)
        if len(data) - start != self.width * kind.itemsize:
            raise InputError(
                f"{path}: damaged: {self.width} numbers of {kind.itemsize} bytes do not make its "
                f"{len(data) - start}"
            )
        return np.frombuffer(data, kind, offset=start)

    def _header(self, path: Path, data: bytes) -> tuple[np.dtype[Any], int]:
        # Magic and version take 8 bytes, the header's length 2 more (version 1) or 4 (later ones).
        size = 2 if data[6:7] == b"\x01" else 4
        start = 8 + size + int.from_bytes(data[8 : 8 + size], "little")
        if data[:start] in self._known:
            return self._known[data[:start]], start
        stream = io.BytesIO(data)
        try:
            version = np.lib.format.read_magic(stream)
            read = (
                np.lib.format.read_array_header_1_0
                if version[0] == 1
                else np.lib.format.read_array_header_2_0
            )
            shape, _, kind = read(stream)
        except (ValueError, EOFError, SyntaxError, TypeError, KeyError) as error:
            raise InputError(f"{path}: not a whole .npy file") from error
        if (
            kind.newbyteorder("=") not in _KINDS
            or len(shape) not in (1, 2)
            or (len(shape) == 2 and shape[0] != 1)
        ):
            raise InputError(f"{path}: holds {shape} of {kind}: a prototype is (D,) or (1, D) of floats")
        if shape[-1] < 1 or shape[-1] > _MOST:
            raise InputError(f"{path}: holds a vector of {shape[-1]:,} numbers")
        if self.width and shape[-1] != self.width:
            raise InputError(f"{path}: {shape[-1]} numbers, but the files before it hold {self.width}")
        self.width = shape[-1]
        self._known[data[:start]] = kind
        return kind, start


def write_npy(path: Path, row: npt.NDArray[np.float32]) -> None:
    """Write a vector (D,) as `numpy.save` does."""
    with open(path, "wb") as file:
        np.lib.format.write_array(file, row, allow_pickle=False)
