"""What a scene and a vocabulary make together: the label map and what can be asked about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from ..options import SegmentOptions, to_dict
from .background import label_names
from .matching import AtomScores
from .pieces import Floats
from .upsample import dense_scores, label_map
from .vocabulary import Vocabulary

if TYPE_CHECKING:
    from .scene import Scene


@dataclass(frozen=True)
class Segmentation:
    """A labelled photograph. Scores are not stored: they are computed when asked for."""

    scene: Scene = field(repr=False)
    vocabulary: Vocabulary = field(repr=False)
    options: SegmentOptions = field(repr=False)
    labels: npt.NDArray[np.int32]
    """(H, W) int32 at the photograph's own size: indices into `names`."""
    names: tuple[str, ...]
    """The classes, then "background" where the options ask for one."""

    @property
    def image(self) -> npt.NDArray[np.uint8]:
        """The photograph: (H, W, 3) uint8 RGB."""
        return self.scene.image

    @property
    def shares(self) -> dict[str, float]:
        """Share of the photograph each name covers, 0 to 1; they sum to 1."""
        counts = np.bincount(self.labels.ravel(), minlength=len(self.names)) / self.labels.size
        return dict(zip(self.names, counts.tolist(), strict=True))

    def scores(self, names: Sequence[str] | None = None) -> Floats:
        """(len(names), H, W) float32: the ensemble scores, resized to the photograph; None = all names.

        Roughly -0.2 to 1; no softmax. This is classes x height x width numbers: ask for the names you need.
        """
        wanted = list(self.names) if names is None else list(names)
        unknown = [n for n in wanted if n not in self.names]
        if unknown:
            raise InputError(
                f"there is no class {unknown[0]!r} here: the classes are {', '.join(self.names)}"
            )
        columns = [self.names.index(n) for n in wanted]
        out = np.empty((len(columns), *self.labels.shape), dtype=np.float32)
        for start, stop, strip in dense_scores(self._atom_scores(), self.scene.size):
            out[:, start:stop] = np.moveaxis(strip[..., columns], -1, 0)
        return out

    @property
    def confidence(self) -> Floats:
        """(H, W) float32: the winning name's score at every pixel."""
        out = np.empty(self.labels.shape, dtype=np.float32)
        for start, stop, strip in dense_scores(self._atom_scores(), self.scene.size):
            out[start:stop] = strip.max(axis=-1)
        return out

    def save(self, out_dir: str | Path, stem: str | None = None, scores: bool = False) -> dict[str, Path]:
        """Write the palette PNG, the overlay with its legend and the JSON; returns their paths by kind.

        `stem` defaults to the photograph's file name. `scores` adds each class's mean score to the JSON.
        """
        from ..show.export import write_result

        source = self.scene.source
        stem = stem or (Path(source).stem if source else "image")
        options: dict[str, Any] = to_dict(self.options)
        return write_result(
            self.image,
            self.labels,
            self.names,
            self.scores() if scores else None,
            out_dir,
            stem,
            source=source,
            options=options,
        )

    def _atom_scores(self) -> AtomScores:
        return AtomScores(self.scene.mosaic, self.vocabulary, self.options)


def segment_scene(scene: Scene, vocabulary: Vocabulary, options: SegmentOptions) -> Segmentation:
    """Join a scene and a vocabulary: milliseconds, nothing is encoded."""
    names = label_names(vocabulary.names, options)
    if (
        scene.mosaic.features.shape[1] != vocabulary.prototypes.shape[1]
        or scene.mosaic.embeddings.shape[1] != vocabulary.text_embeddings.shape[1]
    ):
        raise InputError("this scene and this vocabulary were made with different models")
    labels = label_map(AtomScores(scene.mosaic, vocabulary, options), scene.size)
    return Segmentation(scene, vocabulary, options, labels, names)
