"""Held-out scenes of the small world, encoded once and labelled again and again, and banks in memory."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from freeda.bank import Bank, Pair
from freeda.bank.exact import FlatIndex
from freeda.encoders import Encoders
from freeda.miniature import trial
from freeda.miniature.scenes import CLASSES, DrawnScene
from freeda.model import FreeDA
from freeda.options import SegmentOptions, Superpixels
from freeda.presets import Preset
from freeda.segment.prototypes import ReferenceBank
from freeda.segment.result import segment_scene
from freeda.segment.scene import Scene
from freeda.segment.vocabulary import Vocabulary

from .sweep import PRESET, shown

Floats = npt.NDArray[np.float64]


class HeldOut:
    """A seed's held-out scenes."""

    def __init__(self, seed: int, n: int, preset: Preset, encoders: Encoders) -> None:
        self.seed, self.preset, self.encoders = seed, preset, encoders
        self.scenes: list[DrawnScene] = trial.held_out(seed, n)
        self.encoded = lru_cache(None)(self._encode)

    def _encode(self, cut: Superpixels) -> list[Scene]:
        model, name = FreeDA(self.preset, self.encoders), f"seed {self.seed}: encoding, {cut.algorithm}"
        return [model.encode(s.image, superpixels=cut) for s in shown(self.scenes, name)]

    def iou(self, vocabulary: Vocabulary, options: SegmentOptions | None = None) -> Floats:
        """(classes,) IoU of the scenes labelled with all class names, by the preset's options or others.

        It is nan for a class that no scene shows and no pixel was given.
        """
        options = options or self.preset.segment
        encoded = self.encoded(options.superpixels)
        labels = (segment_scene(scene, vocabulary, options).labels for scene in encoded)
        return trial.counted(self.scenes, labels).per_class_iou()

    def iou_of(self, bank: ReferenceBank) -> Floats:
        """`iou` of the class names as a bank makes them ready."""
        return self.iou(FreeDA(self.preset, self.encoders, bank).vocabulary(list(CLASSES)))


class MemoryBank:
    """Rows of a bank in memory, as the online stage and a `GrownBank` ask for one."""

    meta: ClassVar[dict[str, Any]] = {"models": {}}

    def __init__(
        self,
        keys: npt.NDArray[np.float16],
        prototypes: npt.NDArray[np.float16],
        nouns: Sequence[str],
        real: Sequence[int] | npt.NDArray[np.int64] = (),
    ) -> None:
        self.keys, self.prototypes, self.nouns = keys, prototypes, np.asarray(nouns)
        self.real = np.asarray(real, np.int64)
        self.search = FlatIndex(keys).search

    def __len__(self) -> int:
        return len(self.prototypes)

    @classmethod
    def of(cls, bank: Bank) -> MemoryBank:
        """All rows of a bank."""
        return cls(np.array(bank.keys), np.array(bank.prototypes), bank.nouns, bank.real)

    @classmethod
    def of_pairs(cls, pairs: Sequence[Pair]) -> MemoryBank:
        """At least one pair."""
        return cls(
            np.stack([p.key for p in pairs]), np.stack([p.prototype for p in pairs]), [p.noun for p in pairs]
        )

    def check_models(self, identity: object) -> None:
        """Do nothing: rows are only held in memory for the models that made them."""

    def unmarked(self) -> MemoryBank:
        """The same rows, those from pictures no longer known as such."""
        return MemoryBank(self.keys, self.prototypes, self.nouns.tolist())

    def rows(self, kept: npt.NDArray[np.bool_]) -> MemoryBank:
        """The rows where `kept` (N,) is true."""
        real = np.flatnonzero(np.isin(np.flatnonzero(kept), self.real))
        return MemoryBank(self.keys[kept], self.prototypes[kept], self.nouns[kept].tolist(), real)

    def only(self, nouns: Sequence[str]) -> MemoryBank:
        """The rows of these nouns."""
        return self.rows(np.isin(self.nouns, list(nouns)))

    def without(self, nouns: Sequence[str]) -> MemoryBank:
        """The rows of all other nouns."""
        return self.rows(~np.isin(self.nouns, list(nouns)))

    def __add__(self, other: MemoryBank) -> MemoryBank:
        return MemoryBank(
            np.concatenate([self.keys, other.keys]),
            np.concatenate([self.prototypes, other.prototypes]),
            [*self.nouns, *other.nouns],
            np.concatenate([self.real, other.real + len(self)]),
        )


def generated(place: Path | None) -> Bank:
    """The bank at `place`; None: the bundled one."""
    bundled = PRESET.bank
    assert bundled is not None
    return Bank.open(place or bundled)
