"""Several banks made with the same models, as one: every pair once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import BankError, InputError
from ..identity import difference
from .bank import Bank
from .format import REGIONS, Kept, ShardInfo, copy_rows, read_info, read_rows, shard_name
from .manifest import finish_bank, fresh_bank, made_with

_PICTURE = ("caption_id", "caption", "seed")
_NAMED = (*_PICTURE, "noun", "spans")


@dataclass(frozen=True)
class Merged:
    """What became of several banks."""

    bank: Bank
    pairs: list[int]
    """Pairs that each bank gave."""
    duplicates: list[int]
    """Pairs of each that were there before, from a bank ahead of it or from itself."""
    regions: Merged | None = None
    """The same of their banks of region values, of those that have one."""


def merge(
    banks: Sequence[str | Path], out: str | Path, on_shard: Callable[[int, int], None] | None = None
) -> Merged:
    """Make a new bank of all pairs of several, in the order given; the banks stay as they are.

    Two pairs are one where caption id and text, noun, its spans, the picture's seed and the generator agree;
    the first stays. (Ids alone do not tell: two caption files may both begin at 0.) One shard is in memory
    at a time, and 16 bytes a pair. `on_shard(done, in_all)` is called after each. Their banks of region
    values are merged too: of a picture, the regions that the same source cut are taken once.

    Raises InputError for no bank; BankError for banks that other models made, one that is damaged, and an
    `out` that is there already.
    """
    if not banks:
        raise InputError("name the banks to merge")
    tell, opened = on_shard or (lambda *_: None), [Bank.open(path) for path in banks]
    regions = [bank.regions for bank in opened if bank.regions is not None]
    refuse_mixed([*opened, *regions])
    with fresh_bank(Path(out)) as temp:
        theirs = _merge(regions, temp / REGIONS, tell) if regions else None
        given, dropped = _merge(opened, temp, tell)
    bank = Bank.open(out)
    inner = Merged(bank.regions, *theirs) if theirs and bank.regions else None
    return Merged(bank, given, dropped, inner)


def _merge(banks: Sequence[Bank], out: Path, tell: Callable[[int, int], None]) -> tuple[list[int], list[int]]:
    """Write the rows of banks as one; how many each gave, and how many of it were there before."""
    shards = [(i, bank.path / entry["file"]) for i, bank in enumerate(banks) for entry in bank.meta["shards"]]
    given, dropped = [0] * len(banks), [0] * len(banks)
    seen: set[bytes] = set()
    written = 0
    for done, (i, file) in enumerate(shards):
        kept = _new(file, read_info(file), banks[i].meta["models"], seen)
        given[i] += int(kept.sum())
        dropped[i] += int((~kept).sum())
        if kept.any() or not len(kept):
            copy_rows(file, out / shard_name(written), kept)
            written += 1
        tell(done + 1, len(shards))
    finish_bank(out, written, _about(banks, given, dropped), banks[0].meta["dimensions"])
    return given, dropped


def refuse_mixed(banks: Sequence[Bank]) -> None:
    """Raise BankError where two banks were made with other encoders: their rows cannot be compared."""
    first = banks[0]
    for other in banks[1:]:
        mine, theirs = first.meta["models"], other.meta["models"]
        for part, width, what in (("clip", "clip_dim", "CLIP"), ("dense", "dense_dim", "dense encoder")):
            changed = {**mine, part: theirs.get(part), width: theirs.get(width)}
            if mine != changed and difference(mine, changed) is not None:
                raise BankError(
                    f"{other.path}: made with {what} {_name(theirs, part, width)}, but {first.path} with "
                    f"{_name(mine, part, width)}: only banks of the same models can be merged"
                )


def _name(models: dict[str, Any], part: str, width: str) -> str:
    said = models.get(part)
    said = said if isinstance(said, dict) else {"id": said}
    at = f" at {said['revision']}" if said.get("revision") else ""
    return f"{said.get('id')}{at} ({models.get(width)} wide)"


def _new(file: Path, info: ShardInfo, models: dict[str, Any], seen: set[bytes]) -> Kept:
    """Which rows of a shard were not seen yet, (n,); they are from now on. Rows of regions go by pictures,
    none of which has its rows in two shards of one run."""
    made, cut = info.settings.get("models", models), info.settings.get(REGIONS)
    drawn = made.get("generator") if isinstance(made, dict) else None
    generator = json.dumps([drawn, cut], sort_keys=True)
    # Photographs go by their content, whatever they are called.
    names = _NAMED if not cut else _PICTURE if drawn else _PICTURE[:1]
    table = read_rows(file, list(names))
    kept = np.zeros(len(table), bool)
    columns = [table.column(name).to_pylist() for name in names]
    own: set[bytes] = set()
    for i, row in enumerate(zip(*columns, strict=True)):
        told = json.dumps([generator, *row], ensure_ascii=True).encode()
        digest = hashlib.blake2b(told, digest_size=16).digest()
        kept[i] = digest not in seen
        (own if cut else seen).add(digest)
    seen |= own
    return kept


def _about(banks: Sequence[Bank], given: Sequence[int], dropped: Sequence[int]) -> dict[str, Any]:
    """bank.json of the merged: the first bank's models, and of each what it gave and was made with."""
    merged = [
        {
            "name": bank.path.resolve().name,
            "identity": bank.identity,
            "pairs": pairs,
            "duplicates": duplicates,
            "made": made_with(bank.meta),
        }
        for bank, pairs, duplicates in zip(banks, given, dropped, strict=True)
    ]
    first = banks[0].meta
    same = {key: v for key, v in made_with(first).items() if all(bank.meta.get(key) == v for bank in banks)}
    return {"preset": first.get("preset"), "models": first["models"], **same, "merged": merged}
