"""One seed of the small world for many measurements: drawn once, encoded once, labelled again and again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from freeda.bank import Pair
from freeda.collection.shard import CollectModels, Task
from freeda.errors import InputError
from freeda.evaluation.metric import Confusion
from freeda.files import atomic_path
from freeda.miniature import trial
from freeda.miniature.scenes import CLASSES, Scene
from freeda.model import FreeDA
from freeda.options import CollectOptions, SegmentOptions, Superpixels, parse_settings
from freeda.pooling import pool_regions
from freeda.presets import Preset
from freeda.segment.regions import superpixels
from freeda.segment.result import segment_scene
from freeda.segment.scene import Scene as EncodedScene
from freeda.segment.vocabulary import Vocabulary

from .axes import Source, Variant
from .pictures import PairBank, Picture, draw, pairs_of, plan

Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Item = TypeVar("Item")
Progress = Callable[[Sequence[Item], str], Iterable[Item]]
"""Shows how a loop of that name goes on."""
MOST = 2.0
"""The largest share of the usual captions that a variant asks for."""


@dataclass(frozen=True)
class Measured:
    """What one variant reached with one seed."""

    iou: npt.NDArray[np.float64]
    """(classes,) IoU over all scenes; nan for a class that none shows and none was given."""
    beside: dict[str, float]
    """What else was measured, by the head of its column."""


class World:
    """A seed's captions and held-out scenes. Pictures take long and are kept in `folder`, a file a batch."""

    def __init__(
        self,
        seed: int,
        captions: int,
        scenes: int,
        preset: Preset,
        models: CollectModels,
        folder: Path,
        progress: Progress[Any],
    ) -> None:
        self.seed, self.captions, self.preset, self.models = seed, captions, preset, models
        self.folder, self._progress = folder, progress
        self._n_scenes = scenes
        self._known: dict[object, Measured] = {}
        self._drawn: list[Picture] = []
        self.encoded = lru_cache(None)(self._encode)
        self.pairs = lru_cache(None)(self._pairs)
        self.regions = lru_cache(None)(self._count_regions)

    @cached_property
    def scenes(self) -> list[Scene]:
        """The held-out scenes."""
        return trial.held_out(self.seed, self._n_scenes)

    @cached_property
    def described(self) -> list[Scene]:
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
        step = self.preset.collect.batch_size
        batches = range(len(self._drawn), min(captions, len(self.tasks)), step)
        for start in self._progress(batches, f"seed {self.seed}: drawing") if batches else ():
            tasks = self.tasks[start : start + step]
            path = self.folder / f"pictures-{start:05d}.npz"
            way = self.preset.collect.attribution
            if path.exists():
                self._drawn += _read(path, tasks, self.models, self.preset.collect)
            else:
                made = list(draw(tasks, self.models, self.preset.collect, [way]))
                with atomic_path(path) as temp, temp.open("wb") as file:
                    maps = {f"map{i}": p.maps[way].cpu().numpy() for i, p in enumerate(made)}
                    np.savez_compressed(file, images=np.stack([p.image for p in made]), **maps)  # type: ignore[arg-type]
                self._drawn += made
        return self._drawn[:captions]

    def _pairs(self, options: CollectOptions, captions: int) -> list[Pair]:
        return pairs_of(self.pictures(captions), self.models, options)[0]

    def _encode(self, cut: Superpixels) -> list[EncodedScene]:
        model = FreeDA(self.preset, self.models.encoders)
        name = f"seed {self.seed}: encoding, {cut.algorithm}"
        return [model.encode(s.image, superpixels=cut) for s in self._progress(self.scenes, name)]

    def measure(self, variant: Variant) -> Measured:
        """Label all scenes with all class names."""
        online, offline = self.options(variant)
        asked = online, offline, variant.share, variant.source
        if asked not in self._known:
            count, vocabulary = Confusion(len(CLASSES)), self.vocabulary(variant)
            for truth, scene in zip(self.scenes, self.encoded(online.superpixels), strict=True):
                count.update(segment_scene(scene, vocabulary, online).labels, truth.labels)
            captions = self.number(variant)
            pairs = self.pairs(offline, captions)
            beside = {"Captions": float(captions), "Pairs": float(len(pairs))}
            beside |= self.regions(online.superpixels)
            self._known[asked] = Measured(count.per_class_iou(), beside)
        return self._known[asked]

    def lacking(self, variant: Variant) -> str | None:
        """Why the variant cannot be run here: its superpixels need a package that is not installed."""
        try:
            superpixels(np.zeros((64, 64, 3), np.uint8), self.options(variant)[0].superpixels)
        except InputError as error:
            return str(error)
        return None

    def label(self, variant: Variant, scene: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
        """(H, W) labels and superpixels of one scene."""
        online, _ = self.options(variant)
        encoded = self.encoded(online.superpixels)[scene]
        return segment_scene(encoded, self.vocabulary(variant), online).labels, encoded.regions()

    def options(self, variant: Variant) -> tuple[SegmentOptions, CollectOptions]:
        """The preset's options with the variant's settings."""
        return (
            parse_settings(variant.online, self.preset.segment),
            parse_settings(variant.offline, self.preset.collect),
        )

    def number(self, variant: Variant) -> int:
        """How many captions the variant's bank has."""
        return max(1, round(self.captions * variant.share))

    def vocabulary(self, variant: Variant) -> Vocabulary:
        """All class names, as the variant's bank and options make them ready."""
        online, offline = self.options(variant)
        bank = PairBank(self.pairs(offline, self.number(variant)))
        model = FreeDA(replace(self.preset, segment=online), self.models.encoders, bank)
        vocabulary = model.vocabulary(list(CLASSES))
        if variant.source == "bank":
            return vocabulary
        return trial.with_prototypes(vocabulary, self.class_means(variant.source))

    def class_means(self, source: Source) -> Floats:
        """(classes, D) float32 prototypes without any retrieval; NaN for a class without any.

        Of the pictures drawn, for every noun that names a class: "masks", its pair as the bank has it;
        "judge", the region where the judge of word masks sees it (which knows the true prototypes, and the
        classes that the caption names); "whole", the whole picture. Of the scenes that the captions describe:
        "true", the class's own pixels; "rendered-whole", the whole scene, for every class it shows.
        """
        encoders, described = self.models.encoders, self.described[: self.captions]
        if source == "true":
            return trial.true_prototypes(encoders, described)
        rows: list[list[Floats]] = [[] for _ in CLASSES]
        if source == "masks":
            for pair in self.pairs(self.preset.collect, self.captions):
                if pair.noun in trial.CLASS_OF:
                    rows[CLASSES.index(trial.CLASS_OF[pair.noun])].append(pair.prototype.astype(np.float32))
        elif source == "rendered-whole":
            for scene in described:
                features = encoders.dense.encode(trial.pixels([scene.image]))[0]
                for c in np.unique(scene.labels):
                    rows[int(c)] += _pooled(features, np.ones_like(scene.labels, dtype=bool))
        else:
            places = self._judged if source == "judge" else _everywhere
            for picture in self._progress(self.pictures(self.captions), f"seed {self.seed}: {source}"):
                for word, place in places(picture).items():
                    rows[CLASSES.index(word)] += _pooled(picture.features, place)
        nothing = np.full(encoders.dense.dim, np.nan, np.float32)
        return np.stack([np.mean(r, axis=0, dtype=np.float32) if r else nothing for r in rows])

    def _judged(self, picture: Picture) -> dict[str, Mask]:
        nouns = [n for n, _ in picture.task.nouns]
        return {trial.CLASS_OF[n]: m for n, m in self._judge.places(picture.image, nouns).items()}

    @cached_property
    def _judge(self) -> trial.AttributionJudge:
        encoders, bank = self.models.encoders, PairBank(self.pairs(self.preset.collect, self.captions))
        prototypes = trial.true_prototypes(encoders, self.described[: self.captions])
        return trial.AttributionJudge(FreeDA(self.preset, encoders, bank), prototypes)

    def _count_regions(self, cut: Superpixels) -> dict[str, float]:
        """Regions a scene, and the mIoU of the best labelling that gives each region one class."""
        if cut.algorithm == "none":
            return {}
        count, numbers = Confusion(len(CLASSES)), []
        for truth, scene in zip(self.scenes, self.encoded(cut), strict=True):
            regions = scene.regions()
            numbers.append(int(regions.max()) + 1)
            count.update(trial.best_of_regions(regions, truth.labels), truth.labels)
        return {"Regions a scene": float(np.mean(numbers)), "Labelled perfectly": count.miou()}


def _everywhere(picture: Picture) -> dict[str, Mask]:
    """The whole picture for every class that its caption names."""
    named = {trial.CLASS_OF[n.lemma] for n, _ in picture.task.nouns if n.lemma in trial.CLASS_OF}
    return {word: np.ones(picture.image.shape[:2], dtype=bool) for word in named}


def _pooled(features: torch.Tensor, mask: Mask) -> list[Floats]:
    """The mean patch over a mask at picture size, (D,), or nothing where no patch is sampled inside it."""
    pooled, weight = pool_regions(features, np.where(mask, 0, -1), 1)
    return [pooled[0]] if weight[0] else []


def _read(path: Path, tasks: Sequence[Task], models: CollectModels, options: CollectOptions) -> list[Picture]:
    """A batch of pictures from its file; encoded again, which is quick."""
    with np.load(path, allow_pickle=False) as file:
        images = file["images"]
        maps = [torch.from_numpy(file[f"map{i}"]) for i in range(len(tasks))]
    pixels = trial.pixels(images).to(models.encoders.device)
    features = models.encoders.dense.encode(pixels)
    seen = models.encoders.clip.encode_image(pixels).cpu().numpy()
    way = options.attribution
    return [
        Picture(task, image, {way: found}, patches, embedding)
        for task, image, found, patches, embedding in zip(tasks, images, maps, features, seen, strict=True)
    ]
