"""Looking at every byte of a bank: what `Bank.open` is too quick to see."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ..errors import BankError, first_line
from .arrays import FILES, load_array
from .format import (
    MANIFEST,
    REGIONS,
    SHARDS,
    VECTORS,
    OtherFormat,
    ShardEntry,
    is_shard,
    read_info,
    read_vectors,
)
from .manifest import file_digest, read_manifest

# What bank.json says of how it was made, the last step first.
_MAKERS = {
    "cleaned": "freeda bank clean",
    "merged": "freeda bank merge",
    "imported": "freeda bank import",
    "references": "freeda bank add-images",
    "photographs": "freeda bank add-images --regions",
}


def find_damage(path: Path, on_file: Callable[[str], None] | None = None) -> Iterator[tuple[str, str]]:
    """(file, what is wrong with it) for every damaged file of a bank directory, finished or not, and of its
    bank of region values: see `own_damage`."""
    yield from own_damage(path, on_file)
    if (path / REGIONS).exists():
        for file, wrong in own_damage(path / REGIONS, on_file):
            yield f"{REGIONS}/{file}", wrong


def own_damage(path: Path, on_file: Callable[[str], None] | None = None) -> Iterator[tuple[str, str]]:
    """(file, what is wrong with it) for every damaged file of a bank directory, its region values aside.

    A shard is read whole: page checksums, columns, ids, finite vectors of one width; where bank.json lists
    it, also its SHA-256 and size. The arrays must be what the shards hold. `on_file` is told each file's
    name before it is read. Raises BankError where the directory holds no bank at all.
    """
    tell = on_file or (lambda _: None)
    listed: list[ShardEntry] | None = None
    damaged = False
    if (path / MANIFEST).exists() or not path.is_dir():
        try:
            listed = read_manifest(path, look=False)[1]
        except BankError as error:
            if not path.is_dir():
                raise
            yield MANIFEST, _without(path, error)
            damaged = True
    present = sorted(f"{SHARDS}/{p.name}" for p in (path / SHARDS).glob("*.parquet"))
    if listed is None and not present and not damaged:
        raise BankError(f"{path}: not a bank: it has neither {MANIFEST} nor shards")
    entries = {entry.file: entry for entry in listed or ()}
    for file in sorted({*entries, *present}):
        tell(file)
        if listed is not None and file not in entries:
            yield file, f"is not listed in {MANIFEST}"
            continue
        wrong = shard_damage(path / file, entries.get(file))
        if wrong:
            damaged = True
            yield file, wrong
    if listed and not damaged:
        yield from _array_damage(path, listed, tell)


def shard_damage(file: Path, entry: ShardEntry | None = None) -> str | None:
    """What is wrong with one shard (and with `entry`, what bank.json says of it); None if nothing is.

    Raises OtherFormat, a BankError, for a shard of another version of the format.
    """
    if not file.is_file():
        return "is missing"
    if entry is not None:
        if file.stat().st_size != entry.bytes:
            return f"has {file.stat().st_size} bytes, {MANIFEST} says {entry.bytes}"
        if file_digest(file) != entry.sha256:
            return f"its SHA-256 is not the one in {MANIFEST}"
    try:
        info = read_info(file)
        with open(file, "rb") as start:
            if start.read(4) != b"PAR1":
                return "does not begin as a Parquet file"
        table = pq.read_table(file, page_checksum_verification=True)
    except OtherFormat:
        raise
    except BankError as error:
        return _without(file, error)
    except (OSError, pa.ArrowException) as error:
        return f"cannot be read whole ({first_line(error)})"
    if not is_shard(table.schema):
        return "its columns are not those of a bank's shard"
    if entry is not None and (info.pairs, info.captions) != (entry.pairs, entry.captions):
        return f"has {info.pairs} pairs of {info.captions} captions, {MANIFEST} says otherwise"
    return _vector_damage(table)


def advice(path: Path, damaged: Sequence[str]) -> str:
    """What to do about the damaged files of a bank, by how it was made."""
    if all(file.removeprefix(f"{REGIONS}/") in FILES.values() for file in damaged):
        n = "it is" if len(damaged) == 1 else "they are"
        return f"delete {' and '.join(damaged)} there: {n} made again from the shards at the next opening"
    own = path / REGIONS if all(file.startswith(f"{REGIONS}/") for file in damaged) else path
    with suppress(OSError, ValueError, RecursionError):
        meta = json.loads((own / MANIFEST).read_text(encoding="utf-8"))
        for said, command in _MAKERS.items():
            if isinstance(meta, dict) and said in meta:
                return f"make it again in a new directory, with the same `{command}`, or pull it again"
    return "the `freeda collect` that made the bank, run again, mends it; a shared one must be pulled again"


def _vector_damage(table: Any) -> str | None:
    for name in VECTORS:
        column = table.column(name).combine_chunks()
        lengths = pc.list_value_length(column).to_numpy(zero_copy_only=False)
        if len(lengths) and (lengths.min() != lengths.max() or lengths[0] == 0):
            return f"its column '{name}' is not of one width"
        values = column.flatten().to_numpy(zero_copy_only=False)
        if not np.isfinite(values.astype(np.float32)).all():
            return f"its column '{name}' holds values that are not finite"
    return None


def _array_damage(
    path: Path, shards: list[ShardEntry], tell: Callable[[str], None]
) -> Iterator[tuple[str, str]]:
    widths = json.loads((path / MANIFEST).read_text(encoding="utf-8"))["dimensions"]
    for name, file in FILES.items():
        if not (path / file).exists():
            continue  # made again when the bank is next opened
        tell(file)
        stored = load_array(path / file, (sum(s.pairs for s in shards), widths[name]), longer=True)
        if stored is None:
            yield file, "is not an array of the shape that the shards give"
            continue
        row = 0
        for shard in shards:
            part, row = stored[row : row + shard.pairs], row + shard.pairs
            # Compared as bytes: a NaN is then equal to itself.
            if (
                shard.pairs
                and part.tobytes() != read_vectors(path / shard.file, name, widths[name]).tobytes()
            ):
                yield file, f"differs from {shard.file}"
                break


def _without(path: Path, error: BankError) -> str:
    """An error's text without the file that it names first."""
    return str(error).removeprefix(f"{path / MANIFEST}: ").removeprefix(f"{path}: ")
