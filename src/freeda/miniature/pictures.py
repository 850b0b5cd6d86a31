"""Generated pictures of the small world with everything known of them, to make banks of one drawing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ..bank import Pair
from ..bank.index import FlatIndex
from ..collect.attention import AttentionCapture
from ..collect.captions import Caption
from ..collect.generator import picture_seed
from ..collect.keys import NounKeys
from ..collect.masks import WordMask, word_map, word_masks
from ..collect.nouns import Noun, find_nouns
from ..collect.pairs import make_pair
from ..collect.shard import CollectModels
from ..collect.tokens import span_columns, token_offsets
from ..options import Attribution, CollectOptions
from . import trial


@dataclass(frozen=True)
class Task:
    """A caption to draw: its seed, its nouns with their text positions, all of these, those of all words."""

    caption: Caption
    seed: int
    nouns: list[tuple[Noun, list[int]]]
    columns: list[int]
    words: list[int]


@dataclass(frozen=True)
class Picture:
    """A drawn caption: the picture (H, W, 3), each way's token maps, patch features, CLIP's embedding."""

    task: Task
    image: npt.NDArray[np.uint8]
    maps: dict[Attribution, torch.Tensor]
    features: torch.Tensor
    seen: npt.NDArray[np.float32]


class PairBank:
    """A bank in memory, as the online stage asks for one (`ReferenceBank`)."""

    def __init__(self, pairs: Sequence[Pair]) -> None:
        self.prototypes = np.stack([p.prototype for p in pairs])
        self.search = FlatIndex(np.stack([p.key for p in pairs])).search

    def __len__(self) -> int:
        return len(self.prototypes)


def plan(captions: Sequence[Caption], tokenizer: Any, seed: int) -> list[Task]:
    """The captions with a noun, and the text positions to watch."""
    tasks = []
    for caption in captions:
        offsets = token_offsets(tokenizer, caption.text)
        nouns = [(n, span_columns(offsets, n.spans)) for n in find_nouns(caption.text)]
        if nouns:
            watched = sorted({c for _, columns in nouns for c in columns})
            words = [i for i, (start, end) in enumerate(offsets) if end > start]
            tasks.append(Task(caption, picture_seed(caption.id, seed), nouns, watched, words))
    return tasks


def draw(
    tasks: Sequence[Task], models: CollectModels, options: CollectOptions, ways: Sequence[Attribution]
) -> Iterator[Picture]:
    """Draw and encode the captions, each once, watched in all the ways of attribution together."""
    unet = models.generator.pipe.unet
    for start in range(0, len(tasks), options.batch_size):
        batch = tasks[start : start + options.batch_size]
        columns, words = [t.columns for t in batch], [t.words for t in batch]
        with ExitStack() as stack:
            captures = {
                way: stack.enter_context(
                    AttentionCapture(unet, columns, way, calls=options.steps, words=words)
                )
                for way in ways
            }
            drawn = models.generator.draw(
                [t.caption.text for t in batch], [t.seed for t in batch], columns, options
            )
        maps = {way: capture.maps() for way, capture in captures.items()}
        pixels = trial.pixels(drawn.images).to(models.encoders.device)
        features = models.encoders.dense.encode(pixels)
        seen = models.encoders.clip.encode_image(pixels).cpu().numpy()
        for i, task in enumerate(batch):
            yield Picture(
                task, drawn.images[i], {way: found[i] for way, found in maps.items()}, features[i], seen[i]
            )


def pairs_of(
    pictures: Sequence[Picture], models: CollectModels, options: CollectOptions
) -> tuple[list[Pair], list[list[tuple[Noun, WordMask]]]]:
    """The rows that the pictures give, and every picture's masks, rejected ones too."""
    keys, pairs, masks = NounKeys(models.encoders.clip, options), [], []
    for p in pictures:
        columns, nouns = p.task.columns, p.task.nouns
        maps = [word_map(p.maps[options.attribution], columns, wanted) for _, wanted in nouns]
        words = [n for n, _ in nouns]
        found = list(zip(words, word_masks(p.image, maps, options), strict=True))
        for noun, word in found:
            made = make_pair(p.task.caption, p.task.seed, noun, word, p.features, p.seen, keys, options)
            if isinstance(made, Pair):
                pairs.append(made)
        masks.append(found)
    return pairs, masks
