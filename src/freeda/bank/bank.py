"""An opened bank: its arrays memory-mapped, its rows on demand, its nearest keys searched."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args
from warnings import warn

import numpy as np
import numpy.typing as npt

from ..errors import BankError, FreedaWarning, InputError
from ..files import cache_folder
from ..identity import difference, other_commits
from . import format as files
from .arrays import Nouns, open_array, take
from .cache import Cache
from .exact import Column, FlatIndex, Rows, Scores
from .format import ShardEntry
from .index import ApproximateIndex
from .manifest import read_manifest

Kind = Literal["exact", "approximate"]
OnIndex = Callable[[str, int, int], None]
LARGE = 100_000
"""Pairs from which an approximate index is worth its making, and class prototypes are worth keeping: a
smaller bank is searched exactly in some tenths of a second."""


class Bank:
    """A bank directory, opened with `Bank.open`. Nothing in it is ever changed by reading.

    `len(bank)` is N, the number of its pairs; `path` its directory; `meta` the content of bank.json.
    Arrays and nouns are read when first asked for, and raise BankError where their files are damaged.
    """

    def __init__(
        self,
        path: Path,
        meta: dict[str, Any],
        shards: list[ShardEntry],
        index: Kind = "exact",
        on_index: OnIndex | None = None,
    ) -> None:
        self.path, self.meta = path, meta
        self.kind: Kind = index
        """How it is searched, as it was asked for; see `open`."""
        self._shards, self._on_index = shards, on_index
        self._starts = np.cumsum([0] + [s.pairs for s in shards])

    @classmethod
    def open(cls, path: str | Path, index: Kind = "exact", on_index: OnIndex | None = None) -> Bank:
        """Open a bank directory and check that it is whole.

        `index` says how it is searched: "exact", or "approximate" (see `ApproximateIndex`), which is much
        faster from some hundred thousand pairs on. The first approximate search of a bank makes its index,
        in minutes for millions of pairs, and tells `on_index(step, rows, in_all)` how far it is; a bank of
        less than `LARGE` pairs is searched exactly all the same.

        Raises BankError, one line, when the directory or its bank.json is missing (half-written), when a
        shard is missing, cut short or has another number of rows than bank.json says; InputError
        for another `index`.
        """
        if index not in get_args(Kind):
            raise InputError(f"index is {index!r}: it must be one of {', '.join(get_args(Kind))}")
        meta, shards = read_manifest(Path(path))
        return cls(Path(path), meta, shards, index, on_index)

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy, or another process, opens it anew."""
        return Bank.open, (self.path, self.kind)

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __repr__(self) -> str:
        return f"Bank({str(self.path)!r}: {len(self)} pairs from {self.meta['captions']} captions)"

    @cached_property
    def keys(self) -> npt.NDArray[np.float16]:
        """(N, dk) float16 textual keys, L2-normalised; read-only, memory-mapped if the arrays are on disk."""
        return open_array(self.path, "key", self._shards, int(self.meta["dimensions"]["key"]))

    @cached_property
    def prototypes(self) -> npt.NDArray[np.float16]:
        """(N, dp) float16 visual prototypes, un-normalised; read-only; memory-mapped as the keys are."""
        return open_array(self.path, "prototype", self._shards, int(self.meta["dimensions"]["prototype"]))

    @cached_property
    def nouns(self) -> Nouns:
        """N strings, the noun of every row."""
        return Nouns(files.read_strings(self.path / shard.file, "noun") for shard in self._shards)

    @cached_property
    def named(self) -> bool:
        """Whether its rows' nouns are words. A release may have been imported with nothing to tell them but
        its files' names, one a row."""
        about = {key: value for key, value in self.meta.items() if key != "shards"}
        if "imported" not in str(about):  # neither this bank nor one that was merged into it
            return True
        shards = (files.read_first(self.path / shard.file, "noun", "caption_id") for shard in self._shards)
        return not any(rows and all(noun == name for noun, name in rows) for rows in shards)

    @cached_property
    def real(self) -> npt.NDArray[np.int64]:
        """(n,) ascending: the rows that are references from pictures (`freeda bank add-images`)."""
        if "references" not in self.meta and "merged" not in self.meta:
            return np.empty(0, np.int64)
        infos = [files.read_info(self.path / shard.file) for shard in self._shards]
        real = [info.settings.get("source") == "images" for info in infos]
        return np.flatnonzero(np.repeat(real, [info.pairs for info in infos]))

    @cached_property
    def identity(self) -> str:
        """A hex digest of what the bank holds, made of its shards' own; another order is another bank."""
        shards = [[s.pairs, s.sha256] for s in self._shards]
        told = json.dumps([files.VERSION, self.meta["dimensions"], shards], sort_keys=True)
        return hashlib.sha256(told.encode()).hexdigest()

    @property
    def cache(self) -> Cache | None:
        """Where class prototypes of this bank are kept for the next time; None for a small bank."""
        if len(self) < LARGE:
            return None
        return Cache(cache_folder() / "prototypes", f"{self.identity} {self.kind}")

    @cached_property
    def regions(self) -> Bank | None:
        """Its bank of region values: a row's key is the region's value, its prototype the dense encoder's
        direction by which it is found (`search(queries, k, "prototype")`). None where it has none.

        Raises BankError where that is half-written, damaged, or made with other models.
        """
        place = self.path / files.REGIONS
        if not place.exists():
            return None
        found = Bank.open(place, self.kind, self._on_index)
        found.check_models(self.meta["models"])
        return found

    @cached_property
    def _indices(self) -> dict[Column, FlatIndex | ApproximateIndex]:
        return {}

    def _index(self, column: Column) -> FlatIndex | ApproximateIndex:
        if column not in self._indices:
            rows, cosine = (self.keys, False) if column == "key" else (self.prototypes, True)
            if self.kind == "exact" or len(self) < LARGE:
                self._indices[column] = FlatIndex(rows, cosine)
            else:
                found = ApproximateIndex.open(self.path, self.identity, rows if cosine else None)
                self._indices[column] = found or ApproximateIndex.build(
                    rows, self.path, self.identity, on_done=self._on_index, column=column
                )
        return self._indices[column]

    def search(self, queries: Scores, k: int, column: Column = "key") -> tuple[Scores, Rows]:
        """The k' = min(k, N) keys of highest inner product with each query; most of them where `open` was
        asked for an approximate index. By the column "prototype": those of highest cosine.

        `queries` is (Q, dk or dp) float32, L2-normalised. Returns scores (Q, k') float32, descending, and
        rows (Q, k') int64. Raises InputError for another width, NaN or k < 1.
        """
        return self._index(column).search(queries, k)

    def row(self, i: int) -> dict[str, Any]:
        """Row i (from 0) as plain values: the fields of `Pair`, key (dk,) and prototype (dp,) in float16.

        "image" is the JPEG of the caption's picture (stored once, with its first noun), "mask" a one-bit PNG
        of the noun's place in it; both None where pictures were not kept. Raises IndexError for no such row.
        """
        if not -len(self) <= i < len(self):
            raise IndexError(f"row {i} of a bank of {len(self)} pairs")
        i %= len(self)
        shard = int(np.searchsorted(self._starts, i, side="right")) - 1
        path, local = self.path / self._shards[shard].file, i - int(self._starts[shard])
        found = files.read_row(path, local)
        for name in ("key", "prototype"):
            found[name] = np.asarray(found[name], np.float16)
        found["spans"] = tuple((int(a), int(b)) for a, b in found["spans"])
        if found["image"] is None and found["mask"] is not None:
            _, captions = files.read_strings(path, "caption_id")
            others = np.flatnonzero(captions[:local] != captions[local])
            first = int(others[-1]) + 1 if len(others) else 0
            found["image"] = files.read_row(path, first)["image"]
        return found

    def check_models(self, identity: dict[str, Any]) -> None:
        """Raise BankError unless the bank was built with the models of `identity` (`model_identity`).

        Another commit of the same models is warned of: most change a README, some change the weights.
        """
        if told := difference(self.meta["models"], identity):
            preset = self.meta.get("preset")
            raise BankError(f"{self.path}: built with {told}: load preset '{preset}' or another bank")
        if other := other_commits(self.meta["models"], identity):
            warn(f"{self.path}: made with {other}: its rows may not fit", FreedaWarning, stacklevel=2)

    def only(self, nouns: Iterable[str]) -> Bank:
        """The rows of these nouns alone, read as a bank of their own: in memory, numbered from 0."""
        return _Part(self, self.nouns.rows_of(nouns))


class _Part(Bank):
    """Some rows of a bank, which stay where they are on disk."""

    def __init__(self, whole: Bank, rows: npt.NDArray[np.int64]) -> None:
        super().__init__(whole.path, whole.meta, whole._shards)
        self._whole, self._rows = whole, rows
        self.keys, self.prototypes = take(whole.keys, rows), take(whole.prototypes, rows)
        different, which = whole.nouns.part
        kept, which = np.unique(which[rows], return_inverse=True)
        self.nouns = Nouns([([different[i] for i in kept], which)])
        self.named, self.real = whole.named, np.flatnonzero(np.isin(rows, whole.real))
        self.regions = None  # which are of whole pictures
        self.identity = hashlib.sha256(f"{whole.identity} {rows.tolist()}".encode()).hexdigest()

    def __len__(self) -> int:
        return len(self._rows)

    def row(self, i: int) -> dict[str, Any]:
        return self._whole.row(int(self._rows[i]))
