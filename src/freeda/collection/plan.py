"""What of a bank is there already and what is to be made; other people's folders are left alone."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from ..bank.arrays import FILES, remove_arrays
from ..bank.format import MANIFEST, SHARDS, read_info, shard_name
from ..bank.index import is_index_file
from ..bank.verify import find_damage
from ..errors import BankError, InputError
from ..identity import first_difference, without_commits
from ..options import PACE, CollectOptions, to_dict
from .captions import Caption
from .runner import digest

LOG = "log.jsonl"
"""In the bank's directory: one JSON line for every shard made, with what it took."""


def look(
    out: Path, chunks: Sequence[Sequence[Caption]], settings: dict[str, Any], retry_failed: bool = False
) -> tuple[list[int], bool]:
    """Return the shards that are to be made, and whether nothing at all is to be done; nothing is changed.

    A shard is made that is not there, is damaged, or, with `retry_failed`, holds captions on which a model
    failed; all of them are read whole. Raises BankError where the directory holds something else, more
    captions than asked for, or what was made from other captions or with other settings.
    """
    refuse_foreign(out)
    there = sorted(p.name for p in (out / SHARDS).glob("*.parquet"))
    damaged = {file for file, _ in find_damage(out)} if there or (out / MANIFEST).exists() else set()
    names = [shard_name(i) for i in range(len(chunks))]
    missing = []
    for i, (name, chunk) in enumerate(zip(names, chunks, strict=True)):
        good = (out / name).exists() and name not in damaged and _is_made(out, name, chunk, settings)
        if not good or (retry_failed and read_info(out / name).failed):
            missing.append(i)
    for more in sorted({f"{SHARDS}/{name}" for name in there} - {*names}):
        raise _holds_more(out, more)
    return missing, not missing and not damaged and (out / MANIFEST).is_file()


def settings_of(
    preset: str,
    models: dict[str, Any],
    options: CollectOptions,
    seed: int,
    dtype: torch.dtype,
    tagger: str,
    drawing: torch.dtype | None = None,
) -> dict[str, Any]:
    """All that the rows depend on; devices, workers and the fields of PACE change them by rounding only.

    `dtype` is the encoders', `drawing` the generator's where it differs.
    """
    chosen = {name: value for name, value in to_dict(options).items() if name not in PACE}
    return {
        "preset": preset,
        "models": models,
        "options": chosen,
        "seed": seed,
        "tagger": tagger,
        "dtype": str(dtype).removeprefix("torch."),
        "drawing_dtype": str(drawing or dtype).removeprefix("torch."),
    }


def reopen(out: Path) -> None:
    """Take away what says that the bank is whole."""
    try:
        (out / MANIFEST).unlink(missing_ok=True)
        remove_arrays(out)
    except OSError as error:
        raise BankError(f"{out}: this bank cannot be changed ({error.strerror})") from error


def sweep(out: Path) -> None:
    """Remove what a killed process left half-written."""
    for folder in (out, out / SHARDS):
        for temp in folder.glob(".*.tmp"):
            with suppress(OSError):
                temp.unlink()


def append_line(folder: Path, entry: dict[str, Any]) -> None:
    """Add a line to the log, at the end, in one write. Raises InputError where the system refuses."""
    try:
        with open(folder / LOG, "ab") as file:
            file.write((json.dumps(entry, ensure_ascii=True) + "\n").encode())
    except OSError as error:
        raise InputError(f"{folder / LOG}: cannot be written ({error.strerror})") from error


def cut_broken_line(folder: Path) -> None:
    """Take away the log's unfinished last line, left by a process killed while writing or a full disk."""
    try:
        with open(folder / LOG, "r+b") as file:
            file.truncate(file.read().rfind(b"\n") + 1)
    except FileNotFoundError:
        return
    except OSError as error:
        raise InputError(f"{folder / LOG}: cannot be written ({error.strerror})") from error


def refuse_foreign(out: Path) -> None:
    """Raise BankError for a folder that holds something else than (part of) a bank; one not there is fine."""
    if not out.exists():
        return
    if not out.is_dir():
        raise BankError(f"{out}: is a file: the bank needs a directory")
    refuse_names(out, [p.name for p in out.iterdir()])


def refuse_names(out: Path | str, paths: Iterable[str]) -> None:
    """Raise BankError where one of these paths within `out` is no part of a bank."""
    known = {MANIFEST, SHARDS, LOG, *FILES.values()}
    names = sorted({path.split("/")[0] for path in paths} - known)
    foreign = [name for name in names if not name.startswith(".") and not is_index_file(name)]
    if foreign:
        raise BankError(f"{out}: holds '{foreign[0]}', which is no part of a bank: use an empty directory")


def _is_made(out: Path, name: str, chunk: Sequence[Caption], settings: dict[str, Any]) -> bool:
    """Whether a whole shard is the one wanted. Raises BankError if it was made otherwise."""
    info = read_info(out / name)
    if other := first_difference(comparable(info.settings), comparable(settings)):
        raise BankError(
            f"{out}: was begun with other settings ({other}): use the same again, or another directory"
        )
    if info.digest == digest(chunk):
        return True
    if info.captions < len(chunk) and info.digest == digest(chunk[: info.captions]):
        return False  # the last shard of a run with a smaller limit: made again, longer
    if info.captions > len(chunk):
        raise _holds_more(out, name)
    raise BankError(f"{out}: {name} was made from other captions: use another directory")


def _holds_more(out: Path, shard: str) -> BankError:
    return BankError(
        f"{out}: {shard} holds more than the captions asked for: use the same again, or another directory"
    )


def comparable(settings: dict[str, Any]) -> dict[str, Any]:
    """A shard's settings as far as they must agree: a later commit of the same model is no obstacle.

    What did not exist yet when it was made is filled in: options at their defaults, one dtype for all models.
    """
    out = {"drawing_dtype": settings.get("dtype"), **settings}
    if isinstance(models := settings.get("models"), dict):
        out["models"] = without_commits(models)
    if isinstance(options := settings.get("options"), dict):
        filled = _filled(options, to_dict(CollectOptions()))
        out["options"] = {name: value for name, value in filled.items() if name not in PACE}
    return out


def _filled(given: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    out = {**defaults, **given}
    for name, value in defaults.items():
        if isinstance(value, dict) and isinstance(out[name], dict):
            out[name] = _filled(out[name], value)
    return out
