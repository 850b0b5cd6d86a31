"""The layout in which the authors released their bank: a .npy file a prototype and a FAISS index of all keys.

Row i of the index belongs to the i-th file in the order of sorted names. Nothing says which noun a row is of
but the file's own name, so `rows.parquet` (caption, noun, quality of every row) is written beside on export.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import InputError
from ..files import atomic_path, atomic_write_json
from .arrays import release
from .bank import Bank
from .format import SCHEMA, caption_digest, shard_name, write_rows
from .fresh import fresh_bank
from .graph import index_vectors
from .manifest import finish_bank, made_with
from .npy import NpyReader, write_npy
from .rows import read_rows

PROTOTYPES, INDEX, ROWS, ABOUT = "prototypes", "keys.index", "rows.parquet", "about.json"
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

    Args:
        folder: holds the .npy files, each (D,) or (1, D) float16, float32 or float64; or what
            `export_release` wrote, which says by itself where the rest is.
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
    where `out` is there already or nothing is left.
    """
    folder, about = Path(folder), dict[str, Any]()
    if (folder / ABOUT).is_file():
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
    names, keys = _npy_names(folder), index_vectors(Path(index))
    if len(names) != len(keys):
        raise InputError(
            f"{folder}: {len(names):,} .npy files, but {index} holds {len(keys):,} keys: they must be as many"
        )
    told = _read_told(Path(rows), len(names)) if rows is not None else None
    pattern = _pattern(noun_pattern)
    dropped, reader = Counter[str](), NpyReader()
    with fresh_bank(Path(out)) as temp:
        for shard, start in enumerate(range(0, len(names), _SHARD)):
            part = names[start : start + _SHARD]
            prototypes = np.stack([reader.read(folder / name) for name in part])
            table = _said(part, pattern) if told is None else told.slice(start, len(part))
            kept, gone = _usable(table, np.array(keys[start : start + _SHARD]), prototypes)
            dropped.update(gone)
            write_rows(
                temp / shard_name(shard),
                kept,
                {
                    "settings": {"preset": preset, "models": models, "source": "release"},
                    "digest": caption_digest([]),
                    "captions": len(set(table.column("caption_id").to_pylist())),
                    "pictures": 0,
                    "rejected": gone,
                    "failed": [],
                },
            )
            if on_done is not None:
                on_done(start + len(part), len(names))
        widths = {"clip_dim": keys.shape[1], "dense_dim": reader.width}
        finish_bank(
            temp,
            shard + 1,
            {**about, "preset": preset, "models": {**models, **widths}, "imported": {"rows": len(names)}},
        )
    return Imported(Bank.open(out), len(names), dict(dropped))


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
    made = (
        faiss.IndexFlatIP(width)
        if kind == "flat"
        else faiss.IndexHNSWFlat(width, 32, faiss.METRIC_INNER_PRODUCT)
    )
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
    stems, nouns = [name.removesuffix(".npy") for name in names], []
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
