"""Pascal VOC 2012 and Pascal Context."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from ...images import reading_mask
from .files import IMAGE_ENDINGS, Found, Masks, find_root, list_files, pair, read_split
from .remap import IGNORE, in_order

CONTEXT_IDS = (
    *(2, 9, 18, 19, 22, 23, 25, 31, 33, 34, 44, 45, 46, 59, 65, 68, 72, 80, 85, 98, 104, 105, 113, 115, 144),
    *(158, 159, 162, 187, 189, 207, 220, 232, 258, 259, 260, 284, 295, 296, 308, 324, 326, 347, 349, 354),
    *(355, 360, 366, 368, 397, 415, 416, 420, 424, 427, 440, 445, 454, 458),
)
"""Which of the 459 classes of Pascal Context's own files are the 59 that are evaluated. Both lists are
alphabetical, so that the order is the same; mmsegmentation's converter uses the same ids.
"""
_ALL_CONTEXT = 459


def find_voc(data: Path, split: str, background: bool) -> Found:
    """Pascal VOC 2012: values 1 to 20 are the classes, 0 is the background, 255 the objects' outlines."""
    lists = f"ImageSets/Segmentation/{split}.txt"
    places = ("VOC2012", "VOCdevkit/VOC2012")
    needed = [("JPEGImages",), ("SegmentationClass",), (lists,)]
    expected = f"JPEGImages/NAME.jpg, SegmentationClass/NAME.png and {lists}"
    root = find_root(data, "Pascal VOC 2012", places, needed, expected)
    zero = {0: 20 if background else IGNORE, 255: IGNORE}
    remap = in_order(range(1, 21), zero, "0 to 20, or 255 for outlines")
    images = list_files(root / "JPEGImages", IMAGE_ENDINGS)
    return pair(images, [Masks(root / "SegmentationClass", ".png", remap)], read_split([root / lists]))


def find_context(data: Path, split: str, background: bool) -> Found:
    """Pascal Context on the images of VOC 2010, as its own `.mat` files or converted to 59 classes.

    Converted masks (SegmentationClassContext/NAME.png, as mmsegmentation makes them) hold 0 for whatever is
    none of the 59 classes and 1 to 59 for these; the own ones (trainval/NAME.mat) hold 1 to 459, see
    `CONTEXT_IDS`. Without a list of its own the split is VOC 2010's: these are the same images.
    """
    lists = (f"ImageSets/SegmentationContext/{split}.txt", f"ImageSets/Main/{split}.txt")
    places = ("VOC2010", "VOCdevkit/VOC2010")
    needed = [("JPEGImages",), ("SegmentationClassContext", "trainval"), lists]
    masks = "SegmentationClassContext/NAME.png (or trainval/NAME.mat)"
    expected = f"JPEGImages/NAME.jpg, {masks} and {lists[0]} (or {lists[1]})"
    root = find_root(data, "Pascal Context", places, needed, expected)
    zero = 59 if background else IGNORE
    converted = in_order(range(1, 60), {0: zero, 255: IGNORE}, "0 to 59, or 255 for pixels that do not count")
    rest = {value: zero for value in range(_ALL_CONTEXT + 1) if value not in CONTEXT_IDS}
    own = in_order(list(CONTEXT_IDS), rest, f"0 to {_ALL_CONTEXT}")
    forms = [
        Masks(root / "SegmentationClassContext", ".png", converted),
        Masks(root / "trainval", ".mat", own, read_mat),
    ]
    images = list_files(root / "JPEGImages", IMAGE_ENDINGS)
    return pair(images, forms, read_split([root / name for name in lists]))


def read_mat(path: Path) -> NDArray[np.int64]:
    """The array `LabelMap` (H, W) of a MATLAB file. Raises InputError for any other file."""
    from scipy.io import loadmat

    with reading_mask(path):
        held: dict[str, Any] = loadmat(path, variable_names=["LabelMap"])
    labels = held.get("LabelMap")
    if not isinstance(labels, np.ndarray) or labels.ndim != 2 or labels.dtype.kind not in "iu":
        raise InputError(f"{path}: holds no array LabelMap of whole numbers (H, W)")
    return labels.astype(np.int64)
