"""Files and values of the published benchmarks, by the data set's folder, the split, and whether what is none
of the classes counts as a background; COCO's, Cityscapes and ADE20K leave no choice in that.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from ...images import reading_mask
from .files import IGNORE, Found, MaskFiles, Remap, find_samples, in_order

CONTEXT_IDS = (
    *(2, 9, 18, 19, 22, 23, 25, 31, 33, 34, 44, 45, 46, 59, 65, 68, 72, 80, 85, 98, 104, 105, 113, 115, 144),
    *(158, 159, 162, 187, 189, 207, 220, 232, 258, 259, 260, 284, 295, 296, 308, 324, 326, 347, 349, 354),
    *(355, 360, 366, 368, 397, 415, 416, 420, 424, 427, 440, 445, 454, 458),
)
"""Which of the 459 classes of Pascal Context's own files are the 59 that are evaluated. Both lists are
alphabetical, so that the order is the same; mmsegmentation's converter uses the same ids.
"""
_ALL_CONTEXT = 459
LEFT_OUT = (11, 25, 28, 29, 44, 65, 67, 68, 70, 82, 90)
"""Values that no mask of COCO-Stuff holds: COCO's category ids 12, 26, ..., which were never annotated."""
STUFF_VALUES = tuple(value for value in range(182) if value not in LEFT_OUT)
"""Values of COCO-Stuff's own masks (COCO's category id less 1), in the order of the 171 classes."""
THINGS = 80
"""The first 80 of the 171 classes are things, the objects of COCO-Object."""
CITYSCAPES_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
"""Cityscapes' label ids of the 19 classes, in their order (Cordts et al. 2016); the others do not count."""
_TRAIN_IDS, _OBJECT_IDS = "_labelTrainIds.png", "_instanceTrainIds.png"
_OR_NOT = "or 255 for pixels that do not count"
_OR_NONE = "or 255 for pixels without a label"


def find_voc(data: Path, split: str, background: bool) -> Found:
    """Pascal VOC 2012: values 1 to 20 are the classes, 0 is the background, 255 the objects' outlines."""
    zero = {0: 20 if background else IGNORE, 255: IGNORE}
    remap = in_order(range(1, 21), zero, "0 to 20, or 255 for outlines")
    return find_samples(
        data,
        "Pascal VOC 2012",
        ("VOC2012", "VOCdevkit/VOC2012"),
        "JPEGImages",
        [MaskFiles("SegmentationClass", ".png", remap)],
        [f"ImageSets/Segmentation/{split}.txt"],
    )


def find_context(data: Path, split: str, background: bool) -> Found:
    """Pascal Context on the images of VOC 2010, as its own `.mat` files or converted to 59 classes.

    Converted masks (SegmentationClassContext/NAME.png, as mmsegmentation makes them) hold 0 for whatever is
    none of the 59 classes and 1 to 59 for these; the own ones (trainval/NAME.mat) hold 1 to 459, see
    `CONTEXT_IDS`. Without a list of its own the split is VOC 2010's: these are the same images.
    """
    zero = 59 if background else IGNORE
    converted = in_order(range(1, 60), {0: zero, 255: IGNORE}, f"0 to 59, {_OR_NOT}")
    rest = {value: zero for value in range(_ALL_CONTEXT + 1) if value not in CONTEXT_IDS}
    own = in_order(CONTEXT_IDS, rest, f"0 to {_ALL_CONTEXT}")
    return find_samples(
        data,
        "Pascal Context",
        ("VOC2010", "VOCdevkit/VOC2010"),
        "JPEGImages",
        [
            MaskFiles("SegmentationClassContext", ".png", converted),
            MaskFiles("trainval", ".mat", own, read_mat),
        ],
        [f"ImageSets/SegmentationContext/{split}.txt", f"ImageSets/Main/{split}.txt"],
    )


def read_mat(path: Path) -> NDArray[np.int64]:
    """The array `LabelMap` (H, W) of a MATLAB file. Raises InputError for any other file."""
    from scipy.io import loadmat

    with reading_mask(path):
        held: dict[str, Any] = loadmat(path, variable_names=["LabelMap"])
    labels = held.get("LabelMap")
    if not isinstance(labels, np.ndarray) or labels.ndim != 2 or labels.dtype.kind not in "iu":
        raise InputError(f"{path}: holds no array LabelMap of whole numbers (H, W)")
    return labels.astype(np.int64)


def find_stuff(data: Path, split: str, background: bool) -> Found:
    """COCO-Stuff 164k: annotations/SPLIT/NAME_labelTrainIds.png (0-170), or its own NAME.png (0-181)."""
    return _find_coco(data, split, "COCO-Stuff 164k", 171, [])


def find_objects(data: Path, split: str, background: bool) -> Found:
    """COCO-Object: what is no thing is background.

    Masks are NAME_instanceTrainIds.png (0: background, 1 to 80: things), else those of COCO-Stuff, whose
    stuff becomes background. Pixels of COCO-Stuff without a label do not count.
    """
    made = in_order(range(1, THINGS + 1), {0: THINGS, 255: IGNORE}, f"0 to 80, {_OR_NONE}")
    return _find_coco(
        data, split, "COCO-Object", THINGS, [MaskFiles(f"annotations/{split}", _OBJECT_IDS, made)]
    )


def _find_coco(data: Path, split: str, title: str, last: int, forms: list[MaskFiles]) -> Found:
    """`forms` beside those of COCO-Stuff, whose labels from `last` on are one."""
    for ending, values, expected in (
        (_TRAIN_IDS, range(171), "0 to 170"),
        (".png", STUFF_VALUES, "one of COCO-Stuff's 171 ids in 0 to 181"),
    ):
        labels = {value: min(i, last) for i, value in enumerate(values)} | {255: IGNORE}
        forms.append(MaskFiles(f"annotations/{split}", ending, Remap(labels, f"{expected}, {_OR_NONE}")))
    places = ("coco_stuff164k", "coco")
    return find_samples(data, title, places, f"images/{split}", forms, aside=(_TRAIN_IDS, _OBJECT_IDS))


def find_cityscapes(data: Path, split: str, background: bool) -> Found:
    """Cityscapes, fine annotations: *_gtFine_labelTrainIds.png, or its own *_gtFine_labelIds.png."""
    # A licence plate is -1, which eight bits keep as 255.
    rest = {value: IGNORE for value in (*range(34), 255) if value not in CITYSCAPES_IDS}
    converted = in_order(range(19), {255: IGNORE}, f"0 to 18, {_OR_NOT}")
    own = in_order(CITYSCAPES_IDS, rest, f"0 to 33, {_OR_NOT}")
    forms = [
        MaskFiles(f"gtFine/{split}", ending, remap)
        for ending, remap in (("_gtFine_labelTrainIds.png", converted), ("_gtFine_labelIds.png", own))
    ]
    images = f"leftImg8bit/{split}"
    return find_samples(data, "Cityscapes", ("cityscapes",), images, forms, ending="_leftImg8bit.png")


def find_ade(data: Path, split: str, background: bool) -> Found:
    """ADE20K, the 150 classes of its scene parsing challenge: 1 to 150; 0, none of them, does not count."""
    remap = in_order(range(1, 151), {0: IGNORE, 255: IGNORE}, "0 to 150")
    places = ("ADEChallengeData2016", "ade/ADEChallengeData2016")
    return find_samples(
        data, "ADE20K", places, f"images/{split}", [MaskFiles(f"annotations/{split}", ".png", remap)]
    )
