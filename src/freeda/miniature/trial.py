"""Measurements on the small world, where the truth is exact: what each part of the method is worth."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Unpack

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from ..collection.captions import Caption
from ..collection.masks import WordMask
from ..collection.nouns import Noun
from ..encoders import Encoders
from ..evaluation.metric import Confusion
from ..model import FreeDA
from ..options import Changes
from ..pooling import pool_regions
from ..segment.scene import Scene
from ..segment.vocabulary import Vocabulary
from .captions import UNSEEN, WORDS, caption
from .scenes import BANK, CLASSES, HELD_OUT, DrawnScene, render

SPAN = 1_000_000
"""Scenes a seed has to itself in a stream."""


def held_out(seed: int, n: int) -> list[DrawnScene]:
    """n scenes that no model was trained on."""
    return [render(HELD_OUT, seed * SPAN + i) for i in range(n)]


def bank_scenes(seed: int, n: int) -> list[DrawnScene]:
    """n scenes that the bank's captions describe; no model was trained on them either."""
    return [render(BANK, seed * SPAN + i) for i in range(n)]


def bank_captions(scenes: Sequence[DrawnScene], seed: int) -> list[Caption]:
    """One caption a scene, in words that leave the UNSEEN forms out."""
    texts = (
        caption(s, np.random.default_rng([BANK, seed, i]), complete=True, unseen=False)
        for i, s in enumerate(scenes)
    )
    return [Caption(f"{seed}-{i}", text) for i, text in enumerate(texts)]


def pixels(images: Iterable[npt.NDArray[np.uint8]]) -> torch.Tensor:
    """(B, 3, H, W) float32 in [0, 1]."""
    return torch.from_numpy(np.stack(list(images))).permute(0, 3, 1, 2).float() / 255


def true_prototypes(encoders: Encoders, scenes: Sequence[DrawnScene]) -> npt.NDArray[np.float32]:
    """(classes, D): what prototypes would be if pictures were renderings and masks were true.

    The renderer's own pictures and label maps of the bank's scenes, pooled as a bank's masks are. A class
    that no scene shows is NaN.
    """
    rows: list[list[npt.NDArray[np.float32]]] = [[] for _ in CLASSES]
    for start in range(0, len(scenes), 32):
        part = scenes[start : start + 32]
        for scene, features in zip(part, encoders.dense.encode(pixels(s.image for s in part)), strict=True):
            pooled, weight = pool_regions(features, scene.labels.astype(np.int64), len(CLASSES))
            for c in np.flatnonzero(weight > 0):
                rows[c].append(pooled[c])
    return means(rows, encoders.dense.dim)


def means(rows: Sequence[Sequence[npt.NDArray[np.float32]]], dim: int) -> npt.NDArray[np.float32]:
    """(classes, dim): the mean of each class's rows, NaN where it has none."""
    nothing = np.full(dim, np.nan, np.float32)
    return np.stack([np.mean(r, axis=0, dtype=np.float32) if r else nothing for r in rows])


def counted(scenes: Iterable[DrawnScene], labels: Iterable[npt.NDArray[Any]]) -> Confusion:
    """The confusion of label maps of scenes with the truth."""
    count = Confusion(len(CLASSES))
    for truth, found in zip(scenes, labels, strict=True):
        count.update(found, truth.labels)
    return count


def with_prototypes(vocabulary: Vocabulary, prototypes: npt.NDArray[np.float32]) -> Vocabulary:
    """The vocabulary with other prototypes; where one is NaN its own stays."""
    good = np.isfinite(prototypes).all(1, keepdims=True)
    return replace(vocabulary, prototypes=np.where(good, prototypes, vocabulary.prototypes))


@dataclass(frozen=True)
class Scores:
    """mIoU of every variant over the same scenes, and per-class IoU of the full method."""

    miou: dict[str, float]
    per_class: dict[str, dict[str, float]]


def measure(
    model: FreeDA,
    scenes: Sequence[DrawnScene],
    encoded: Sequence[Scene],
    truth_prototypes: npt.NDArray[np.float32],
) -> Scores:
    """Label the scenes with all class names in every variant of the method."""
    vocabulary = model.vocabulary(list(CLASSES))

    def segmented(known: Vocabulary, **changes: Unpack[Changes]) -> Iterator[npt.NDArray[Any]]:
        return (model.segment(scene, known, **changes).labels for scene in encoded)

    labels: dict[str, Iterator[npt.NDArray[Any]]] = {
        "full": segmented(vocabulary),
        "local_only": segmented(vocabulary, local_weight=1.0),
        "global_only": segmented(vocabulary, local_weight=0.0),
        "clip_patches": (clip_patches(model.encoders, s.image, vocabulary) for s in scenes),
        "true_masks": segmented(with_prototypes(vocabulary, truth_prototypes)),
        "regions_upper_bound": (
            best_of_regions(e.regions(), s.labels) for e, s in zip(encoded, scenes, strict=True)
        ),
    }
    counts = {name: counted(scenes, found) for name, found in labels.items()}
    per_class = {n: dict(zip(CLASSES, c.per_class_iou().tolist(), strict=True)) for n, c in counts.items()}
    return Scores({name: c.miou() for name, c in counts.items()}, per_class)


def clip_patches(
    encoders: Encoders, image: npt.NDArray[np.uint8], vocabulary: Vocabulary
) -> npt.NDArray[np.int64]:
    """The baseline without any bank: CLIP's own patches against the class names."""
    patches = encoders.clip.encode_patches(pixels([image]))[0].cpu()
    scores = (patches @ torch.from_numpy(vocabulary.text_embeddings).T).permute(2, 0, 1)[None]
    up = F.interpolate(scores, image.shape[:2], mode="bilinear", align_corners=False)
    labels: npt.NDArray[np.int64] = up[0].argmax(0).numpy()
    return labels


def best_of_regions(regions: npt.NDArray[np.int64], truth: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """Every region labelled with its most frequent true class: no method on these regions can do better."""
    votes = np.zeros((int(regions.max()) + 1, len(CLASSES)), np.int64)
    np.add.at(votes, (regions.ravel(), truth.ravel()), 1)
    labels: npt.NDArray[np.int64] = votes.argmax(1)[regions]
    return labels


def unseen_words(model: FreeDA, scenes: Sequence[DrawnScene], encoded: Sequence[Scene]) -> dict[str, float]:
    """Mean IoU over the classes of UNSEEN, named in the bank's words and in words that no caption used."""
    rows = [CLASSES.index(c) for c in UNSEEN]

    def mean(names: list[str]) -> float:
        vocabulary = model.vocabulary(names)
        count = counted(scenes, (model.segment(scene, vocabulary).labels for scene in encoded))
        return float(np.nanmean(count.per_class_iou()[rows]))

    return {"bank_words": mean(list(CLASSES)), "unseen_words": mean([UNSEEN.get(c, c) for c in CLASSES])}


CLASS_OF: dict[str, str] = {form: c for c, forms in WORDS.items() for form in forms}
"""Every word that a bank's captions use -> its class."""


def iou(a: npt.NDArray[np.bool_], b: npt.NDArray[np.bool_]) -> float:
    """Intersection over union of two masks; 0 where both are empty."""
    union = int((a | b).sum())
    return int((a & b).sum()) / union if union else 0.0


class AttributionJudge:
    """Scores word masks on generated pictures, which have no truth, against a classifier of pixels.

    The classifier knows the true prototypes of the classes that the caption names and labels the picture's
    regions by the nearest. How far it can be trusted is measured beside it, on rendered scenes with truth.
    """

    def __init__(self, model: FreeDA, prototypes: npt.NDArray[np.float32]) -> None:
        self._model = model
        self._vocabulary = with_prototypes(model.vocabulary(list(CLASSES)), prototypes)
        self.ious: list[tuple[str, float]] = []

    def _label(self, image: npt.NDArray[np.uint8], classes: Sequence[str]) -> npt.NDArray[np.int32]:
        rows = [CLASSES.index(c) for c in classes]
        few = replace(
            self._vocabulary,
            names=tuple(classes),
            prototypes=self._vocabulary.prototypes[rows],
            text_embeddings=self._vocabulary.text_embeddings[rows],
            words=tuple((c,) for c in classes),
        )
        return self._model.segment(image, few, local_weight=1.0).labels

    def places(self, image: npt.NDArray[np.uint8], nouns: Sequence[Noun]) -> dict[str, npt.NDArray[np.bool_]]:
        """Lemma -> where the classifier sees it (H, W); empty where fewer than two classes are named."""
        classes = sorted({CLASS_OF[n.lemma] for n in nouns if n.lemma in CLASS_OF})
        if len(classes) < 2:
            return {}
        labels = self._label(image, classes)
        return {n.lemma: labels == classes.index(CLASS_OF[n.lemma]) for n in nouns if n.lemma in CLASS_OF}

    def see(self, image: npt.NDArray[np.uint8], words: Sequence[tuple[Noun, WordMask]]) -> None:
        """Compare the masks of one generated picture with the classifier's regions of the same words."""
        places = self.places(image, [n for n, _ in words])
        known = [(n.lemma, w.mask) for n, w in words if n.lemma in places]
        self.ious += [(CLASS_OF[lemma], iou(places[lemma], mask)) for lemma, mask in known]

    def reliability(self, scenes: Sequence[DrawnScene]) -> float:
        """The classifier's own mean IoU against the truth of rendered scenes, told what they show."""
        found = []
        for scene in scenes:
            classes = sorted({CLASSES[i] for i in np.unique(scene.labels)})
            labels = self._label(scene.image, classes)
            found += [iou(labels == i, scene.labels == CLASSES.index(c)) for i, c in enumerate(classes)]
        return float(np.mean(found))
