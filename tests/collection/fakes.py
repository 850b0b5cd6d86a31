"""Models that take no time: pictures, maps and features are plain functions of the seed and the words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from freeda.collection.generator import DrawnBatch
from freeda.collection.shard import CollectModels
from freeda.encoders import Encoders
from freeda.options import CollectOptions, DenseClip, SegmentOptions, Superpixels
from freeda.presets import ModelSource, Preset
from freeda.segment.regions import SuperpixelRegions

SIDE, KEY, DENSE = 16, 6, 5
OPTIONS = CollectOptions(size=SIDE, steps=1, batch_size=2, shard_size=3, min_area=0.0, max_area=1.0)
PRESET = Preset(
    name="fake",
    clip=ModelSource("fake/clip"),
    dense=ModelSource("fake/dense"),
    generator=ModelSource("fake/generator"),
    clip_size=SIDE,
    dense_size=SIDE,
    segment=SegmentOptions(
        superpixels=Superpixels(scale=1.0, sigma=0.5, min_size=4), dense_clip=DenseClip(attention="own")
    ),
    collect=OPTIONS,
)
THINGS = ("cat", "dog", "tree", "table", "car", "house", "boat", "horse")


def captions(n: int) -> list[str]:
    return [f"a {THINGS[i % 8]} and a {THINGS[(i // 8 + 1 + i) % 8]} number {i}" for i in range(n)]


class Tokenizer:
    """A word is a token."""

    is_fast = True
    model_max_length = 16

    def __call__(self, text: str, **_: Any) -> dict[str, Any]:
        spans, at = [(0, 0)], 0
        for word in text.split():
            start = text.index(word, at)
            at = start + len(word)
            spans.append((start, at))
        spans = spans[:15]
        return {"offset_mapping": spans + [(0, 0)] * (16 - len(spans))}


class FakeGenerator:
    """Draws noise of the seed; `fails` is asked before, and may raise."""

    tokenizer = Tokenizer()
    dtype = torch.float32

    def __init__(self, fails: Callable[[Sequence[str]], None] | None = None) -> None:
        self.fails = fails
        self.drawn: list[str] = []

    def draw(
        self,
        texts: Sequence[str],
        seeds: Sequence[int],
        columns: Sequence[Sequence[int]],
        options: CollectOptions,
    ) -> DrawnBatch:
        if self.fails is not None:
            self.fails(texts)
        self.drawn += texts
        made = [np.random.default_rng(seed) for seed in seeds]
        images = np.stack([rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8) for rng in made])
        maps = [
            torch.from_numpy(rng.random((len(wanted), 4, 4)).astype(np.float32))
            for rng, wanted in zip(made, columns, strict=True)
        ]
        return DrawnBatch(images, maps)


class Keys:
    """A key is a random direction that the noun's letters choose."""

    def noun(self, lemma: str) -> Any:
        key = np.random.default_rng(list(lemma.encode())).normal(size=KEY).astype(np.float32)
        return key / np.linalg.norm(key)

    def under(self, options: CollectOptions) -> Keys:
        return self

    def __call__(self, noun: Any, caption: str) -> Any:
        return self.noun(noun.lemma)


def fake_models(fails: Callable[[Sequence[str]], None] | None = None) -> Any:
    # One picture after the other: no batch may round them otherwise, for rows are compared to the bit.
    def dense(pixels: torch.Tensor) -> torch.Tensor:
        means = torch.stack([torch.nn.functional.avg_pool2d(one, 4) for one in pixels]).permute(0, 2, 3, 1)
        return torch.cat([means, means[..., :2] ** 2], -1)

    def clip(pixels: torch.Tensor) -> torch.Tensor:
        flat = [one.flatten()[:KEY] + 0.1 for one in pixels]
        return torch.stack([one / one.norm() for one in flat])

    def patches(pixels: torch.Tensor) -> torch.Tensor:
        means = torch.stack([torch.nn.functional.avg_pool2d(one, 8) for one in pixels]).permute(0, 2, 3, 1)
        return torch.nn.functional.normalize(torch.cat([means, 1 - means], -1), dim=-1)

    identity = {
        **{part: {"id": f"fake/{part}", "revision": None} for part in ("clip", "dense")},
        "clip_dim": KEY,
        "dense_dim": DENSE,
    }
    encoders = Encoders(
        SimpleNamespace(name="fake", dim=KEY, encode_image=clip, encode_patches=patches),  # type: ignore[arg-type]
        SimpleNamespace(name="fake", dim=DENSE, grid=SIDE // 4, encode=dense),  # type: ignore[arg-type]
        torch.device("cpu"),
        torch.float32,
        identity,
    )
    view = PRESET.segment
    regions = SuperpixelRegions(view.superpixels)
    return CollectModels(encoders, FakeGenerator(fails), Keys(), regions, view.dense_clip)  # type: ignore[arg-type]
