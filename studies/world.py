"""One seed of the small world: pictures drawn once, for many banks and measurements."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import numpy.typing as npt
import torch

from freeda.bank import Pair
from freeda.collection import shard
from freeda.collection.attention import AttentionCapture
from freeda.collection.captions import Caption
from freeda.collection.masks import WordMask
from freeda.collection.nouns import Noun
from freeda.collection.pairs import NounKeys
from freeda.collection.shard import CollectModels, Task
from freeda.collection.tokens import token_offsets
from freeda.errors import InputError
from freeda.files import atomic_path
from freeda.miniature import trial
from freeda.miniature.scenes import CLASSES, DrawnScene
from freeda.model import FreeDA
from freeda.options import Attribution, CollectOptions, SegmentOptions, Superpixels, parse_settings
from freeda.pooling import pool_regions
from freeda.presets import Preset
from freeda.segment.regions import superpixels
from freeda.segment.result import segment_scene
from freeda.segment.vocabulary import Vocabulary

from .axes import BOUND, MASKS, Source, Variant
from .held_out import HeldOut, MemoryBank
from .sweep import shown

Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
JUDGE = "judge"
"""The judge's own mean IoU, beside `MASKS`."""
MOST = 2.0
"""The largest share of the usual captions that a variant asks for."""


@dataclass(frozen=True)
class Picture:
    """A drawn caption: the picture (H, W, 3), each way's token maps, patch features, CLIP's embedding."""

    task: Task
    image: npt.NDArray[np.uint8]
    maps: dict[Attribution, torch.Tensor]
    features: torch.Tensor
    seen: npt.NDArray[np.float32]


Masks = list[list[tuple[Noun, WordMask]]]
"""Of every picture each noun with its mask, rejected ones too."""


def plan(captions: Sequence[Caption], tokenizer: Any, seed: int) -> list[Task]:
    """The captions with a noun, and the text positions to watch."""
    return shard.plan_captions(captions, tokenizer, seed, "auto").tasks


def draw(
    tasks: Sequence[Task], models: CollectModels, options: CollectOptions, ways: Sequence[Attribution]
) -> Iterator[Picture]:
    """Draw and encode the captions, each once, watched in all the ways of attribution together."""
    generator = models.generator
    for start in range(0, len(tasks), options.batch_size):
        batch = tasks[start : start + options.batch_size]
        texts, columns = [t.caption.text for t in batch], [t.columns for t in batch]
        offsets = [token_offsets(generator.tokenizer, text) for text in texts]
        words = [[i for i, (first, end) in enumerate(found) if end > first] for found in offsets]
        with ExitStack() as stack:
            watch = partial(AttentionCapture, generator.pipe.unet, columns, calls=options.steps, words=words)
            captures = [stack.enter_context(watch(options=way)) for way in ways]
            drawn = generator.draw(texts, [t.seed for t in batch], columns, options)
        maps = [capture.maps() for capture in captures]
        each = [dict(zip(ways, of_one, strict=True)) for of_one in zip(*maps, strict=True)]
        yield from seen(batch, drawn.images, each, models)


def seen(
    tasks: Sequence[Task],
    images: npt.NDArray[np.uint8],
    maps: Sequence[dict[Attribution, torch.Tensor]],
    models: CollectModels,
) -> list[Picture]:
    """A batch's pictures with what the encoders say of them."""
    pixels = trial.pixels(images).to(models.encoders.device)
    features = models.encoders.dense.encode(pixels)
    embeddings = models.encoders.clip.encode_image(pixels).cpu().numpy()
    return list(map(Picture, tasks, images, maps, features, embeddings))


def pairs_of(
    pictures: Sequence[Picture], models: CollectModels, options: CollectOptions
) -> tuple[list[Pair], Masks]:
    """The rows that the pictures give, and their masks."""
    keys, way = NounKeys(models.encoders.clip, options), options.attribution
    drawn = [shard.rows_of(p.task, p.image, p.maps[way], p.features, p.seen, keys, options) for p in pictures]
    return [row for d in drawn for row in d.rows if isinstance(row, Pair)], [d.words for d in drawn]


class World(HeldOut):
    """A seed's captions and held-out scenes. Pictures take long and are kept in `folder`, a file a batch.

    Pictures are watched in all the ways of attribution that variants ask for.
    """

    def __init__(
        self,
        seed: int,
        captions: int,
        scenes: int,
        preset: Preset,
        models: CollectModels,
        folder: Path,
        ways: tuple[Attribution, ...] = (),
    ) -> None:
        super().__init__(seed, scenes, preset, models.encoders)
        self.captions, self.models, self.folder = captions, models, folder
        self.ways = ways or (preset.collect.attribution,)
        self._drawn: list[Picture] = []
        self.pairs = lru_cache(None)(self._pairs)
        self.regions = lru_cache(None)(self._count_regions)
        self._measure = lru_cache(None)(self._label_all)

    @cached_property
    def described(self) -> list[DrawnScene]:
        """The scenes that the captions describe, `MOST` times the usual number."""
        return trial.bank_scenes(self.seed, int(MOST * self.captions))

    @cached_property
    def tasks(self) -> list[Task]:
        """The captions, planned."""
        texts = trial.bank_captions(self.described, self.seed)
        return plan(texts, self.models.generator.tokenizer, self.seed)

    def pictures(self, captions: int) -> list[Picture]:
        """The first pictures, drawn now where no file has them. (Whole batches are drawn: rounding depends
        on them.)"""
        options = self.preset.collect
        batches = range(len(self._drawn), min(captions, len(self.tasks)), options.batch_size)
        for start in shown(batches, f"seed {self.seed}: drawing") if batches else ():
            tasks = self.tasks[start : start + options.batch_size]
            path = self.folder / f"pictures-{crc32(repr(self.ways).encode()):08x}-{start:05d}.npz"
            if path.exists():
                with np.load(path, allow_pickle=False) as kept:
                    maps = [
                        {way: torch.from_numpy(kept[f"map{i}-{j}"]) for j, way in enumerate(self.ways)}
                        for i in range(len(tasks))
                    ]
                    self._drawn += seen(tasks, kept["images"], maps, self.models)
                continue
            made = list(draw(tasks, self.models, options, self.ways))
            arrays: dict[str, Any] = {"images": np.stack([p.image for p in made])}
            for i, picture in enumerate(made):
                arrays |= {f"map{i}-{j}": picture.maps[way].cpu() for j, way in enumerate(self.ways)}
            with atomic_path(path) as temp, temp.open("wb") as file:
                np.savez_compressed(file, **arrays)
            self._drawn += made
        return self._drawn[:captions]

    def _pairs(self, options: CollectOptions, captions: int) -> tuple[list[Pair], Masks]:
        return pairs_of(self.pictures(captions), self.models, options)

    def measure(self, variant: Variant) -> tuple[npt.NDArray[np.float64], dict[str, float]]:
        """(classes,) IoU as `iou`, all nan for a bank without pairs; what else was measured, by its name."""
        return self._measure(*self.options(variant), variant.share, variant.source)

    def _label_all(self, *asked: Any) -> tuple[npt.NDArray[np.float64], dict[str, float]]:
        online, offline, share, _ = asked
        captions = self.number(share)
        pairs, _ = self.pairs(offline, captions)
        beside = {"Captions": float(captions), "Pairs": float(len(pairs))} | self.regions(online.superpixels)
        nothing = np.full(len(CLASSES), np.nan)
        return self.iou(self.vocabulary(*asked), online) if pairs else nothing, beside

    def lacking(self, variant: Variant) -> str | None:
        """Why the variant cannot be run here: its superpixels need a package that is not installed."""
        try:
            superpixels(np.zeros((64, 64, 3), np.uint8), self.options(variant)[0].superpixels)
        except InputError as error:
            return str(error)
        return None

    def label(self, variant: Variant, scene: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
        """(H, W) labels and superpixels of one scene."""
        online, offline = self.options(variant)
        vocabulary = self.vocabulary(online, offline, variant.share, variant.source)
        encoded = self.encoded(online.superpixels)[scene]
        return segment_scene(encoded, vocabulary, online).labels, encoded.regions()

    def options(self, variant: Variant) -> tuple[SegmentOptions, CollectOptions]:
        """The preset's options with the variant's settings."""
        return (
            parse_settings(variant.online, self.preset.segment),
            parse_settings(variant.offline, self.preset.collect),
        )

    def number(self, share: float) -> int:
        """How many captions a bank of this share of the usual number has."""
        return max(1, round(self.captions * share))

    def vocabulary(
        self, online: SegmentOptions, offline: CollectOptions, share: float, source: Source
    ) -> Vocabulary:
        """All class names, as a variant's bank and options make them ready."""
        bank = MemoryBank.of_pairs(self.pairs(offline, self.number(share))[0])
        vocabulary = FreeDA(replace(self.preset, segment=online), self.encoders, bank).vocabulary(
            list(CLASSES)
        )
        return vocabulary if source == "bank" else trial.with_prototypes(vocabulary, self.class_means(source))

    def class_means(self, source: Source) -> Floats:
        """(classes, D) float32 prototypes without any retrieval; NaN for a class without any.

        Of the pictures drawn, for every noun that names a class: "masks", its pair as the bank has it;
        "judge", the region where the judge of word masks sees it (which knows the true prototypes, and the
        classes that the caption names); "whole", the whole picture. Of the scenes that the captions describe:
        "true", the class's own pixels; "rendered-whole", the whole scene, for every class it shows.
        """
        described = self.described[: self.captions]
        if source == "true":
            return trial.true_prototypes(self.encoders, described)
        rows: list[list[Floats]] = [[] for _ in CLASSES]
        if source == "masks":
            for pair in self.pairs(self.preset.collect, self.captions)[0]:
                if pair.noun in trial.CLASS_OF:
                    rows[CLASSES.index(trial.CLASS_OF[pair.noun])].append(pair.prototype.astype(np.float32))
        elif source == "rendered-whole":
            for scene in described:
                features = self.encoders.dense.encode(trial.pixels([scene.image]))[0]
                for c in np.unique(scene.labels):
                    rows[int(c)] += _pooled(features, np.ones_like(scene.labels, dtype=bool))
        else:
            for picture in shown(self.pictures(self.captions), f"seed {self.seed}: {source}"):
                nouns = {n.lemma for n, _ in picture.task.nouns if n.lemma in trial.CLASS_OF}
                everywhere = dict.fromkeys(nouns, np.ones(picture.image.shape[:2], dtype=bool))
                places = self._places(picture) if source == "judge" else everywhere
                for word, place in {trial.CLASS_OF[lemma]: place for lemma, place in places.items()}.items():
                    rows[CLASSES.index(word)] += _pooled(picture.features, place)
        return trial.means(rows, self.encoders.dense.dim)

    def _places(self, picture: Picture) -> dict[str, Mask]:
        return self._judge.places(picture.image, [n for n, _ in picture.task.nouns])

    @cached_property
    def _judge(self) -> trial.AttributionJudge:
        # The judge asks a bank for nothing but rows to be replaced by true prototypes.
        bank = MemoryBank.of_pairs(self.pairs(self.preset.collect, self.captions)[0])
        prototypes = trial.true_prototypes(self.encoders, self.described[: self.captions])
        return trial.AttributionJudge(FreeDA(self.preset, self.encoders, bank), prototypes)

    @cached_property
    def _judged(self) -> list[dict[str, Mask]]:
        pictures = self.pictures(self.captions)
        return [self._places(p) for p in shown(pictures, f"seed {self.seed}: judging")]

    @cached_property
    def _reliability(self) -> float:
        return self._judge.reliability(self.scenes[:50])

    def masks(self, variant: Variant) -> dict[str, float]:
        """Mean IoU of masks with where the judge sees their words, if it knows them; its own."""
        _, masks = self.pairs(self.options(variant)[1], self.captions)
        ious = [
            trial.iou(places[noun.lemma], word.mask)
            for places, found in zip(self._judged, masks, strict=True)
            for noun, word in found
            if noun.lemma in places
        ]
        return {MASKS: float(np.mean(ious)), JUDGE: self._reliability}

    def _count_regions(self, cut: Superpixels) -> dict[str, float]:
        """Regions a scene, and the mIoU of the best labelling that gives each region one class."""
        if cut.algorithm == "none":
            return {}
        regions = [scene.regions() for scene in self.encoded(cut)]
        best = (trial.best_of_regions(r, s.labels) for r, s in zip(regions, self.scenes, strict=True))
        number = float(np.mean([int(r.max()) + 1 for r in regions]))
        return {"Regions a scene": number, BOUND: trial.counted(self.scenes, best).miou()}


def _pooled(features: torch.Tensor, mask: Mask) -> list[Floats]:
    """The mean patch over a mask at picture size, (D,), or nothing where no patch is sampled inside it."""
    pooled, weight = pool_regions(features, np.where(mask, 0, -1), 1)
    return [pooled[0]] if weight[0] else []
