"""One shard of captions turned into the bank's rows: the pure unit of work of the offline stage."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from ..bank import Pair
from ..encoders import Encoders, load_encoders
from ..options import CollectOptions
from ..pooling import pool_regions
from ..presets import Preset
from .captions import Caption
from .generator import Generator, load_generator, picture_seed
from .keys import NounKeys
from .masks import WordMask, word_map, word_mask
from .nouns import Noun, find_nouns
from .tokens import span_columns, token_offsets, whole

Picture = Callable[[Caption, npt.NDArray[np.uint8], list[tuple[Noun, WordMask]]], None]
"""Called for each drawn caption with its picture (H, W, 3) and every noun's map and mask."""

_KEPT_SIDE = 256  # pixels; pictures are kept to explain a result, not to be worked on


@dataclass(frozen=True)
class CollectModels:
    """What the offline stage needs loaded."""

    encoders: Encoders
    generator: Generator
    keys: NounKeys


@dataclass(frozen=True)
class ShardResult:
    """The rows of a shard, in caption order, and what became of the rest."""

    pairs: list[Pair]
    pictures: int
    """Captions with at least one noun; the others are not drawn."""
    rejected: int
    """Nouns without a usable mask or prototype, or cut off with the end of a long caption."""


@dataclass(frozen=True)
class _Task:
    caption: Caption
    seed: int
    nouns: list[tuple[Noun, list[int]]]
    columns: list[int]


def load_models(
    preset: Preset,
    options: CollectOptions,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "float32",
) -> CollectModels:
    """Load a preset's encoders and generator. Raises ModelError or InputError, one line."""
    encoders = load_encoders(preset, device, dtype)
    return CollectModels(
        encoders, load_generator(preset.generator, device, dtype), NounKeys(encoders.clip, options.templates)
    )


def make_shard(
    captions: Sequence[Caption],
    models: CollectModels,
    options: CollectOptions,
    *,
    seed: int = 0,
    tagger: str = "auto",
    on_picture: Picture | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> ShardResult:
    """Draw the captions, locate their nouns, and take a key and a prototype of each (method, offline stage).

    The same captions, models, options and seed give the same rows; another `options.batch_size` changes
    them by rounding only. `on_progress` is told how many more captions are done.
    """
    tasks, cut_off = _plan(captions, models.generator.tokenizer, seed, tagger)
    if on_progress is not None and len(captions) > len(tasks):
        on_progress(len(captions) - len(tasks))
    pairs: list[Pair] = []
    nouns = cut_off + sum(len(t.nouns) for t in tasks)
    for start in range(0, len(tasks), options.batch_size):
        batch = tasks[start : start + options.batch_size]
        pairs += _draw_batch(batch, models, options, on_picture)
        if on_progress is not None:
            on_progress(len(batch))
    return ShardResult(pairs, len(tasks), nouns - len(pairs))


def _plan(captions: Sequence[Caption], tokenizer: Any, seed: int, tagger: str) -> tuple[list[_Task], int]:
    """What to draw and which text positions to watch, and how many nouns the tokenizer cut off."""
    tasks, cut_off = [], 0
    for caption in captions:
        found = find_nouns(caption.text, tagger)
        if not found:
            continue
        offsets = token_offsets(tokenizer, caption.text)
        nouns = []
        for noun in found:
            columns = span_columns(offsets, [s for s in noun.spans if whole(offsets, s)])
            if columns:
                nouns.append((noun, columns))
            else:
                cut_off += 1
        if nouns:
            watched = sorted({c for _, columns in nouns for c in columns})
            tasks.append(_Task(caption, picture_seed(caption.id, seed), nouns, watched))
    return tasks, cut_off


def _draw_batch(
    batch: list[_Task], models: CollectModels, options: CollectOptions, on_picture: Picture | None
) -> list[Pair]:
    drawn = models.generator.draw(
        [t.caption.text for t in batch], [t.seed for t in batch], [t.columns for t in batch], options
    )
    encoders = models.encoders
    pixels = torch.from_numpy(drawn.images).to(encoders.device).permute(0, 3, 1, 2).float() / 255
    dense = encoders.dense.encode(pixels)
    embedded = encoders.clip.encode_image(pixels).cpu().numpy()
    pairs: list[Pair] = []
    for task, image, maps, features, seen in zip(
        batch, drawn.images, drawn.maps, dense, embedded, strict=True
    ):
        located = [
            (noun, word_mask(word_map(maps, task.columns, columns), image.shape[:2], options.threshold))
            for noun, columns in task.nouns
        ]
        if on_picture is not None:
            on_picture(task.caption, image, located)
        picture = _jpeg(image) if options.keep_images else None
        for noun, word in located:
            pair = _pair(task, noun, word, features, seen, models.keys, options, picture)
            if pair is not None:
                pairs.append(pair)
                picture = None  # stored once a caption
    return pairs


def _pair(
    task: _Task,
    noun: Noun,
    word: WordMask,
    features: torch.Tensor,
    seen: npt.NDArray[np.float32],
    keys: NounKeys,
    options: CollectOptions,
    picture: bytes | None,
) -> Pair | None:
    """The row of one noun, or None where its mask or vectors are of no use."""
    if not word.mask.any() or not options.min_area <= word.area <= options.max_area:
        return None
    pooled, weight = pool_regions(features, np.where(word.mask, 0, -1), 1)
    key = keys(noun.lemma)
    if key is None or float(weight[0]) == 0:
        return None
    prototype = pooled[0].cpu().numpy().astype(np.float16)
    if not np.isfinite(prototype).all() or not np.isfinite(key).all():
        return None
    return Pair(
        caption_id=task.caption.id,
        caption=task.caption.text,
        noun=noun.lemma,
        spans=noun.spans,
        seed=task.seed,
        key=key.astype(np.float16),
        prototype=prototype,
        area=word.area,
        contrast=word.contrast,
        agreement=float(seen @ key),
        image=picture,
        mask=_png(word.mask) if options.keep_images else None,
    )


def _jpeg(image: npt.NDArray[np.uint8]) -> bytes:
    small = Image.fromarray(image)
    small.thumbnail((_KEPT_SIDE, _KEPT_SIDE), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    small.save(out, "JPEG", quality=90)
    return out.getvalue()


def _png(mask: npt.NDArray[np.bool_]) -> bytes:
    small = Image.fromarray(mask.astype(np.uint8) * 255)
    small.thumbnail((_KEPT_SIDE, _KEPT_SIDE), Image.Resampling.NEAREST)
    out = io.BytesIO()
    small.convert("1").save(out, "PNG")
    return out.getvalue()
