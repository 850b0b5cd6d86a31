"""Where a layer lies and what it holds: a bank whose every shard was drawn for one word."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path

from ..bank import Bank
from ..bank.format import MANIFEST, SHARDS, ShardInfo, read_info, shard_name
from ..bank.layers import GrownBank
from ..bank.manifest import finish_bank
from ..bank.verify import shard_damage
from ..errors import BankError
from ..files import cache_folder
from ..options import CollectOptions, to_dict
from ..options.collect import PACE
from ..presets import ModelSource, Preset, local_folder

SUFFIX, GROWN = ".grown", "grown"
_ASIDE = (*PACE, "prompts_per_word", "shard_size", "duplicates")  # what the rows of a word do not depend on


def growth_options(preset: Preset) -> CollectOptions:
    """The preset's options of collecting, with keys that are what class names will be compared to."""
    return replace(preset.collect, key="template", templates=preset.segment.templates)


def layer_beside(bank: str | Path) -> Path:
    """Where the layer of a bank directory lies: `bank.grown` beside `bank`."""
    path = Path(bank).absolute()
    return path.with_name(path.name + SUFFIX)


def personal_layer(preset: Preset) -> Path:
    """Where words are grown that belong to no bank of the user's: a folder in the cache, one for all models
    and options that rows depend on."""
    options = {name: v for name, v in to_dict(growth_options(preset)).items() if name not in _ASIDE}
    models = [_place(s) for s in (preset.clip, preset.dense, preset.generator, preset.lora)]
    told = repr((models, preset.clip_size, preset.dense_size, sorted(options.items())))
    return cache_folder() / "grown" / f"{preset.name}-{hashlib.sha256(told.encode()).hexdigest()[:12]}"


def open_layer(layer: Path) -> Bank | None:
    """The layer that lies there; None where nothing was grown yet. Raises BankError for a damaged one."""
    return Bank.open(layer) if (layer / MANIFEST).exists() else None


def with_layer(bank: Bank | None, layer: Bank | None) -> Bank | GrownBank | None:
    """A bank and its layer read as one, where there is a layer."""
    return bank if layer is None else GrownBank(bank, layer)


def shards_of(layer: Path) -> Iterator[tuple[str, ShardInfo]]:
    """The whole shards of a layer from the first on, those that a stopped run left behind its end too."""
    listed = open_layer(layer)
    known = len(listed.meta["shards"]) if listed is not None else 0
    for index in count():
        name = shard_name(index)
        if not (layer / name).exists() or (index >= known and shard_damage(layer / name) is not None):
            return
        yield name, read_info(layer / name)


def drawn(infos: Iterable[ShardInfo]) -> dict[str, set[str]]:
    """Word -> the ids of its captions that were drawn."""
    found: dict[str, set[str]] = {}
    for info in infos:
        found.setdefault(str(info.settings.get("word")), set()).update(info.settings.get("ids", ()))
    return found


def finish_layer(layer: Path) -> None:
    """Make a bank of all whole shards of a layer, unless it is one; whoever calls this is its only writer.

    Raises BankError where not one of them holds a reference.
    """
    before, shards = open_layer(layer), list(shards_of(layer))
    if before is not None and len(shards) == len(before.meta["shards"]):
        return
    wanted = {name for name, _ in shards}
    for file in (layer / SHARDS).glob("*.parquet"):
        if f"{SHARDS}/{file.name}" not in wanted:
            file.unlink()
    pictures, rejected = Counter[str](), Counter[str]()
    for _, info in shards:
        pictures[str(info.settings.get("word"))] += info.captions
        rejected.update(info.rejected)
    if not any(info.pairs for _, info in shards):
        why = ", ".join(f"{n:,} {reason}" for reason, n in rejected.most_common()) or "the models failed"
        raise BankError(
            f"{layer}: no word was found in its {pictures.total():,} pictures ({why}): draw more pictures of "
            "each, or take other words for the same thing"
        )
    settings = {name: v for name, v in shards[-1][1].settings.items() if name not in ("word", "ids")}
    finish_bank(layer, len(shards), {**settings, "words": dict(pictures)})


def refuse_other_banks(layer: Path, shards: Iterable[tuple[str, ShardInfo]]) -> None:
    """Raise BankError where the `shards_of` a directory are of a bank that was not grown."""
    for name, info in shards:
        if info.settings.get("source") != GROWN:
            raise BankError(f"{layer}: {name} was not grown: a layer needs a directory of its own")


def _place(source: ModelSource | None) -> tuple[str, str | None] | None:
    """What a model is: a hub id and its revision, or where a local folder lies."""
    if source is None:
        return None
    folder = local_folder(source.id)
    return (source.id if folder is None else str(folder.resolve()), source.revision)
