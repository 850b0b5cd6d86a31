"""Where a layer lies and what it holds: a bank whose every shard was drawn for one word."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from glob import escape
from itertools import count
from pathlib import Path

from ..bank import Bank
from ..bank.format import MANIFEST, SHARDS, ShardInfo, read_info, shard_name
from ..bank.layered import GrownBank
from ..bank.manifest import finish_bank
from ..bank.verify import shard_damage
from ..errors import BankError
from ..files import cache_folder
from ..options import CollectOptions, to_dict
from ..options.collect import PACE
from ..presets import ModelSource, Preset, local_folder

SUFFIX, GROWN = ".grown", "grown"
_ASIDE = (*PACE, "prompts_per_word", "shard_size", "duplicates")  # what the rows of a word do not depend on
_KEY = ("key", "key_weight", "templates")  # what its rows are found by


def growth_options(preset: Preset) -> CollectOptions:
    """The preset's options of collecting, with keys that are what class names will be compared to."""
    return replace(preset.collect, key="template", templates=preset.segment.templates)


def layer_beside(bank: str | Path) -> Path:
    """Where the layer of a bank directory lies: `bank.grown` beside `bank`."""
    path = Path(bank).absolute()
    return path.with_name(path.name + SUFFIX)


def personal_layer(preset: Preset, options: CollectOptions | None = None) -> Path:
    """Where words are grown that belong to no bank of the user's: a folder in the cache, one for all models
    and options that rows depend on. `options` None takes `growth_options`.

    Its name ends in what rows are found by and told by, then in how their pictures are drawn.
    """
    options = growth_options(preset) if options is None else options
    folder, plain, given = cache_folder() / "grown", to_dict(CollectOptions()), to_dict(options)
    # Only what is not as usual: an option that is new tomorrow must not hide what was drawn today.
    told = {n: v for n, v in given.items() if n not in (*_ASIDE, *_KEY) and v != plain[n]}
    drawer = [_place(preset.generator), _place(preset.lora), sorted(told.items())]
    new = folder / f"{preset.name}-{_family(preset, options)}-{_hashed(drawer)}"
    # As folders were called at first: one number for everything.
    models = [_place(s) for s in (preset.clip, preset.dense, preset.generator, preset.lora)]
    rows = sorted((name, v) for name, v in given.items() if name not in _ASIDE)
    old = folder / f"{preset.name}-{_hashed((models, preset.clip_size, preset.dense_size, rows), 12)}"
    return old if old.is_dir() and not new.is_dir() else new


def related_layers(preset: Preset) -> list[Path]:
    """Other folders of the same encoders and keys, whose pictures were drawn in another way; latest first."""
    own = personal_layer(preset)
    found = own.parent.glob(f"{escape(preset.name)}-{_family(preset, growth_options(preset))}-*")
    return sorted((path for path in found if path != own), key=lambda p: p.stat().st_mtime, reverse=True)


def layers_with(
    words: Iterable[str], own: Path, related: Sequence[Path] = (), images: int | None = None
) -> list[Bank]:
    """What was grown for these words and no others: of the layer `own`, where it has any, and of `related`
    ones for words that it lacks, each from `images` pictures or more. Raises BankError where `own` is
    damaged."""
    lacking, found = set(map(tidy, words)), list[Bank]()
    layer = open_layer(own)
    if layer is not None and (mine := lacking & set(layer.nouns)):
        found.append(layer.only(mine))
        lacking -= mine
    for path in related:
        with suppress(BankError):
            if lacking and (layer := open_layer(path)) is not None:
                enough = {word for word, n in layer.meta["words"].items() if n >= (images or 1)}
                if mine := lacking & enough & set(layer.nouns):
                    found.append(layer.only(mine))
                    lacking -= mine
    return found


def tidy(word: str) -> str:
    """A word as a layer knows it."""
    return " ".join(word.split()).lower()


def open_layer(layer: Path) -> Bank | None:
    """The layer that lies there; None where nothing was grown yet. Raises BankError for a damaged one."""
    return Bank.open(layer) if (layer / MANIFEST).exists() else None


def with_layer(bank: Bank | None, *layers: Bank | None) -> Bank | GrownBank | None:
    """A bank and its layers read as one, where there are layers."""
    there = [layer for layer in layers if layer is not None]
    return GrownBank(bank, *there) if there else bank


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
    for file in {*(layer / SHARDS).glob("*.parquet")} - {layer / name for name, _ in shards}:
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


def _family(preset: Preset, options: CollectOptions) -> str:
    """What two layers must have in common to answer for the same words: encoders, their input, keys."""
    clip = _place(preset.clip), preset.clip_size, preset.clip_mean, preset.clip_std
    dense = _place(preset.dense), preset.dense_size, preset.dense_mean, preset.dense_std
    return _hashed((clip, dense, [getattr(options, name) for name in _KEY]))


def _hashed(told: object, digits: int = 8) -> str:
    return hashlib.sha256(repr(told).encode()).hexdigest()[:digits]


def _place(source: ModelSource | None) -> tuple[str | None, ...] | None:
    """What a model is: a hub id and its revision, or where a local folder lies."""
    if source is None:
        return None
    folder = local_folder(source.id)
    where = (source.id if folder is None else str(folder.resolve()), source.revision)
    return where if source.weight_name is None else (*where, source.weight_name)
