"""bank.json: written last, so that its presence means the bank is whole."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..errors import BankError, no_such_file
from ..files import atomic_write_json
from .arrays import write_arrays
from .format import (
    FORMAT,
    MANIFEST,
    SHARDS,
    VERSION,
    ShardEntry,
    is_counts,
    read_info,
    read_row,
    read_vectors,
    shard_name,
)

LARGEST = 2**28
"""Bytes of bank.json, at most: some 800,000 shards."""


def read_manifest(path: Path, look: bool = True) -> tuple[dict[str, Any], list[ShardEntry]]:
    """The content of bank.json and its shards, with `look` each looked at.

    Raises BankError as `Bank.open` says.
    """
    try:
        there = path.is_dir()
    except OSError as error:  # such as a name too long
        raise BankError(f"{path}: cannot be read ({error.strerror})") from error
    if not there:
        raise BankError(no_such_file(path, "there is no such bank directory; `freeda collect` makes one"))
    try:
        size = (path / MANIFEST).stat().st_size
        if size > LARGEST:
            raise BankError(f"{path / MANIFEST}: refused: {size:,} bytes are no description of a bank")
        meta = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        half = any((path / SHARDS).glob("*.parquet")) if (path / SHARDS).is_dir() else False
        raise BankError(
            f"{path}: half-written bank: {MANIFEST} is missing; run the same `freeda collect` again to "
            "finish it"
            if half
            else f"{path}: not a bank: it has no {MANIFEST}"
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise BankError(f"{path / MANIFEST}: damaged or unreadable") from error
    if not isinstance(meta, dict) or meta.get("format") != FORMAT:
        raise BankError(f"{path / MANIFEST}: not the description of a bank")
    if meta.get("version") != VERSION:
        raise BankError(f"{path}: bank format version {meta.get('version')!r}: this version reads {VERSION}")
    try:
        shards = [_entry(i, s) for i, s in enumerate(meta["shards"])]
        numbers = [
            meta["pairs"],
            meta["captions"],
            meta["dimensions"]["key"],
            meta["dimensions"]["prototype"],
        ]
        models = meta["models"]
    except KeyError as error:
        raise BankError(f"{path / MANIFEST}: damaged: {error} is missing") from error
    except (TypeError, ValueError) as error:
        raise BankError(
            f"{path / MANIFEST}: damaged: its shards or dimensions are wrong ({error})"
        ) from error
    if not all(type(n) is int for n in numbers) or min(numbers[2:]) < 1 or not isinstance(models, dict):
        raise BankError(f"{path / MANIFEST}: damaged: its models, counts or dimensions are of the wrong kind")
    if meta["pairs"] != sum(s.pairs for s in shards):
        raise BankError(f"{path / MANIFEST}: damaged: its counts do not add up")
    for shard in shards if look else ():
        _check_shard(path, shard)
    if "digest" in meta and meta["digest"] != _digest(meta):  # older banks have none
        raise BankError(f"{path / MANIFEST}: damaged: it was changed after it was written")
    return meta, shards


def _digest(meta: dict[str, Any]) -> str:
    """SHA-256 (hex) of all that bank.json says but this."""
    told = {key: value for key, value in meta.items() if key != "digest"}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


_COUNTED = (
    *("format", "version", "dimensions"),
    *("captions", "pictures", "rejected", "failed", "pairs", "shards", "digest"),
)


def made_with(meta: dict[str, Any]) -> dict[str, Any]:
    """What bank.json says of how a bank was made: all that `finish_bank` does not count by itself."""
    return {key: value for key, value in meta.items() if key not in _COUNTED}


def finish_bank(path: Path, n_shards: int, about: dict[str, Any]) -> None:
    """Turn shards 0 .. n_shards - 1 of a directory into a bank: the arrays, then bank.json.

    `about` goes into bank.json as it is (models, options, seed, ...). Raises BankError when a shard is
    missing or damaged, or when all of them together hold no pair.
    """
    shards: list[ShardEntry] = []
    widths: dict[str, int] = {}
    for i in range(n_shards):
        file = path / shard_name(i)
        info = read_info(file)
        shards.append(
            ShardEntry(
                file=shard_name(i),
                captions=info.captions,
                pictures=info.pictures,
                rejected=info.rejected,
                failed=len(info.failed),
                pairs=info.pairs,
                bytes=file.stat().st_size,
                sha256=file_digest(file),
            )
        )
        if info.pairs and not widths:
            widths = {n: _width(file, n) for n in ("key", "prototype")}
    if not widths:
        raise BankError(f"{path}: not one noun could be collected from these captions: no bank was made")
    write_arrays(path, shards, widths)
    meta = {
        "format": FORMAT,
        "version": VERSION,
        **about,
        "dimensions": widths,
        "captions": sum(s.captions for s in shards),
        "pictures": sum(s.pictures for s in shards),
        "rejected": dict(sum((Counter(s.rejected) for s in shards), Counter[str]())),
        "failed": sum(s.failed for s in shards),
        "pairs": sum(s.pairs for s in shards),
        "shards": [asdict(s) for s in shards],
    }
    atomic_write_json(path / MANIFEST, {**meta, "digest": _digest(meta)})


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hex. Raises BankError where it cannot be read."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise BankError(f"{path}: this shard cannot be read ({error.strerror})") from error


def _width(file: Path, name: str) -> int:
    width = len(read_row(file, 0)[name])
    read_vectors(file, name, width)
    return width


def _entry(index: int, entry: Any) -> ShardEntry:
    """A shard as bank.json lists it at a place. Raises TypeError or ValueError for anything else.

    Its file's name follows from its place, so that none is listed twice or lies elsewhere.
    """
    shard = ShardEntry(**entry)
    counts = (shard.captions, shard.pictures, shard.failed, shard.pairs, shard.bytes)
    if shard.file != shard_name(index) or not all(type(n) is int and n >= 0 for n in counts):
        raise ValueError(f"shard {index} is listed as {shard.file!r} with {counts}")
    if not is_counts(shard.rejected) or not isinstance(shard.sha256, str):
        raise ValueError(f"shard {index} is listed with the rejected {shard.rejected!r}")
    return shard


def _check_shard(path: Path, shard: ShardEntry) -> None:
    file = path / shard.file
    if not file.is_file():
        raise BankError(f"{path}: half-written or damaged bank: {shard.file} is missing")
    size = file.stat().st_size
    if size != shard.bytes:
        raise BankError(f"{path}: damaged bank: {shard.file} has {size} bytes, {MANIFEST} says {shard.bytes}")
    pairs = read_info(file).pairs
    if pairs != shard.pairs:
        raise BankError(
            f"{path}: damaged bank: {shard.file} has {pairs} pairs, {MANIFEST} says {shard.pairs}"
        )
