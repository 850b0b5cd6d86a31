"""Class prototypes that a bank gave before, kept in the cache folder under a digest of all they depend on."""

from __future__ import annotations

import hashlib
import io
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from ..files import atomic_path

Prototypes = npt.NDArray[np.float32]

LIMIT = 512 * 2**20
"""Bytes that the folder may hold; what was not used for longest goes first."""
_VERSION = 1  # of how prototypes are made and kept: raised when either changes
_DIGEST = 32


class Cache:
    """A folder of small files, one a text embedding: a new list of names pays only for what is new in it.

    A file is the SHA-256 of an .npy file, then that file; one that does not fit its digest counts as missing.
    Many processes may share the folder. Where it cannot be written to, nothing is kept.
    """

    def __init__(self, folder: Path, source: str, limit: int = LIMIT) -> None:
        """`source` names where the prototypes come from, by content: a bank and how it is searched."""
        self.folder, self._source, self._limit = folder, source, limit
        self._size: int | None = None

    def key(self, embedding: npt.NDArray[np.float32], recipe: str) -> str:
        """The name of what `recipe` (every option it depends on) makes of a text embedding (K,)."""
        row = np.ascontiguousarray(embedding, "<f4")
        head = f"{_VERSION}\n{self._source}\n{recipe}\n{row.shape}\n"
        return hashlib.sha256(head.encode() + row.tobytes()).hexdigest()

    def get(self, key: str) -> Prototypes | None:
        """(P, D) float32 as it was put there, or None."""
        path = self._path(key)
        try:
            data = path.read_bytes()
            if hashlib.sha256(data[_DIGEST:]).digest() != data[:_DIGEST]:
                return None
            found: Prototypes = np.load(io.BytesIO(data[_DIGEST:]), allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return None
        if found.dtype != np.float32 or found.ndim != 2:
            return None
        with suppress(OSError):
            os.utime(path)  # used just now
        return found

    def put(self, key: str, prototypes: Prototypes) -> None:
        """Keep (P, D) float32 under a key, where that is possible."""
        buffer = io.BytesIO()
        np.save(buffer, prototypes, allow_pickle=False)
        content = buffer.getvalue()
        data = hashlib.sha256(content).digest() + content
        if self._size is None:
            self._size = sum(size for _, size, _ in self._files())
        with suppress(InputError), atomic_path(self._path(key), flush=False) as temp:
            temp.write_bytes(data)
        self._size += len(data)
        if self._size > self._limit:
            self._shrink()

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.proto"

    def _files(self) -> list[tuple[float, int, Path]]:
        found = []
        for path in self.folder.glob("*/*.proto"):
            with suppress(OSError):  # another process may have removed it
                stat = path.stat()
                found.append((stat.st_mtime, stat.st_size, path))
        return found

    def _shrink(self) -> None:
        """Remove the files not used for longest, to eight tenths of the limit: not again at the next file."""
        files: list[Any] = sorted(self._files())
        left = sum(size for _, size, _ in files)
        for _, size, path in files:
            if left <= 0.8 * self._limit:
                break
            with suppress(OSError):
                path.unlink()
                left -= size
        self._size = left
