"""One shard of captions turned into the bank's rows: the pure unit of work of the offline stage."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ..bank import Pair
from ..encoders import Encoders, load_encoders
from ..errors import FreedaError, ModelError, device_lost, first_line, out_of_memory, printable
from ..options import CollectOptions
from ..precision import choose_device, choose_dtype, drawing_dtype
from ..presets import Preset
from .captions import Caption
from .generator import Generator, load_generator, picture_seed
from .keys import NounKeys
from .masks import WordMask, word_map, word_masks
from .memory import told_if_short
from .nouns import Noun, nouns_of
from .pairs import make_pair, small_jpeg
from .tokens import prove_tokenizer, span_columns, token_offsets, whole

Picture = Callable[[Caption, npt.NDArray[np.uint8], list[tuple[Noun, WordMask]]], None]
"""Called for each drawn caption with its picture (H, W, 3) and every noun's map and mask."""

HOPELESS = 16
"""Captions that must all fail, the first of a shard, for the models to be taken for broken."""


@dataclass(frozen=True)
class CollectModels:
    """What the offline stage needs loaded."""

    encoders: Encoders
    generator: Generator
    keys: NounKeys


@dataclass(frozen=True)
class Failure:
    """A caption on which a model failed, also when it was tried alone."""

    caption_id: str
    error: str
    """In one line."""


@dataclass
class Tally:
    """What became of captions and their nouns: of a batch, a shard, a run."""

    captions: int = 0
    pictures: int = 0
    """Captions drawn; those without a noun are not."""
    pairs: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    """Reason (of `pairs.REASONS`) -> nouns that gave no row."""
    failed: int = 0
    crowded: int = 0
    """Batches for which memory was too small, drawn one by one instead."""

    def add(self, other: Tally) -> None:
        """Count another tally in."""
        self.captions += other.captions
        self.pictures += other.pictures
        self.pairs += other.pairs
        self.rejected += other.rejected
        self.failed += other.failed
        self.crowded += other.crowded


@dataclass(frozen=True)
class ShardResult:
    """The rows of a shard, in caption order, and what became of the rest."""

    pairs: list[Pair]
    pictures: int
    """Captions drawn; those without a noun are not."""
    rejected: dict[str, int]
    """Reason (of `pairs.REASONS`) -> nouns that gave no row."""
    failed: list[Failure]
    """Captions on which a model failed, in caption order."""
    error: Exception | None = None
    """The first of their errors."""
    retried: int = 0
    """Batches that had to be tried again caption by caption."""
    crowded: int = 0
    """Those of them for which memory was too small."""


@dataclass(frozen=True)
class Task:
    """A caption to draw: its picture's seed, its nouns with their text positions, and all of these."""

    caption: Caption
    seed: int
    nouns: list[tuple[Noun, list[int]]]
    columns: list[int]


@dataclass
class Plan:
    """The captions that have a noun, the nouns that the tokenizer cut off, the captions that failed."""

    tasks: list[Task] = field(default_factory=list)
    cut_off: Counter[str] = field(default_factory=Counter)
    failed: list[Failure] = field(default_factory=list)


@dataclass(frozen=True)
class Drawn:
    """A caption's picture (H, W, 3), every noun's map and mask, its row or why it has none."""

    image: npt.NDArray[np.uint8]
    words: list[tuple[Noun, WordMask]]
    rows: list[Pair | str]


def load_models(
    preset: Preset,
    options: CollectOptions,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype | None = None,
    drawing: str | torch.dtype | None = None,
) -> CollectModels:
    """Load a preset's encoders and generator. Raises ModelError or InputError, one line.

    `dtype` rules both; where it is None, encoders take float32 and the generator what `drawing_dtype` says.
    `drawing` is the generator's own.
    """
    on = choose_device(device)
    kind = choose_dtype("float32" if dtype is None else dtype, on)
    with told_if_short("loading the encoders", options, on, kind, loading=True):
        encoders = load_encoders(preset, on, kind)
    return with_generator(encoders, preset, options, dtype if drawing is None else drawing)


def with_generator(
    encoders: Encoders, preset: Preset, options: CollectOptions, dtype: str | torch.dtype | None = None
) -> CollectModels:
    """Load the generator beside encoders that are loaded. Raises ModelError or InputError, one line.

    `dtype` None: that of the encoders where it is not the usual float32, else as `drawing_dtype` says.
    """
    if dtype is None and encoders.dtype != torch.float32:
        dtype = encoders.dtype
    kind = drawing_dtype(dtype, encoders.device)
    with told_if_short("loading the generator", options, encoders.device, kind, loading=True):
        generator = load_generator(preset.generator, encoders.device, kind, preset.lora, options.offload)
    return CollectModels(encoders, generator, NounKeys(encoders.clip, options))


def make_shard(
    captions: Sequence[Caption],
    models: CollectModels,
    options: CollectOptions,
    *,
    seed: int = 0,
    tagger: str = "auto",
    on_picture: Picture | None = None,
    on_batch: Callable[[Tally], None] | None = None,
) -> ShardResult:
    """Draw the captions, locate their nouns, and take a key and a prototype of each (method, offline stage).

    The same captions, models, options and seed give the same rows; another `options.batch_size` changes
    them by rounding only. A batch on which a model fails is tried again caption by caption, and what fails
    then is left out and told. `on_batch` is told what became of every batch.

    Where the first `HOPELESS` captions all fail, the models are broken, not the captions: `broken` is raised.
    So is ModelError where tagger or tokenizer fail on a plain sentence, and MachineError where memory is too
    small for one picture, or the device is lost: no caption's fault.
    """
    on_batch = on_batch or (lambda _: None)
    models = replace(models, keys=models.keys.under(options))  # they may have been loaded for other options
    prove_tokenizer(models.generator.tokenizer)
    plan = plan_captions(captions, models.generator.tokenizer, seed, tagger)
    pairs: list[Pair] = []
    rejected, failed = Counter(plan.cut_off), list(plan.failed)
    first: Exception | None = None
    pictures, retried, crowded = 0, 0, 0
    unseen = len(captions) - len(plan.tasks)
    on_batch(Tally(unseen, 0, 0, Counter(plan.cut_off), len(plan.failed)))
    for start in range(0, len(plan.tasks), options.batch_size):
        batch = plan.tasks[start : start + options.batch_size]
        told = Tally(captions=len(batch))
        found, again, short = _attempt(batch, models, options)
        told.crowded = int(short)
        retried, crowded = retried + again, crowded + short
        for task, drawn in zip(batch, found, strict=True):
            if isinstance(drawn, Exception):
                failed.append(Failure(task.caption.id, told_of(drawn)))
                first = first or drawn
                told.failed += 1
                continue
            if on_picture is not None:
                on_picture(task.caption, drawn.image, drawn.words)
            made = [row for row in drawn.rows if not isinstance(row, str)]
            told.pictures, told.pairs = told.pictures + 1, told.pairs + len(made)
            told.rejected.update(row for row in drawn.rows if isinstance(row, str))
            pairs += made
        pictures += told.pictures
        rejected += told.rejected
        if first is not None and not pictures and start + len(batch) >= HOPELESS:
            raise broken(first) from first
        on_batch(told)
    order = {caption.id: i for i, caption in enumerate(captions)}
    failed.sort(key=lambda failure: order[failure.caption_id])
    return ShardResult(pairs, pictures, dict(rejected), failed, first, retried, crowded)


def broken(error: Exception) -> FreedaError:
    """What to raise where every caption failed, the first with `error`."""
    if isinstance(error, FreedaError):
        return type(error)(str(error))
    return ModelError(f"no caption could be drawn, the first one failed with {told_of(error)}")


def told_of(error: Exception) -> str:
    """An error's kind and the first line of its text, at most 300 characters."""
    text = printable(first_line(error))
    return (text if isinstance(error, FreedaError) else f"{type(error).__name__}: {text}")[:300]


def plan_captions(captions: Sequence[Caption], tokenizer: Any, seed: int, tagger: str) -> Plan:
    """What to draw and which text positions to watch; nouns that the tokenizer cut off are counted."""
    plan = Plan()
    for caption in captions:
        try:
            found = nouns_of(caption, tagger)
            offsets = token_offsets(tokenizer, caption.text) if found else []
        except FreedaError:  # a tokenizer or tagger that can do nothing of the kind
            raise
        except Exception as error:  # whatever it is, it concerns this caption
            if out_of_memory(error):
                raise
            plan.failed.append(Failure(caption.id, told_of(error)))
            continue
        nouns = []
        for noun in found:
            columns = span_columns(offsets, [s for s in noun.spans if whole(offsets, s)])
            if columns:
                nouns.append((noun, columns))
            else:
                plan.cut_off["cut off"] += 1
        if nouns:
            watched = sorted({c for _, columns in nouns for c in columns})
            plan.tasks.append(Task(caption, picture_seed(caption.id, seed), nouns, watched))
    return plan


def _attempt(
    batch: list[Task], models: CollectModels, options: CollectOptions
) -> tuple[Sequence[Drawn | Exception], bool, bool]:
    """Each caption's picture and rows, or its error; whether they had to be tried one by one, and whether
    for want of memory. Raises MachineError where that, or the device, fails a caption alone."""
    with told_if_short("drawing a picture", options, models.encoders.device, models.generator.dtype):
        try:
            return _draw_batch(batch, models, options), False, False
        except Exception as error:  # models raise anything; what it was is told with the caption
            crowded = out_of_memory(error)
            if device_lost(error) or (crowded and len(batch) == 1):
                raise
            if len(batch) == 1:
                return [error], False, False
    # Outside the handler, where nothing holds the failed batch's memory any more.
    return [found for task in batch for found in _attempt([task], models, options)[0]], True, crowded


def _draw_batch(batch: list[Task], models: CollectModels, options: CollectOptions) -> list[Drawn]:
    drawn = models.generator.draw(
        [t.caption.text for t in batch], [t.seed for t in batch], [t.columns for t in batch], options
    )
    encoders = models.encoders
    pixels = torch.from_numpy(drawn.images).to(encoders.device).permute(0, 3, 1, 2).float() / 255
    dense = encoders.dense.encode(pixels)
    embedded = encoders.clip.encode_image(pixels).cpu().numpy()
    each = zip(batch, drawn.images, drawn.maps, dense, embedded, strict=True)
    return [rows_of(*one, models.keys, options) for one in each]


def rows_of(
    task: Task,
    image: npt.NDArray[np.uint8],
    maps: torch.Tensor,
    features: torch.Tensor,
    seen: npt.NDArray[np.float32],
    keys: NounKeys,
    options: CollectOptions,
) -> Drawn:
    """The masks and rows that a drawn caption gives.

    `image` (H, W, 3) with the `maps` of `task.columns` (`generator.Drawing`), its dense `features` and its
    CLIP embedding `seen`.
    """
    words = word_masks(image, [word_map(maps, task.columns, wanted) for _, wanted in task.nouns], options)
    located = [(noun, word) for (noun, _), word in zip(task.nouns, words, strict=True)]
    picture = small_jpeg(image) if options.keep_images else None
    rows: list[Pair | str] = []
    for noun, word in located:
        made = make_pair(task.caption, task.seed, noun, word, features, seen, keys, options, picture)
        rows.append(made)
        if not isinstance(made, str):
            picture = None  # stored once a caption
    return Drawn(image, located, rows)
