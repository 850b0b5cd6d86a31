"""What of a bank is there already and what is to be made; other people's folders are left alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..bank.arrays import FILES, remove_arrays
from ..bank.format import MANIFEST, SHARDS, read_info, shard_name
from ..bank.index import is_index_file
from ..bank.verify import find_damage
from ..errors import BankError
from ..identity import first_difference, without_commits
from ..options import CollectOptions, to_dict
from ..options.collect import PACE
from .captions import Caption
from .log import LOG
from .runner import digest

Chunks = Sequence[Sequence[Caption]]


@dataclass(frozen=True)
class State:
    """Where a bank directory stands."""

    missing: list[int]
    """Shards that are not there, damaged, or to be made again."""
    finished: bool
    """Whether nothing is to be done."""


def look(out: Path, chunks: Chunks, settings: dict[str, Any], retry_failed: bool = False) -> State:
    """Look at all that a directory holds, reading every shard there whole; nothing is changed.

    Raises BankError where it holds something else, more captions than asked for, or what was made from other
    captions or with other settings.
    """
    refuse_foreign(out)
    damaged: set[str] = set()
    if (out / MANIFEST).exists() or any((out / SHARDS).glob("*.parquet")):
        damaged = {file for file, _ in find_damage(out)}
    missing = []
    for i, chunk in enumerate(chunks):
        name = shard_name(i)
        there = (out / name).exists() and name not in damaged and _is_made(out, name, chunk, settings)
        if not there or (retry_failed and read_info(out / name).failed):
            missing.append(i)
    _check_extent(out, len(chunks))
    return State(missing, not missing and not damaged and (out / MANIFEST).is_file())


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


def _check_extent(out: Path, n_shards: int) -> None:
    """Refuse to make a bank smaller than it already is."""
    expected = {Path(shard_name(i)).name for i in range(n_shards)}
    more = sorted(p.name for p in (out / SHARDS).glob("*.parquet") if p.name not in expected)
    if more:
        raise BankError(_more(out, f"{SHARDS}/{more[0]}"))


def _is_made(out: Path, name: str, chunk: Sequence[Caption], settings: dict[str, Any]) -> bool:
    """Whether a whole shard is the one wanted. Raises BankError if it was made otherwise."""
    info = read_info(out / name)
    other = first_difference(_compared(_with_defaults(info.settings)), _compared(settings))
    if other:
        raise BankError(
            f"{out}: was begun with other settings ({other}): use the same again, or another directory"
        )
    if info.digest == digest(chunk):
        return True
    if info.captions < len(chunk) and info.digest == digest(chunk[: info.captions]):
        return False  # the last shard of a run with a smaller limit: made again, longer
    if info.captions > len(chunk):
        raise BankError(_more(out, name))
    raise BankError(f"{out}: {name} was made from other captions: use another directory")


def _compared(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings as far as they must agree: a later commit of the same model is recorded, and no obstacle."""
    models = settings.get("models")
    return {**settings, "models": without_commits(models)} if isinstance(models, dict) else settings


def _more(out: Path, shard: str) -> str:
    return f"{out}: {shard} holds more than the captions asked for: use the same again, or another directory"


def _with_defaults(settings: dict[str, Any]) -> dict[str, Any]:
    """A shard's settings with what did not exist yet when it was made: options at their defaults, and one
    dtype for all models."""
    if not isinstance(settings.get("options"), dict):
        return settings
    known = {name: value for name, value in to_dict(CollectOptions()).items() if name not in PACE}
    drawn = {"drawing_dtype": settings.get("dtype")}
    return {**drawn, **settings, "options": _filled(settings["options"], known)}


def _filled(given: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    out = {name: value for name, value in given.items() if name not in PACE}
    for name, value in defaults.items():
        if name not in out:
            out[name] = value
        elif isinstance(value, dict) and isinstance(out[name], dict):
            out[name] = _filled(out[name], value)
    return out
