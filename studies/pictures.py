"""Generated pictures of the small world with everything known of them, to make banks of one drawing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from freeda.bank import Pair
from freeda.bank.index import FlatIndex
from freeda.collection import shard
from freeda.collection.attention import AttentionCapture
from freeda.collection.captions import Caption
from freeda.collection.masks import WordMask
from freeda.collection.nouns import Noun
from freeda.collection.pairs import NounKeys
from freeda.collection.shard import CollectModels
from freeda.collection.tokens import token_offsets
from freeda.miniature import trial
from freeda.options import Attribution, CollectOptions


@dataclass(frozen=True)
class Picture:
    """A drawn caption: the picture (H, W, 3), each way's token maps, patch features, CLIP's embedding."""

    task: shard.Task
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


def plan(captions: Sequence[Caption], tokenizer: Any, seed: int) -> list[shard.Task]:
    """The captions with a noun, and the text positions to watch."""
    return shard.plan_captions(captions, tokenizer, seed, "auto").tasks


def draw(
    tasks: Sequence[shard.Task], models: CollectModels, options: CollectOptions, ways: Sequence[Attribution]
) -> Iterator[Picture]:
    """Draw and encode the captions, each once, watched in all the ways of attribution together."""
    unet = models.generator.pipe.unet
    for start in range(0, len(tasks), options.batch_size):
        batch = tasks[start : start + options.batch_size]
        columns = [t.columns for t in batch]
        offsets = [token_offsets(models.generator.tokenizer, t.caption.text) for t in batch]
        words = [[i for i, (start, end) in enumerate(found) if end > start] for found in offsets]
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
        drawn = shard.rows_of(p.task, p.image, p.maps[options.attribution], p.features, p.seen, keys, options)
        pairs += [row for row in drawn.rows if isinstance(row, Pair)]
        masks.append(drawn.words)
    return pairs, masks
