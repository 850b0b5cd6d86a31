"""One shard of captions turned into the bank's rows: the pure unit of work of the offline stage."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ..bank import Pair
from ..encoders import Encoders, load_encoders
from ..errors import FreedaError, MachineError, ModelError, device_lost, first_line, out_of_memory, printable
from ..options import CollectOptions, DenseClip, Superpixels
from ..precision import choose_device, choose_dtype, drawing_dtype
from ..presets import Preset
from ..region_models import load_regions
from ..segment.regions import RegionMap, Regions, SuperpixelRegions, region_map, regions_from
from .captions import Caption
from .generator import Generator, load_generator, picture_seed
from .masks import WordMask, word_map, word_masks
from .nouns import Noun, nouns_of
from .pairs import NounKeys, make_pair, small_jpeg
from .regions import pool_both, region_rows
from .tokens import prove_tokenizer, span_columns, token_offsets, whole

OnPicture = Callable[[Caption, npt.NDArray[np.uint8], list[tuple[Noun, WordMask]]], None]
"""Called for each drawn caption with its picture (H, W, 3) and every noun's map and mask."""

HOPELESS = 16
"""Captions that must all fail, the first of a shard, for the models to be taken for broken."""


@dataclass(frozen=True)
class CollectModels:
    """What the offline stage needs loaded."""

    encoders: Encoders
    generator: Generator
    keys: NounKeys
    regions: Regions = field(default_factory=lambda: SuperpixelRegions(Superpixels()))
    """What cuts pictures, for rows of regions."""
    dense_clip: DenseClip = field(default_factory=DenseClip)
    """How these get their values."""


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
    retried: int = 0
    """Batches that had to be tried again caption by caption."""
    crowded: int = 0
    """Those of them for which memory was too small."""
    regions: int = 0
    """Rows of regions."""
    left_out: Counter[str] = field(default_factory=Counter)
    """Reason (of `regions.REASONS`) -> regions that gave none."""

    def add(self, other: Tally) -> None:
        """Count another tally in."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)


@dataclass(frozen=True)
class ShardResult:
    """The rows of a shard, in caption order, and what became of the rest."""

    pairs: list[Pair]
    tally: Tally
    failed: dict[str, str]
    """Ids of captions on which a model failed, also alone, in caption order -> the error in one line."""
    error: Exception | None
    """The first of their errors."""
    regions: list[Pair] = field(default_factory=list)
    """Rows of the pictures' regions, where they were asked for."""


@dataclass(frozen=True)
class Task:
    """A caption to draw: its picture's seed, its nouns with their text positions, and all of these."""

    caption: Caption
    seed: int
    nouns: list[tuple[Noun, list[int]]]
    columns: list[int]


@dataclass
class ShardPlan:
    """The captions that have a noun, the nouns that the tokenizer cut off, the captions that failed."""

    tasks: list[Task] = field(default_factory=list)
    cut_off: Counter[str] = field(default_factory=Counter)
    failed: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class CaptionResult:
    """A caption's picture (H, W, 3), every noun's map and mask, its row or why it has none."""

    image: npt.NDArray[np.uint8]
    words: list[tuple[Noun, WordMask]]
    rows: list[Pair | str]
    regions: list[Pair | str] = field(default_factory=list)
    """A row of every region or why it has none, where they were asked for."""


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
    view = preset.segment
    found = load_regions(preset, encoders.device, encoders.dtype) if options.region_values else None
    regions = regions_from(found, view.superpixels)
    return CollectModels(encoders, generator, NounKeys(encoders.clip, options), regions, view.dense_clip)


def make_shard(
    captions: Sequence[Caption],
    models: CollectModels,
    options: CollectOptions,
    *,
    seed: int = 0,
    tagger: str = "auto",
    on_picture: OnPicture | None = None,
    on_batch: Callable[[Tally], None] | None = None,
) -> ShardResult:
    """Draw the captions, locate their nouns, and take a key and a prototype of each (method, offline stage).

    The same captions, models, options and seed give the same rows; another `options.batch_size` changes
    them by rounding only. A batch on which a model fails is tried again caption by caption, and what fails
    then is left out and counted. `on_batch` gets what became of every batch.

    Where the first `HOPELESS` captions all fail, the models are broken, not the captions: `broken` is raised.
    So is ModelError where tagger or tokenizer fail on a plain sentence, and MachineError where memory is too
    small for one picture, or the device is lost: no caption's fault.
    """
    models = replace(models, keys=models.keys.under(options))  # they may have been loaded for other options
    prove_tokenizer(models.generator.tokenizer)
    plan = plan_captions(captions, models.generator.tokenizer, seed, tagger)
    total, pairs, failed = Tally(), list[Pair](), dict(plan.failed)
    regions: list[Pair] = []
    error: Exception | None = None

    def count(tally: Tally) -> None:
        total.add(tally)
        if on_batch is not None:
            on_batch(tally)

    undrawn = len(captions) - len(plan.tasks)
    count(Tally(undrawn, rejected=plan.cut_off, failed=len(plan.failed)))
    for start in range(0, len(plan.tasks), options.batch_size):
        batch = plan.tasks[start : start + options.batch_size]
        results, tally = _attempt(batch, models, options)
        for task, result in zip(batch, results, strict=True):
            if isinstance(result, Exception):
                failed[task.caption.id] = told_of(result)
                error = error or result
                tally.failed += 1
                continue
            if on_picture is not None:
                on_picture(task.caption, result.image, result.words)
            made = [row for row in result.rows if isinstance(row, Pair)]
            tally.pictures, tally.pairs = tally.pictures + 1, tally.pairs + len(made)
            tally.rejected.update(row for row in result.rows if isinstance(row, str))
            pairs += made
            cut = [row for row in result.regions if isinstance(row, Pair)]
            tally.regions += len(cut)
            tally.left_out.update(row for row in result.regions if isinstance(row, str))
            regions += cut
        if error is not None and not total.pictures + tally.pictures and start + len(batch) >= HOPELESS:
            raise broken(error) from error
        count(tally)
    told = {c.id: failed[c.id] for c in captions if c.id in failed}
    return ShardResult(pairs, total, told, error, regions)


def broken(error: Exception) -> FreedaError:
    """What to raise where every caption failed, the first with `error`."""
    if isinstance(error, FreedaError):
        return type(error)(str(error))
    return ModelError(f"no caption could be drawn, the first one failed with {told_of(error)}")


def told_of(error: Exception) -> str:
    """An error's kind and the first line of its text, at most 300 characters."""
    text = printable(first_line(error))
    return (text if isinstance(error, FreedaError) else f"{type(error).__name__}: {text}")[:300]


def plan_captions(captions: Sequence[Caption], tokenizer: Any, seed: int, tagger: str) -> ShardPlan:
    """What to draw and which text positions to watch; nouns that the tokenizer cut off are counted."""
    plan = ShardPlan()
    for caption in captions:
        try:
            found = nouns_of(caption, tagger)
            offsets = token_offsets(tokenizer, caption.text) if found else []
        except FreedaError:  # a tokenizer or tagger that can do nothing of the kind
            raise
        except Exception as error:  # whatever it is, it concerns this caption
            if out_of_memory(error):
                raise
            plan.failed[caption.id] = told_of(error)
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
) -> tuple[Sequence[CaptionResult | Exception], Tally]:
    """Each caption's result or error: drawn together or, where that fails, one by one."""
    with told_if_short("drawing a picture", options, models.encoders.device, models.generator.dtype):
        try:
            return _draw_batch(batch, models, options), Tally(len(batch))
        except Exception as error:  # models raise anything; what it was is told with the caption
            crowded = out_of_memory(error)
            if device_lost(error) or (crowded and len(batch) == 1):
                raise
            if len(batch) == 1:
                return [error], Tally(1)
    # Outside the handler, where nothing holds the failed batch's memory any more.
    alone = [result for task in batch for result in _attempt([task], models, options)[0]]
    return alone, Tally(len(batch), retried=1, crowded=int(crowded))


def _draw_batch(batch: list[Task], models: CollectModels, options: CollectOptions) -> list[CaptionResult]:
    drawn = models.generator.draw(
        [t.caption.text for t in batch], [t.seed for t in batch], [t.columns for t in batch], options
    )
    encoders = models.encoders
    pixels = torch.from_numpy(drawn.images).to(encoders.device).permute(0, 3, 1, 2).float() / 255
    dense, embedded = encoders.patches(pixels), encoders.embed(pixels).cpu().numpy()
    each = zip(batch, drawn.images, drawn.maps, dense, embedded, strict=True)
    results = [rows_of(*one, models.keys, options) for one in each]
    if options.region_values:
        maps = [region_map(models.regions, image) for image in drawn.images]
        joint = encoders.joint(pixels, dense, maps, models.dense_clip)[1]
        parts = zip(results, batch, maps, dense, joint, strict=True)
        results = [_with_regions(*part, models.keys, options) for part in parts]
    return results


def _with_regions(
    result: CaptionResult,
    task: Task,
    regions: RegionMap,
    features: torch.Tensor,
    joint: torch.Tensor,
    keys: NounKeys,
    options: CollectOptions,
) -> CaptionResult:
    pairs = zip(result.words, result.rows, strict=True)
    found = [(noun.lemma, word.mask) for (noun, word), row in pairs if isinstance(row, Pair)]
    about: dict[str, Any] = {"caption_id": task.caption.id, "caption": task.caption.text, "seed": task.seed}
    pooled = pool_both(features, joint, regions)
    rows = region_rows(*pooled, regions, found, keys, result.image if options.keep_images else None, **about)
    return replace(result, regions=rows)


def rows_of(
    task: Task,
    image: npt.NDArray[np.uint8],
    maps: torch.Tensor,
    features: torch.Tensor,
    seen: npt.NDArray[np.float32],
    keys: NounKeys,
    options: CollectOptions,
) -> CaptionResult:
    """The masks and rows that a drawn caption gives.

    `image` (H, W, 3) with the `maps` of `task.columns` (`generator.DrawnBatch`), its dense `features` and its
    CLIP embedding `seen`.
    """
    words = word_masks(image, [word_map(maps, task.columns, wanted) for _, wanted in task.nouns], options)
    located = list(zip([noun for noun, _ in task.nouns], words, strict=True))
    picture = small_jpeg(image) if options.keep_images else None
    rows: list[Pair | str] = []
    for noun, word in located:
        made = make_pair(task.caption, task.seed, noun, word, features, seen, keys, options, picture)
        rows.append(made)
        if not isinstance(made, str):
            picture = None  # stored once a caption
    return CaptionResult(image, located, rows)


@contextmanager
def told_if_short(
    doing: str, options: CollectOptions, device: torch.device, dtype: torch.dtype, loading: bool = False
) -> Iterator[None]:
    """Raise MachineError where `doing` something ("drawing a picture") fails for want of memory, or of a
    device that works; any other error passes.
    """
    try:
        yield
    except Exception as error:
        if lost := device_lost(error):
            raise lost from error
        if not out_of_memory(error):
            raise
        first: BaseException = error
        while first.__cause__ is not None:
            first = first.__cause__
        raise MachineError(
            f"memory ran out {doing} on {device} ({first_line(first)[:120]}): "
            f"{savings(options, device, dtype, loading)}"
        ) from error


def savings(options: CollectOptions, device: torch.device, dtype: torch.dtype, loading: bool) -> str:
    """What takes less memory than this, as the command line names it; what saves most comes first."""
    half = "bfloat16" if device.type == "cpu" else "float16"
    ways = {"none": ["offload=model"], "model": ["offload=sequential"]}.get(options.offload, [])
    ways = [] if device.type == "cpu" else ways
    if not loading:
        ways += [] if options.vae_tiling else ["vae_tiling=true"]
        ways += [f"size={options.size * 3 // 4 // 8 * 8}"] if options.size >= 128 else []
    named = [f"--dtype {half}"] if dtype == torch.float32 else []
    if ways:
        named.append(f"{', '.join(ways)} (each by --set; by --draw with segment and evaluate)")
    return f"less is needed with {', or with '.join(named)}" if named else "it takes a device with more"
