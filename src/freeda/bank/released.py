"""The layout in which the authors released their bank: a .npy file a prototype and a FAISS index of all keys.

Row i of the index belongs to the i-th file in the order of sorted names. Nothing says which noun a row is of
but the file's own name, so `rows.parquet` (caption, noun, quality of every row) is written beside on export.
There are millions of files, so that an import that was stopped goes on with the shards that it has made.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
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
from .format import FORMAT, SCHEMA, VERSION, caption_digest, read_info, shard_name, write_rows
from .fresh import fresh_bank
from .graph import index_vectors
from .manifest import finish_bank, made_with
from .npy import NpyReader, write_npy
from .rows import read_rows

PROTOTYPES, INDEX, ROWS, ABOUT = "prototypes", "keys.index", "rows.parquet", "about.json"
_PUBLISHED = "prototype_embeddings", "faiss_index/knn.index"  # in src/data of the authors' programs
_SHARD = 8192
_TOLD = [name for name in SCHEMA.names if name not in ("key", "prototype")]
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

    Stopped at any moment, the same call goes on: what it has made lies beside `out`, hidden, and the bank is
    the one that an unbroken run makes. A call with other arguments, names or another index begins anew.

    Args:
        folder: holds the .npy files, each (D,) or (1, D) float16, float32 or float64; or `data` of the
            authors (`prototype_embeddings`, `faiss_index/knn.index`) or a folder above it; or is what
            `export_release` wrote. The latter two say where the index is.
        out: the new bank.
        models: {"clip": {"id", "revision"}, "dense": {...}}: what made the rows; nothing in them tells.
        index: see `index_vectors`; its row i is that of the i-th file by name.
        rows: a Parquet file of a bank's columns, those of the vectors aside, in the same order.
        noun_pattern: a regular expression with a group `noun`, and perhaps `caption` (its id), that fits
            every file's name without its suffix; underscores in a noun become blanks. Without it and `rows`
            a row's noun is its file's name.
        preset: the preset's name, for `bank.json`.
        on_done: called with rows done and in all.

    Raises InputError for files that cannot be used, counts that differ and names that do not fit; BankError
    where `out` is there already, another run is making it, or nothing is left.
    """
    folder, about = Path(folder), dict[str, Any]()
    try:
        published, exported = _published(folder), (folder / ABOUT).is_file()
    except OSError as error:  # such as a name too long
        raise InputError(f"{folder}: cannot be read ({error.strerror})") from error
    if published is not None:
        folder, index = published[0], published[1] if index is None else index
    elif exported:
        about = _read_about(folder / ABOUT)
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
    pattern = _pattern(noun_pattern)
    work = _work(folder, names, index, rows, [noun_pattern, preset, models, about])
    with fresh_bank(Path(out), work) as temp:
        reader = NpyReader()
        reader.read(folder / names[0])  # settles the width, also of what a stopped run has left to do
        parts = [names[start : start + _SHARD] for start in range(0, len(names), _SHARD)]
        left = [i for i, part in enumerate(parts) if not _is_whole(temp / shard_name(i), len(part))]
        done = len(names) - sum(len(parts[i]) for i in left)
        tell = on_done or (lambda *_: None)
        for shard in left:
            tell(done, len(names))
            start, part = shard * _SHARD, parts[shard]
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
            write_rows(temp / shard_name(shard), kept, info)
            done += len(part)
        tell(done, len(names))
        widths = {"clip_dim": keys.shape[1], "dense_dim": reader.width}
        finish_bank(
            temp,
            len(parts),
            {**about, "preset": preset, "models": {**models, **widths}, "imported": {"rows": len(names)}},
        )
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
                write_npy(temp / PROTOTYPES / f"{i:0{digits}d}.npy", row)
            release(opened.keys)
            release(opened.prototypes)
            if on_done is not None:
                on_done(stop, len(opened))
        faiss.write_index(made, os.fspath(temp / INDEX))
        with atomic_path(temp / ROWS) as file, pq.ParquetWriter(file, _told_schema()) as writer:
            for entry in opened.meta["shards"]:
                columns = [name for name in _TOLD if name not in ("image", "mask")]
                writer.write_table(read_rows(opened.path / entry["file"], columns).cast(_told_schema()))
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


def _told_schema() -> Any:
    return pa.schema([SCHEMA.field(name) for name in _TOLD if name not in ("image", "mask")])


def _npy_names(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if entry.name.endswith(".npy"))
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({error.strerror})") from error
    if not names:
        raise InputError(f"{folder}: holds no .npy file")
    return names


def _read_about(path: Path) -> dict[str, Any]:
    """What `export_release` wrote of how the bank was made."""
    try:
        return made_with(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise InputError(f"{path}: damaged or unreadable") from error


def _read_told(path: Path, n: int) -> Any:
    """Everything but the vectors of n rows. Raises InputError for another number, and other columns."""
    try:
        if (there := pq.read_metadata(path).num_rows) != n:
            raise InputError(f"{path}: {there:,} rows, but there are {n:,} .npy files")
        return pq.read_table(path).cast(_told_schema())
    except InputError:
        raise
    except (OSError, ValueError, pa.ArrowException) as error:
        raise InputError(f"{path}: is not a table of a bank's rows") from error


def _pattern(text: str | None) -> re.Pattern[str] | None:
    if text is None:
        return None
    try:
        found = re.compile(text)
    except re.error as error:
        raise InputError(f"noun pattern {text!r} is no regular expression ({error})") from error
    if "noun" not in found.groupindex:
        raise InputError(f"noun pattern {text!r} has no group named noun: write (?P<noun>...)")
    return found


def _said(names: list[str], pattern: re.Pattern[str] | None) -> Any:
    """What files' names say of their rows; what they do not say is blank, 0 or NaN."""
    stems, nouns = [printable(name.removesuffix(".npy")) for name in names], []
    ids = list(stems)
    for i, stem in enumerate(stems):
        found = pattern.fullmatch(stem) if pattern is not None else None
        if pattern is not None and found is None:
            raise InputError(f"{names[i]}: the noun pattern {pattern.pattern!r} does not fit its name")
        nouns.append(found["noun"].replace("_", " ").strip() if found is not None else stem)
        if found is not None and "caption" in found.re.groupindex:
            ids[i] = found["caption"] or stem
    n, nothing = len(names), np.full(len(names), np.nan, np.float32)
    columns = [ids, [""] * n, nouns, [[]] * n, [0] * n, nothing, nothing, nothing]
    schema = _told_schema()
    return pa.table([pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)], schema=schema)


def _narrow(wide: npt.NDArray[Any]) -> tuple[npt.NDArray[np.float16], npt.NDArray[np.bool_]]:
    """Rows as float16, and which of them were finite before."""
    with np.errstate(over="ignore", invalid="ignore"):
        return wide.astype(np.float16), np.isfinite(wide).all(axis=1)


def _usable(told: Any, keys: npt.NDArray[Any], prototypes: npt.NDArray[Any]) -> tuple[Any, dict[str, int]]:
    """The rows that are finite and fit float16, as a table of `SCHEMA`; reason -> how many are not there.

    `told` is an Arrow table of all columns but those of the vectors, (n, dk) keys and (n, dp) prototypes.
    """
    keys, key_finite = _narrow(keys)
    prototypes, prototype_finite = _narrow(prototypes)
    finite = key_finite & prototype_finite
    kept = np.isfinite(keys).all(axis=1) & np.isfinite(prototypes).all(axis=1)
    gone = {"not finite": int((~finite).sum()), "beyond float16": int((finite & ~kept).sum())}
    arrays = dict(zip(told.schema.names, told.columns, strict=True))
    for name, values in (("key", keys), ("prototype", prototypes)):
        offsets = np.arange(0, values.size + 1, values.shape[1], dtype=np.int32)
        flat = pa.array(np.ascontiguousarray(values).ravel(), pa.float16())
        arrays[name] = pa.ListArray.from_arrays(pa.array(offsets), flat)
    for name in ("image", "mask"):
        arrays[name] = pa.nulls(len(told), pa.binary())
    table = pa.table([arrays[name] for name in SCHEMA.names], schema=SCHEMA)
    return table.filter(pa.array(kept)), {reason: n for reason, n in gone.items() if n}
