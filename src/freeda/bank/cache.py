"""What a bank gave for words before, kept in the cache folder under a digest of all that it depends on."""

from __future__ import annotations

import hashlib
import io
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from ..files import atomic_path

Prototypes = npt.NDArray[np.float32]

LIMIT = 512 * 2**20
"""Bytes that the folder may hold; what was not used for longest goes first."""
_VERSION = 3  # of how answers are made and kept: raised when either changes
_DIGEST = 32


class Answer(NamedTuple):
    """What a bank gives for one text embedding."""

    prototypes: Prototypes
    """(P, D) float32."""
    nouns: tuple[str, ...] | None = None
    """The different nouns of the rows that they are made of, most frequent first; None: rows have none."""


class Cache:
    """A folder of small files, one a text embedding: a new list of names pays only for what is new in it.

    A file is the SHA-256 of all that follows: an .npy file of the prototypes, the nouns as JSON; one that
    does not fit its digest counts as missing. Many processes may share the folder. Where it cannot be
    written to, nothing is kept.
    """

    def __init__(self, folder: Path, source: str, limit: int = LIMIT) -> None:
        """`source` names where the prototypes come from, by content: a bank and how it is searched."""
        self.folder, self._source, self._limit = folder, source, limit
        self._size = limit  # so that the first file has the folder looked at

    def key(self, embedding: npt.NDArray[np.float32], recipe: str) -> str:
        """The name of what `recipe` (every option it depends on) makes of a text embedding (K,)."""
        row = np.ascontiguousarray(embedding, "<f4")
        head = f"{_VERSION}\n{self._source}\n{recipe}\n{row.shape}\n"
        return hashlib.sha256(head.encode() + row.tobytes()).hexdigest()

    def get(self, key: str) -> Answer | None:
        """An answer as it was put there, or None."""
        path = self._path(key)
        try:
            data = path.read_bytes()
            if hashlib.sha256(data[_DIGEST:]).digest() != data[:_DIGEST]:
                return None
            content = io.BytesIO(data[_DIGEST:])
            found: Prototypes = np.load(content, allow_pickle=False)
            nouns = json.loads(content.read())
        except (OSError, ValueError, EOFError):
            return None
        if found.dtype != np.float32 or found.ndim != 2:
            return None
        with suppress(OSError):
            os.utime(path)  # used just now
        return Answer(found, None if nouns is None else tuple(nouns))

    def put(self, key: str, answer: Answer) -> None:
        """Keep an answer under a key, where that is possible."""
        buffer = io.BytesIO()
        np.save(buffer, answer.prototypes, allow_pickle=False)
        buffer.write(json.dumps(answer.nouns).encode())
        content = buffer.getvalue()
        data = hashlib.sha256(content).digest() + content
        with suppress(InputError), atomic_path(self._path(key), flush=False) as temp:
            temp.write_bytes(data)
        self._size += len(data)
        if self._size > self._limit:
            self._size = self._shrunk()

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.proto"

    def _shrunk(self) -> int:
        """Bytes in the folder; over the limit, the files unused for longest go till 0.8 of it are left."""
        files: list[Any] = []
        for path in self.folder.glob("*/*.proto"):
            with suppress(OSError):  # another process may have removed it
                stat = path.stat()
                files.append((stat.st_mtime, stat.st_size, path))
        left = sum(size for _, size, _ in files)
        goal = left if left <= self._limit else 0.8 * self._limit
        for _, size, path in sorted(files):
            if left > goal:
                with suppress(OSError):
                    path.unlink()
                    left -= size
        return left
