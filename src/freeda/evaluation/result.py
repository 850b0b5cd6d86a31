"""What an evaluation found."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ..show.caveats import NONE, Caveats
from .counts import Counts


@dataclass(frozen=True)
class ImageRow:
    """One image of a data set, by itself."""

    index: int
    """Its place in the data set, from 0."""
    name: str
    miou: float
    """Mean IoU over the classes in its truth or its prediction, in [0, 1]; nan where nothing counted."""
    pixel_accuracy: float
    """Share of its counted pixels that are right, in [0, 1]; nan where nothing counted."""
    seconds: float
    """What labelling it took; reading the files and counting are not part of it."""
    pixels: int
    """Height times width."""


@dataclass(frozen=True)
class Evaluation:
    """A data set labelled and compared with its truth."""

    dataset: str
    labels: tuple[str, ...]
    """What the labels mean, "background" last where the data set has one."""
    counts: Counts = field(repr=False)
    """Summed over all images: confusion matrix, boundary, component sizes, and the metrics made of them."""
    images: tuple[ImageRow, ...] = field(repr=False)
    """In the data set's order."""
    settings: dict[str, Any] = field(repr=False)
    """What the figures depend on and how they were come by, as JSON values: models, bank, options, what of
    the protocol was changed, split, limit, ...
    """
    seconds: float
    """The images' seconds added up, over all runs and workers."""
    peak_memory: int
    """Bytes: the most that a process of any run held in main memory; 0 where the system does not tell."""
    caveats: Caveats = field(default=NONE, repr=False)
    """Why labels may not mean what they say."""

    @property
    def miou(self) -> float:
        """Mean IoU over classes of the summed confusion matrix, in [0, 1]; nan where nothing counted."""
        return self.counts.miou()
