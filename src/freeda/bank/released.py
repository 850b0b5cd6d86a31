"""The layout in which the authors released their bank: a .npy file a prototype and a FAISS index of all keys.

Row i of the index belongs to the i-th file in the order of sorted names. Nothing says which noun a row is of
but the file's own name, so `rows.parquet` (caption, noun, quality of every row) is written beside on export.
There are millions of files, so that an import that was stopped goes on with the shards that it has made.

Every size is held against a file's length before anything is read. FAISS believes what a file says of its
sizes and loads a graph whole; here vectors are memory-mapped where they lie, and graphs are never looked at.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import BankError, InputError, printable
from ..files import atomic_path, atomic_write_json, to_json
from .arrays import release
from .bank import Bank
from .format import (
    FORMAT,
    SCHEMA,
    VECTORS,
    VERSION,
    caption_digest,
    read_info,
    read_rows,
    shard_name,
    vectors,
    write_rows,
)
from .manifest import finish_bank, fresh_bank, made_with

PROTOTYPES, INDEX, ROWS, ABOUT = "prototypes", "keys.index", "rows.parquet", "about.json"
_PUBLISHED = "prototype_embeddings", "faiss_index/knn.index"  # in src/data of the authors' programs
_SHARD = 8192
_TOLD = pa.schema([field for field in SCHEMA if field.name not in (*VECTORS, "image", "mask")])
"""Columns of rows.parquet: what is known of a row beside its vectors."""
_MOST = 1 << 20
"""Bytes of an .npy file, at most: a vector of 65,536 numbers takes half as many."""
_FLAT, _GRAPH = (b"IxFI", b"IxF2", b"IxFl"), b"IHNf"
_HEADER = struct.Struct("<4siqqqBi")  # kind, width, count, two unused, trained, metric
_INNER_PRODUCT, _L2 = 0, 1
Told = Callable[[int, int], None] | None


@dataclass(frozen=True)
class Imported:
    """What became of a release's rows."""

    bank: Bank
    rows: int
    """Files and vectors that there were."""
    dropped: dict[str, int]
    """Reason -> rows: "not finite", "beyond float16" (finite, but larger than 65,504)."""


def import_release(
    folder: str | Path,
    out: str | Path,
    models: dict[str, Any] | None = None,
    *,
    index: str | Path | None = None,
    rows: str | Path | None = None,
    noun_pattern: str | None = None,
    preset: str | None = None,
    on_done: Told = None,
) -> Imported:
    """Make a bank of a folder of .npy files and a FAISS index.

    Stopped at any moment, the same call goes on with what lies beside `out`, hidden, and makes the bank of an
    unbroken run. A call with other arguments, names or another index begins anew.

    Args:
        folder: holds the .npy files, each (D,) or (1, D) float16, float32 or float64; or `data` of the
            authors (`prototype_embeddings`, `faiss_index/knn.index`) or a folder above it; or is what
            `export_release` wrote. The latter two say where the index is.
        models: {"clip": {"id", "revision"}, "dense": {...}}: what made the rows; nothing in them tells.
        index: see `index_vectors`.
        rows: a Parquet file of a bank's columns, those of the vectors aside, in the same order.
        noun_pattern: a regular expression with a group `noun`, and perhaps `caption` (its id), that fits
            every file's name without its suffix; underscores in a noun become blanks. Without it and `rows`
            a row's noun is its file's name.
        preset: its name, for `bank.json`.
        on_done: called with rows done and in all.

    Raises InputError for files that cannot be used, counts that differ and names that do not fit; BankError
    where `out` is there already, another run is making it, or nothing is left.
    """
    folder, about = Path(folder), dict[str, Any]()
    with _reading(folder):  # whose name may be too long
        published, exported = _published(folder), (folder / ABOUT).is_file()
    if published is not None:
        folder, index = published[0], published[1] if index is None else index
    elif exported:
        with _reading(folder / ABOUT, "damaged or unreadable"):
            about = made_with(json.loads((folder / ABOUT).read_text(encoding="utf-8")))
        models = about.get("models") if models is None else models
        preset = about.get("preset") if preset is None else preset
        index = folder / INDEX if index is None else index
        rows = folder / ROWS if rows is None and noun_pattern is None else rows
        folder = folder / PROTOTYPES
    if index is None:
        raise InputError(f"{folder}: name the FAISS index that holds its keys")
    if not isinstance(models, dict):
        raise InputError(f"{folder}: say which models made it: nothing in its files tells")
    index, rows = Path(index), None if rows is None else Path(rows)
    names, keys = _npy_names(folder), index_vectors(index)
    if len(names) != len(keys):
        raise InputError(
            f"{folder}: {len(names):,} .npy files, but {index} holds {len(keys):,} keys: they must be as many"
        )
    told = _read_told(rows, len(names)) if rows is not None else None
    pattern = None if noun_pattern is None else _pattern(noun_pattern)
    work = _work(folder, names, index, rows, [noun_pattern, preset, models, about])
    with fresh_bank(Path(out), work) as temp:
        reader = NpyReader()
        reader.read(folder / names[0])  # settles the width, also of what a stopped run has left to do
        parts = {temp / shard_name(i): names[i * _SHARD :][:_SHARD] for i in range(-(-len(names) // _SHARD))}
        left = [shard for shard, part in parts.items() if not _is_whole(shard, len(part))]
        done = len(names) - sum(len(parts[shard]) for shard in left)
        tell = on_done or (lambda *_: None)
        for shard in left:
            tell(done, len(names))
            part, start = parts[shard], int(shard.stem) * _SHARD
            prototypes = np.stack([reader.read(folder / name) for name in part])
            table = _said(part, pattern) if told is None else told.slice(start, len(part))
            kept, gone = _usable(table, np.array(keys[start : start + _SHARD]), prototypes)
            info = {
                "settings": {"preset": preset, "models": models, "source": "release"},
                "digest": caption_digest([]),
                "captions": len(set(table.column("caption_id").to_pylist())),
                "pictures": 0,
                "rejected": gone,
                "failed": [],
            }
            write_rows(shard, kept, info)
            done += len(part)
        tell(done, len(names))
        models = {**models, "clip_dim": keys.shape[1], "dense_dim": reader.width}
        more = {"preset": preset, "models": models, "imported": {"rows": len(names)}}
        finish_bank(temp, len(parts), {**about, **more})
    bank = Bank.open(out)
    return Imported(bank, len(names), bank.meta["rejected"])


def export_release(bank: str | Path, out: str | Path, kind: str = "flat", on_done: Told = None) -> Path:
    """Write a bank in the released layout into a new folder; needs the package faiss-cpu.

    prototypes/0000000.npy, ... (each (D,) float32), keys.index (`kind` "flat" or "hnsw": 32 neighbours, inner
    product), rows.parquet and about.json, with which `import_release` gives the same bank again, bit by bit.
    Kept pictures are left out. Raises InputError for another kind, BankError where `out` is there already.
    """
    if kind not in ("flat", "hnsw"):
        raise InputError(f"index is {kind!r}: it must be flat or hnsw")
    import faiss

    opened = Bank.open(bank)
    width = opened.keys.shape[1]
    made = faiss.index_factory(width, {"flat": "Flat", "hnsw": "HNSW32"}[kind], faiss.METRIC_INNER_PRODUCT)
    digits = max(len(str(len(opened) - 1)), 7)
    with fresh_bank(Path(out)) as temp:
        (temp / PROTOTYPES).mkdir()
        for start in range(0, len(opened), _SHARD):
            stop = min(start + _SHARD, len(opened))
            made.add(np.array(opened.keys[start:stop], np.float32))
            for i, row in enumerate(np.array(opened.prototypes[start:stop], np.float32), start):
                np.save(temp / PROTOTYPES / f"{i:0{digits}d}.npy", row)
            release(opened.keys)
            release(opened.prototypes)
            if on_done is not None:
                on_done(stop, len(opened))
        faiss.write_index(made, os.fspath(temp / INDEX))
        with atomic_path(temp / ROWS) as file, pq.ParquetWriter(file, _TOLD) as writer:
            for entry in opened.meta["shards"]:
                writer.write_table(read_rows(opened.path / entry["file"], _TOLD.names).cast(_TOLD))
        atomic_write_json(temp / ABOUT, made_with(opened.meta))
    return Path(out)


def _published(folder: Path) -> tuple[Path, Path] | None:
    """The .npy files' folder and the index of what the authors publish, wherever above both one points."""
    for above in (folder, folder / "data", folder / "src" / "data"):
        prototypes, index = (above / name for name in _PUBLISHED)
        if prototypes.is_dir():
            return prototypes, index
    return None


def _work(folder: Path, names: list[str], index: Path, rows: Path | None, said: list[Any]) -> str:
    """A digest of all that an import is made of, what the .npy files hold aside: reading that is the work."""
    files = [path.stat() for path in (index, rows) if path is not None]
    sizes = [(file.st_size, file.st_mtime_ns) for file in files]
    text = to_json([FORMAT, VERSION, _SHARD, str(folder.resolve()), sizes, said], None)
    found = hashlib.sha256(text.encode())
    for name in names:
        found.update(os.fsencode(name) + b"\0")
    return found.hexdigest()[:16]


def _is_whole(shard: Path, rows: int) -> bool:
    """Whether a shard is there and tells of so many rows, dropped ones among them."""
    with suppress(BankError):
        info = read_info(shard)
        return info.pairs + sum(info.rejected.values()) == rows
    return False


@contextmanager
def _reading(path: Path, wrong: str = "") -> Iterator[None]:
    """An InputError for what fails in reading a file or folder: what is `wrong`, or the system's word."""
    try:
        yield
    except InputError:
        raise
    except (OSError, ValueError, AttributeError, RecursionError, pa.ArrowException) as error:
        wrong = wrong or f"cannot be read ({getattr(error, 'strerror', error)})"
        raise InputError(f"{path}: {wrong}") from error


def _npy_names(folder: Path) -> list[str]:
    with _reading(folder), os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if entry.name.endswith(".npy"))
    if not names:
        raise InputError(f"{folder}: holds no .npy file")
    return names


def _read_told(path: Path, n: int) -> Any:
    """Everything but the vectors of n rows. Raises InputError for another number, and other columns."""
    with _reading(path, "is not a table of a bank's rows"):
        if (there := pq.read_metadata(path).num_rows) != n:
            raise InputError(f"{path}: {there:,} rows, but there are {n:,} .npy files")
        return pq.read_table(path).cast(_TOLD)


def _pattern(text: str) -> re.Pattern[str]:
    try:
        found = re.compile(text)
    except re.error as error:
        raise InputError(f"noun pattern {text!r} is no regular expression ({error})") from error
    if "noun" not in found.groupindex:
        raise InputError(f"noun pattern {text!r} has no group named noun: write (?P<noun>...)")
    return found


def _said(names: list[str], pattern: re.Pattern[str] | None) -> Any:
    """What files' names say of their rows; what they do not say is blank, 0 or NaN."""
    stems = [printable(name.removesuffix(".npy")) for name in names]
    ids, nouns = list(stems), list(stems)
    if pattern is not None:
        for i, stem in enumerate(stems):
            found = pattern.fullmatch(stem)
            if found is None:
                raise InputError(f"{names[i]}: the noun pattern {pattern.pattern!r} does not fit its name")
            nouns[i] = found["noun"].replace("_", " ").strip()
            ids[i] = found.groupdict().get("caption") or stem
    n, nothing = len(names), np.full(len(names), np.nan, np.float32)
    columns = [ids, [""] * n, nouns, [[]] * n, [0] * n, nothing, nothing, nothing]
    return pa.table([pa.array(c, f.type) for c, f in zip(columns, _TOLD, strict=True)], schema=_TOLD)


def _usable(told: Any, keys: npt.NDArray[Any], prototypes: npt.NDArray[Any]) -> tuple[Any, dict[str, int]]:
    """The rows that are finite and fit float16, as a shard's table; reason -> how many are not there.

    `told` is an Arrow table of all columns but those of the vectors, (n, dk) keys and (n, dp) prototypes.
    """
    wide = keys, prototypes
    with np.errstate(over="ignore", invalid="ignore"):
        narrow = [rows.astype(np.float16) for rows in wide]
    finite, kept = (np.isfinite(a).all(axis=1) & np.isfinite(b).all(axis=1) for a, b in (wide, narrow))
    gone = {"not finite": int((~finite).sum()), "beyond float16": int((finite & ~kept).sum())}
    columns = dict(zip(told.column_names, told.columns, strict=True))
    columns |= {name: vectors(rows) for name, rows in zip(VECTORS, narrow, strict=True)}
    columns |= {name: pa.nulls(len(told), pa.binary()) for name in ("image", "mask")}
    table = pa.table([columns[name] for name in SCHEMA.names], schema=SCHEMA)
    return table.filter(pa.array(kept)), {reason: n for reason, n in gone.items() if n}


class NpyReader:
    """Reads vectors of one width; the first read settles it."""

    def __init__(self) -> None:
        self.width = 0
        """Numbers of a vector; 0 before the first."""

    def read(self, path: Path) -> npt.NDArray[Any]:
        """The vector (D,) of a file that holds (D,) or (1, D) float16, float32 or float64.

        Raises InputError for anything else, for another width than before, and for a file whose size is not
        what its header says.
        """
        with _reading(path), open(path, "rb") as file:
            data = file.read(_MOST + 1)
        if len(data) > _MOST:
            raise InputError(f"{path}: larger than {_MOST:,} bytes: not one prototype")
        start = 10 + int.from_bytes(data[8:10], "little")  # of a header of version 1, as vectors have
        try:
            shape, kind = _npy_header(data[:start])
        except (ValueError, EOFError, SyntaxError, TypeError, KeyError) as error:
            raise InputError(f"{path}: not a whole .npy file") from error
        if kind.newbyteorder("=") not in (np.float16, np.float32, np.float64) or shape[:-1] not in ((), (1,)):
            raise InputError(f"{path}: holds {shape} of {kind}: a prototype is (D,) or (1, D) of floats")
        width = shape[-1] if shape else 0
        if not 0 < width <= _MOST:
            raise InputError(f"{path}: holds a vector of {width:,} numbers: a prototype is (D,) or (1, D)")
        if self.width not in (0, width):
            raise InputError(f"{path}: {width} numbers, but the files before it hold {self.width}")
        self.width, size = width, len(data) - start
        if size != width * kind.itemsize:
            raise InputError(
                f"{path}: damaged: {width} numbers of {kind.itemsize} bytes do not make its {size}"
            )
        return np.frombuffer(data, kind, offset=start)


@lru_cache(64)  # for they are nearly always the same
def _npy_header(header: bytes) -> tuple[tuple[int, ...], np.dtype[Any]]:
    stream = io.BytesIO(header)
    if np.lib.format.read_magic(stream) != (1, 0):
        raise ValueError("another version")
    shape, _, kind = np.lib.format.read_array_header_1_0(stream)
    return shape, kind


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
            begin = start - _HEADER.size - 8
            flat = b""
            if width > 0 and count >= 0 and (begin == 0 or (begin > 0 and first[:4] == _GRAPH)):
                file.seek(begin)
                flat = file.read(start - begin)
    except OSError as error:
        raise InputError(f"{path}: this index cannot be read ({error.strerror})") from error
    if flat[:4] not in _FLAT or flat[4:] != first[4:] + struct.pack("<Q", width * count):
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
