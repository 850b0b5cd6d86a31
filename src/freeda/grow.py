"""Growing: references drawn for exactly the words that a bank lacks, into a layer: a bank of its own.

A layer lies beside the bank that it helps (`bank.grown`), or in the cache folder where there is none of the
user's own. Each of its shards was drawn for one word. It only ever gets longer: a word's pictures depend on
the word alone, and are drawn once.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from glob import escape
from itertools import count
from pathlib import Path

from .bank import Bank
from .bank.format import MANIFEST, SHARDS, ShardInfo, read_info, shard_name
from .bank.layered import GrownBank
from .bank.manifest import finish_bank
from .bank.verify import shard_damage
from .collection.captions import Caption, prompts_for
from .collection.job import models_of, settings_of, sweep
from .collection.runner import CaptionProgress, Runner
from .collection.shard import CollectModels, broken, load_models, make_shard
from .errors import BankError, InputError
from .files import cache_folder, make_folder
from .lock import only_writer
from .options import PACE, CollectOptions, to_dict
from .options.word_list import every_word
from .presets import (
    CLIP_MEAN,
    CLIP_STD,
    DEFAULT,
    IMAGENET_MEAN,
    IMAGENET_STD,
    ModelSource,
    Preset,
    find_preset,
    local_folder,
)

SUFFIX, GROWN = ".grown", "grown"
_ASIDE = (*PACE, "prompts_per_word", "shard_size", "duplicates")  # what the rows of a word do not depend on
_KEY = ("key", "key_weight", "templates")  # what its rows are found by
_FEW_STEPS, _TRIES = (2, 4), 5
_SHORT = 5.0
"""Seconds: a picture that takes no longer is drawn whole to see how long it takes."""


@dataclass(frozen=True)
class Plan:
    """What growing has to draw."""

    layer: Path
    """The layer's directory; it need not be there yet."""
    captions: Mapping[str, Sequence[Caption]]
    """Word -> what is to be drawn for it; nothing for a word that has its pictures."""

    @property
    def pictures(self) -> int:
        """How many pictures are to be drawn."""
        return sum(map(len, self.captions.values()))


@dataclass(frozen=True)
class Grown:
    """What became of the words."""

    layer: Bank
    references: dict[str, int]
    """Word -> its references in the layer, those drawn earlier too."""
    pictures: dict[str, int]
    """Word -> pictures drawn for it, those drawn earlier too."""
    rejected: dict[str, dict[str, int]]
    """Word -> reason -> pictures in which it was not found well enough."""


def plan_growth(
    words: Iterable[str],
    layer: str | Path,
    options: CollectOptions,
    images: int | None = None,
    captions: str | Path | None = None,
) -> Plan:
    """What is missing for `images` pictures of each word (None: `options.prompts_per_word`).

    `words` may be one text, a list as `split_words` reads it.

    Prompts are captions of the file `captions` that contain the word, else and for the rest
    `options.word_prompts`. Raises InputError for what is no word, `images` below 1, and an unusable file;
    BankError for a damaged layer.
    """
    images = options.prompts_per_word if images is None else images
    if images < 1:
        raise InputError(f"{images} pictures a word: at least 1 must be drawn")
    layer = Path(layer)
    there = _drawn(layer)
    given = every_word(words) if isinstance(words, str) else words
    lacking = {word: max(0, images - len(there.get(word, ()))) for word in map(tidy, given)}
    found = prompts_for([word for word, n in lacking.items() if n], images, there, options, captions)
    return Plan(layer, {word: found[word][:n] if n else [] for word, n in lacking.items()})


def seconds_a_picture(models: CollectModels, options: CollectOptions) -> float:
    """How long one picture will take here with all that is made of it, in seconds.

    One that takes long is foretold from pictures of two and of four steps, others are made whole.
    Raises ModelError or InputError where none can be made.
    """
    size = 1 if models.encoders.device.type == "cpu" else options.batch_size
    trial = [Caption(f"trial/{i}", "a photo of the thing", "thing") for i in range(size)]

    def draw(steps: int) -> float:
        start = time.perf_counter()
        made = make_shard(trial, models, replace(options, steps=steps))
        if made.error is not None and not made.tally.pictures:
            raise broken(made.error) from made.error
        return (time.perf_counter() - start) / size

    def least(steps: int) -> float:
        """Of several where a picture takes no time to speak of: other work on the machine comes and goes."""
        found = [draw(steps)]
        while len(found) < _TRIES and sum(found) < 1.0:
            found.append(draw(steps))
        return min(found)

    (few, more), steps = _FEW_STEPS, options.steps
    draw(min(few, steps))  # the first picture takes longer
    first = least(few) if steps > more else 0.0
    if first / few * steps <= _SHORT:
        return least(steps)
    second = least(more)
    told = first + (second - first) / (more - few) * (steps - few)
    # Steps take part of the time, not more than all of it: other work on the machine must not be multiplied.
    return min(max(second, told), second / more * steps)


def draw_plan(
    plan: Plan,
    preset: Preset,
    models: CollectModels,
    options: CollectOptions,
    seed: int = 0,
    progress: bool = False,
) -> Grown:
    """Draw what a plan says into its layer; stopped at any moment, all but the last batch is kept.

    Raises BankError where the layer was made with other models, is being written by another run, or where
    none of all its words was found in its pictures; ModelError where the models fail; InputError where the
    folder cannot be written to.
    """
    layer, made_by = plan.layer, models_of(preset, models)
    dtype, drawing = models.encoders.dtype, models.generator.dtype
    settings = settings_of(preset.name, made_by, options, seed, dtype, "none", drawing)
    make_folder(layer / SHARDS)
    with only_writer(layer):
        sweep(layer)
        before = open_layer(layer)
        if before is not None:
            before.check_models(settings["models"])
        shards = list(shards_of(layer))
        for name, info in shards:
            if info.settings.get("source") != GROWN:
                raise BankError(f"{layer}: {name} was not grown: a layer needs a directory of its own")
        there = _drawn(layer)
        todo = [[c for c in cs if c.id not in there.get(w, ())] for w, cs in plan.captions.items()]
        size = options.batch_size  # of one word each
        batches = [cs[i : i + size] for cs in todo for i in range(0, len(cs), size)]
        runner = Runner(layer, options, {**settings, "source": GROWN}, models, works=len(shards) > 0)
        with CaptionProgress(sum(map(len, todo)), 0, progress) as bar:
            for index, batch in enumerate(batches, len(shards)):
                own = {"word": batch[0].word, "ids": [caption.id for caption in batch]}
                runner.make(index, batch, bar.count, own)
        finish_layer(layer)
    return settle(plan)


def grow(
    words: Iterable[str],
    layer: str | Path | None = None,
    model: str | Path | Preset = DEFAULT,
    device: str = "auto",
    *,
    images: int | None = None,
    captions: str | Path | None = None,
    options: CollectOptions | None = None,
    dtype: str | None = None,
    seed: int = 0,
    models: CollectModels | None = None,
    progress: bool = False,
) -> Grown:
    """Draw references for words into a layer, unless they are there.

    Args:
        words: single words or groups of words ("fire engine").
        layer: the layer's directory (`layer_beside(bank)`); None takes the personal one in the cache folder.
        model, device, dtype, seed, models, progress: as `freeda.collect` has them.
        images: pictures a word; None: `options.prompts_per_word`.
        captions: a caption file whose captions are drawn where they contain a word.
        options: None takes the preset's (`growth_options`).

    Raises as `plan_growth` and `draw_plan` do.
    """
    preset = find_preset(model)
    options = growth_options(preset) if options is None else options
    place = personal_layer(preset, options) if layer is None else layer
    plan = plan_growth(words, place, options, images, captions)
    if not plan.captions:
        raise InputError("no words were given")
    if not plan.pictures:
        return settle(plan)
    models = load_models(preset, options, device, dtype) if models is None else models
    return draw_plan(plan, preset, models, options, seed, progress)


def settle(plan: Plan) -> Grown:
    """What a layer holds for words that all have their pictures; what a stopped run left is made use of.

    Raises BankError where no word was found in any picture.
    """
    there = open_layer(plan.layer)
    if there is None or len(list(shards_of(plan.layer))) > len(there.meta["shards"]):
        with only_writer(plan.layer):
            finish_layer(plan.layer)
    layer = Bank.open(plan.layer)
    references, pictures = Counter(layer.nouns), Counter[str]()
    rejected: dict[str, Counter[str]] = {word: Counter() for word in plan.captions}
    for _, info in shards_of(layer.path):
        word = str(info.settings.get("word"))
        pictures[word] += info.captions
        rejected.setdefault(word, Counter()).update({**info.rejected, "failed": len(info.failed)})
    return Grown(
        layer,
        {word: references[word] for word in plan.captions},
        {word: pictures[word] for word in plan.captions},
        {word: dict(+rejected[word]) for word in plan.captions},
    )


def growth_options(preset: Preset) -> CollectOptions:
    """The preset's options of collecting, with keys that are what class names will be compared to."""
    return replace(preset.collect, key="template", templates=preset.segment.templates, region_values=False)


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
    # As folders were called at first: one number for everything that there was then.
    given["attribution"].pop("propagation")
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


def _drawn(layer: Path) -> dict[str, set[str]]:
    """Word -> the ids of its captions that were drawn."""
    found: dict[str, set[str]] = {}
    for _, info in shards_of(layer):
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


def _family(preset: Preset, options: CollectOptions) -> str:
    """What two layers must have in common to answer for the same words: encoders, their input, keys."""
    clip = _place(preset.clip), preset.clip_size, preset.clip_mean or CLIP_MEAN, preset.clip_std or CLIP_STD
    mean, std = preset.dense_mean or IMAGENET_MEAN, preset.dense_std or IMAGENET_STD
    dense = _place(preset.dense), preset.dense_size, mean, std
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
