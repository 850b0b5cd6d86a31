"""COCO-Stuff 164k and COCO-Object, which share images and masks."""

from __future__ import annotations

from pathlib import Path

from .files import IMAGE_ENDINGS, Found, Masks, find_root, list_files, pair
from .remap import IGNORE, Remap, in_order

LEFT_OUT = (11, 25, 28, 29, 44, 65, 67, 68, 70, 82, 90)
"""Values that no mask of COCO-Stuff holds: COCO's category ids 12, 26, ..., which were never annotated."""
STUFF_VALUES = tuple(value for value in range(182) if value not in LEFT_OUT)
"""Values of COCO-Stuff's own masks (COCO's category id less 1), in the order of the 171 classes."""
THINGS = 80
"""The first 80 of the 171 classes are things, the objects of COCO-Object."""

_TRAIN_IDS, _OBJECT_IDS = "_labelTrainIds.png", "_instanceTrainIds.png"
_OR_NONE = "or 255 for pixels without a label"


def find_stuff(data: Path, split: str, background: bool) -> Found:
    """COCO-Stuff 164k: annotations/SPLIT/NAME_labelTrainIds.png (0-170), or its own NAME.png (0-181)."""
    own, converted = (
        in_order(list(STUFF_VALUES), {255: IGNORE}, f"one of COCO-Stuff's 171 ids in 0 to 181, {_OR_NONE}"),
        in_order(range(171), {255: IGNORE}, f"0 to 170, {_OR_NONE}"),
    )
    return _find(data, split, "COCO-Stuff 164k", [(_TRAIN_IDS, converted), (".png", own)])


def find_objects(data: Path, split: str, background: bool) -> Found:
    """COCO-Object: what is no thing is background.

    Masks are NAME_instanceTrainIds.png (0: background, 1 to 80: things), else those of COCO-Stuff, whose
    stuff becomes background. Pixels of COCO-Stuff without a label do not count.
    """
    made = in_order(range(1, THINGS + 1), {0: THINGS, 255: IGNORE}, f"0 to 80, {_OR_NONE}")
    own, converted = (
        Remap({v: min(i, THINGS) for i, v in enumerate(values)} | {255: IGNORE}, f"{expected}, {_OR_NONE}")
        for values, expected in (
            (STUFF_VALUES, "one of COCO-Stuff's 171 ids in 0 to 181"),
            (tuple(range(171)), "0 to 170"),
        )
    )
    forms = [(_OBJECT_IDS, made), (_TRAIN_IDS, converted), (".png", own)]
    return _find(data, split, "COCO-Object", forms)


def _find(data: Path, split: str, title: str, forms: list[tuple[str, Remap]]) -> Found:
    images, annotations = f"images/{split}", f"annotations/{split}"
    endings = " or NAME".join(ending for ending, _ in forms)
    expected = f"{images}/NAME.jpg and {annotations}/NAME{endings}"
    places = ("coco_stuff164k", "coco")
    root = find_root(data, title, places, [(images,), (annotations,)], expected)
    return pair(
        list_files(root / images, IMAGE_ENDINGS),
        [Masks(root / annotations, ending, remap) for ending, remap in forms],
        aside=(_TRAIN_IDS, _OBJECT_IDS),
    )
