"""Growing: references drawn for exactly the words that a bank lacks, into a layer: a bank of its own.

A layer lies beside the bank that it helps (`bank.grown`), or in the cache folder where there is none of the
user's own. It only ever gets longer: a word's pictures depend on the word alone, and are drawn once.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..bank import Bank
from ..bank.format import SHARDS
from ..collection.captions import Caption, prompts_for
from ..collection.job import models_of
from ..collection.plan import settings_of, sweep
from ..collection.progress import CaptionProgress
from ..collection.runner import Runner
from ..collection.shard import CollectModels, broken, load_models, make_shard
from ..errors import InputError
from ..files import make_folder
from ..lock import only_writer
from ..options import CollectOptions
from ..options.word_list import every_word
from ..presets import DEFAULT, Preset, find_preset
from .layer import (
    GROWN,
    drawn,
    finish_layer,
    growth_options,
    open_layer,
    personal_layer,
    refuse_other_banks,
    shards_of,
    tidy,
)

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
    there = drawn(info for _, info in shards_of(layer))
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
        refuse_other_banks(layer, shards)
        there = drawn(info for _, info in shards)
        todo = [[c for c in cs if c.id not in there.get(w, ())] for w, cs in plan.captions.items()]
        size = options.batch_size  # of one word each
        batches = [cs[i : i + size] for cs in todo for i in range(0, len(cs), size)]
        runner = Runner(layer, options, {**settings, "source": GROWN}, models, works=len(shards) > 0)
        with CaptionProgress(sum(map(len, todo)), 0, progress) as bar:
            for index, batch in enumerate(batches, len(shards)):
                own = {"word": batch[0].word, "ids": [caption.id for caption in batch]}
                runner.make(index, batch, bar.count, own)
        finish_layer(layer)
    return _become(plan)


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
    return _become(plan)


def _become(plan: Plan) -> Grown:
    """What the layer holds now for the words of a plan."""
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
