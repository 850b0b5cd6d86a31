"""A bank directory: made hidden until it is whole, and bank.json, written last, by which it is known."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..errors import BankError, no_such_file
from ..files import atomic_write_json, make_folder
from ..lock import try_lock
from .arrays import write_arrays
from .format import (
    FORMAT,
    MANIFEST,
    SHARDS,
    VECTORS,
    VERSION,
    ShardEntry,
    is_counts,
    read_info,
    read_row,
    shard_name,
)

LARGEST = 2**28
"""Bytes of bank.json, at most: some 800,000 shards."""


def read_manifest(path: Path, look: bool = True) -> tuple[dict[str, Any], list[ShardEntry]]:
    """The content of bank.json and its shards, with `look` each looked at.

    Raises BankError as `Bank.open` says.
    """
    file = path / MANIFEST
    try:
        there = path.is_dir()
    except OSError as error:  # such as a name too long
        raise BankError(f"{path}: cannot be read ({error.strerror})") from error
    if not there:
        raise BankError(no_such_file(path, "there is no such bank directory; `freeda collect` makes one"))
    try:
        if (size := file.stat().st_size) > LARGEST:
            raise BankError(f"{file}: refused: {size:,} bytes are no description of a bank")
        meta = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        if any((path / SHARDS).glob("*.parquet")):
            mend = "run the same `freeda collect` again to finish it"
            raise BankError(f"{path}: half-written bank: {MANIFEST} is missing; {mend}") from error
        raise BankError(f"{path}: not a bank: it has no {MANIFEST}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise BankError(f"{path / MANIFEST}: damaged or unreadable") from error
    if not isinstance(meta, dict) or meta.get("format") != FORMAT:
        raise BankError(f"{file}: not the description of a bank")
    if meta.get("version") != VERSION:
        raise BankError(f"{path}: bank format version {meta.get('version')!r}: this version reads {VERSION}")
    try:
        shards = [_entry(i, s) for i, s in enumerate(meta["shards"])]
        widths = [meta["dimensions"][name] for name in VECTORS]
        numbers, models = [meta["pairs"], meta["captions"], *widths], meta["models"]
    except KeyError as error:
        raise BankError(f"{file}: damaged: {error} is missing") from error
    except (TypeError, ValueError) as error:
        raise BankError(f"{file}: damaged: its shards or dimensions are wrong ({error})") from error
    if not all(type(n) is int for n in numbers) or min(widths) < 1 or not isinstance(models, dict):
        raise BankError(f"{file}: damaged: its models, counts or dimensions are of the wrong kind")
    if meta["pairs"] != sum(s.pairs for s in shards):
        raise BankError(f"{file}: damaged: its counts do not add up")
    for shard in shards if look else ():
        _check_shard(path, shard)
    if "digest" in meta and meta["digest"] != _digest(meta):  # older banks have none
        raise BankError(f"{file}: damaged: it was changed after it was written")
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


def finish_bank(
    path: Path, n_shards: int, about: dict[str, Any], widths: Mapping[str, int] | None = None
) -> None:
    """Turn shards 0 .. n_shards - 1 of a directory into a bank: the arrays, then bank.json.

    `about` goes into bank.json as it is (models, options, seed, ...). Raises BankError when a shard is
    missing or damaged, or when all of them together hold no pair and no `widths` of its vectors are given.
    """
    shards: list[ShardEntry] = []
    widths = dict(widths or {})
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
            first = read_row(file, 0)
            widths = {name: len(first[name]) for name in VECTORS}
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
    if (size := file.stat().st_size) != shard.bytes:
        raise BankError(f"{path}: damaged bank: {shard.file} has {size} bytes, {MANIFEST} says {shard.bytes}")
    pairs = read_info(file).pairs
    if pairs != shard.pairs:
        raise BankError(
            f"{path}: damaged bank: {shard.file} has {pairs} pairs, {MANIFEST} says {shard.pairs}"
        )


@contextmanager
def fresh_bank(out: Path, work: str | None = None) -> Iterator[Path]:
    """A hidden directory beside `out` that becomes `out` when the block ends without an error.

    On an error it is removed. What a killed process left for the same `out` is removed by the next one; a
    living one's is not, since each holds a lock on its own. With `work`, a digest of all that the bank is
    made of, shards stay however the block ends, and the next run for the same `out` and `work` finds them in
    its directory, and nothing else.

    Raises BankError where `out` is there already and not an empty directory, or another run has the same
    `work` in hand; InputError where the folder above cannot be written to.
    """
    refuse_taken(out)
    above = make_folder(out.parent)
    temp = above / f".{out.name[:200]}.{work or secrets.token_hex(4)}.partial"
    _sweep(above, out.name, temp)
    if temp.is_symlink():
        raise BankError(f"{temp}: is a link, not what a stopped run left: remove it")
    make_folder(temp)
    try:
        handle = _hold(temp)
    except BlockingIOError as error:
        raise BankError(f"{out}: another run is making it") from error
    try:
        _leave_shards(temp)
        yield temp
        refuse_taken(out)
        try:
            if out.is_dir():
                out.rmdir()
            temp.rename(out)
        except OSError as error:
            raise BankError(f"{out}: this directory cannot be made ({error.strerror})") from error
    finally:
        if work is None or not any((temp / SHARDS).glob("*.parquet")):
            shutil.rmtree(temp, ignore_errors=True)
        if handle is not None:
            os.close(handle)


def refuse_taken(out: Path) -> None:
    """Raise BankError unless a new bank can be made there: nothing is ever written over."""
    try:
        taken = out.is_symlink() or (out.exists() and (not out.is_dir() or any(out.iterdir())))
    except OSError as error:
        raise BankError(f"{out}: cannot be read ({error.strerror})") from error
    if taken:
        raise BankError(f"{out}: is there already: name a new directory, this one stays as it is")


def _hold(folder: Path) -> int | None:
    """An open handle with a lock that falls with this process, however it dies; None where there are no such
    locks, or no such folder any more. Raises BlockingIOError where another process has it.
    """
    held = False
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return None
    try:
        held = try_lock(handle)
    finally:
        if not held:
            os.close(handle)
    return handle if held else None


def _sweep(above: Path, name: str, own: Path) -> None:
    """Remove what killed processes left for a name; where there are no locks, it stays."""
    start, end = f".{name[:200]}.", ".partial"
    for left in above.iterdir():
        middle = left.name.removeprefix(start).removesuffix(end)
        if left.name != f"{start}{middle}{end}" or "." in middle or left == own or not left.is_dir():
            continue
        with suppress(BlockingIOError):
            handle = _hold(left)
            if handle is not None:
                shutil.rmtree(left, ignore_errors=True)
                os.close(handle)


def _leave_shards(temp: Path) -> None:
    """Remove all that a stopped run left but its shards: halves of files, arrays, bank.json."""
    shards = temp / SHARDS
    if shards.is_symlink():
        shards.unlink()
    for left in (*temp.iterdir(), *shards.glob("*")):
        if left != shards and (left.parent != shards or left.suffix != ".parquet"):
            left.unlink() if left.is_symlink() or not left.is_dir() else shutil.rmtree(left)
