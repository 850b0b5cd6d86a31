"""What every export is made from."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError, printable
from ...files import to_json
from ...source_file import SourceFile
from ..caveats import NONE, Caveats
from ..export import label_counts
from ..overlay import number_areas
from .outline import Area, areas


@dataclass(frozen=True, eq=False)
class Labelled:
    """A labelled photograph, and where and how it is to be written. What several exports need is kept."""

    labels: NDArray[Any]
    """Integer (H, W), indices into `names`; pixels with any other value are left out of every export."""
    names: Sequence[str]
    colours: NDArray[np.uint8]
    """(len(names), 3) RGB."""
    photo: NDArray[np.uint8] | None = None
    """(H, W, 3) RGB, where known."""
    file: SourceFile | None = None
    """The photograph's file, where known."""
    folder: Path = Path()
    """Where the files will lie: some name the photograph from there."""
    stem: str = "image"
    tolerance: float = 0.0
    """Pixels by which polygons may leave the true outlines; 0 is exact."""
    caveats: Caveats = NONE
    """What a legend has to say besides."""

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.labels.shape[0], self.labels.shape[1]

    @property
    def file_name(self) -> str:
        """The photograph's name without its folders."""
        return self.file.name if self.file else self.stem

    @cached_property
    def ids(self) -> NDArray[np.int32]:
        """(H, W) int32: the label plus 1, 0 where it has no name."""
        known = (self.labels >= 0) & (self.labels < len(self.names))
        return np.where(known, self.labels.astype(np.int64) + 1, 0).astype(np.int32)

    @cached_property
    def numbers(self) -> NDArray[np.int32]:
        """(H, W) int32: the connected areas (`number_areas`)."""
        return number_areas(self.labels, len(self.names))

    @cached_property
    def areas(self) -> dict[int, list[Area]]:
        """By label, rising: its connected areas with their outlines as polygons with holes."""
        found = sorted(areas(self.numbers, self.labels), key=lambda area: area.label)
        return {label: list(some) for label, some in groupby(found, key=lambda area: area.label)}

    @cached_property
    def pixels(self) -> list[int]:
        """How many pixels each label has."""
        return label_counts(self.labels, len(self.names)).tolist()

    def simplified(self, ring: NDArray[Any]) -> NDArray[Any]:
        """A closed ring (n, 2) with fewer corners, none of the old ones farther than `tolerance` from it.

        Douglas and Peucker 1973, as in scikit-image. A ring that would vanish stays as it is.
        """
        if self.tolerance == 0:
            return ring
        from skimage.measure import approximate_polygon

        few = approximate_polygon(np.concatenate([ring, ring[:1]]), self.tolerance)[:-1]
        return few if len(few) >= 3 else ring


def check(picture: Labelled) -> None:
    """Raise InputError for arrays that do not fit together, a tolerance below 0, a stem with folders."""
    labels, photo, tolerance = picture.labels, picture.photo, picture.tolerance
    if Path(picture.stem).name != picture.stem:
        raise InputError(f"stem {picture.stem!r} is not a file name: folders belong into out_dir")
    if labels.ndim != 2 or labels.dtype.kind not in "iu" or not labels.size:
        raise InputError(f"label map is {labels.dtype} {labels.shape}, expected integers (H, W)")
    if photo is not None and photo.shape != (*labels.shape, 3):
        raise InputError(f"label map has shape {labels.shape}, its photograph {photo.shape}")
    if not (isinstance(tolerance, (int, float, np.number)) and 0 <= tolerance < float("inf")):
        raise InputError(f"tolerance is {tolerance!r}: it must be 0 (exact) or some pixels more")


def in_xml(text: str, escaped: bool = True) -> str:
    """Text as XML 1.0 takes it, which forbids control characters and two more in any form."""
    said = re.sub("[\ufffe\uffff]", "\ufffd", printable(text))
    return escape(said) if escaped else said


def json_bytes(value: Any) -> bytes:
    """`value` as JSON in one line, UTF-8: numbers by the thousand are no reading matter."""
    return to_json(value, indent=None).encode("utf-8")


def detections(labels: NDArray[Any], names: Sequence[str]) -> Any:
    """A `supervision.Detections` of `labels`, integer (H, W), indices into `names`: an entry for every class
    found. Raises InputError where the package is not installed.
    """
    try:
        import supervision
    except ImportError as error:
        raise InputError("this needs the package supervision: pip install supervision") from error
    found = np.unique(labels)
    masks = labels == found[:, None, None]
    return supervision.Detections(
        xyxy=supervision.mask_to_xyxy(masks).astype(np.float32),
        mask=masks,
        class_id=found.astype(np.int64),
        data={"class_name": np.array([names[i] for i in found])},
    )
