"""A photograph's labels, and all that made them: what is read, explained and stored."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from ..options import SegmentOptions
from ..show.caveats import NONE, Caveats
from ..show.palette import REST, palette
from ..show.tree import AreaTree
from ..source_file import SourceFile
from .background import rest_labels
from .matching import LocalScore, PlaceScores
from .prototypes import ReferenceBank
from .refine import place_scores
from .scene import Scene
from .support import Support
from .vocabulary import Vocabulary


@dataclass(frozen=True, eq=False, repr=False)
class LabelMap:
    """A labelled photograph as data; `Segmentation` is what people hold."""

    labels: npt.NDArray[np.int32]
    """(H, W) int32 at the photograph's own size: indices into `names`."""
    names: tuple[str, ...]
    """What the labels mean: the classes, then whatever else the options add ("background" and the like)."""
    options: SegmentOptions
    file: SourceFile | None = None
    """The file it came from."""
    models: dict[str, Any] = field(default_factory=dict)
    """Which models made it (`Encoders.identity`)."""
    scene: Scene | None = None
    """The encoded photograph, None where it was saved without: then there are no scores."""
    vocabulary: Vocabulary | None = None
    """The class names' vectors; None where saved without the scene."""
    photo: npt.NDArray[np.uint8] | None = None
    """(H, W, 3) uint8 RGB, None where saved without; `image` is the same with a clear error."""
    cut: npt.NDArray[np.int64] | None = None
    """(h, w) the region map at the working size, where it was saved; otherwise cut when asked for."""
    score: LocalScore | None = None
    """What scored its regions; None: what the options say."""
    bank: ReferenceBank | None = field(default=None, compare=False)
    """The bank that the words were looked up in, for `explain`; kept in no file."""
    support: Support | None = None
    """What a bank of region values knows of its regions, where that counts."""
    caveats: Caveats = NONE
    """Why labels may not mean what they say: another kind of picture than the models know, words that the
    bank does not know."""
    tree: AreaTree | None = None
    """What stands behind names that were found (`FreeDA.name`); kept in STEM.json, not in .npz files."""

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the photograph in pixels."""
        return self.labels.shape[0], self.labels.shape[1]

    @property
    def source(self) -> str | None:
        """The absolute path of the file it came from; None where it came from none."""
        return None if self.file is None else self.file.path

    @property
    def stem(self) -> str:
        """What files made of it are called by default: the photograph's name without suffix, or "image"."""
        return Path(self.file.name).stem if self.file else "image"

    @property
    def image(self) -> npt.NDArray[np.uint8]:
        """The photograph: (H, W, 3) uint8 RGB. Raises InputError where it was saved without."""
        if self.photo is None:
            raise InputError("this segmentation was saved without its photograph (keep='labels')")
        return self.photo

    @property
    def palette(self) -> npt.NDArray[np.uint8]:
        """(len(names), 3) uint8 RGB: each name's colour in the pictures that `save` writes; grey for what is
        none of the words."""
        colours = palette(len(self.names))
        for kind, label in rest_labels(self.names, self.options).items():
            colours[label] = REST[kind]
        return colours

    def working_regions(self) -> npt.NDArray[np.int64]:
        """(h, w) int64: the same at the working size."""
        return self.cut if self.cut is not None else self.need_scene()[0].regions()

    def need_scene(self) -> tuple[Scene, Vocabulary]:
        """The scene and the vocabulary. Raises InputError where the segmentation was saved without them."""
        if self.scene is None or self.vocabulary is None:
            raise InputError("this segmentation was saved without its scene (keep='image' or 'labels')")
        return self.scene, self.vocabulary

    def place_scores(self) -> PlaceScores:
        """What labels were decided by, computed anew. Raises InputError as `need_scene`."""
        scene, vocabulary = self.need_scene()
        return place_scores(scene, vocabulary, self.options, self.score, self.bank, self.support)
