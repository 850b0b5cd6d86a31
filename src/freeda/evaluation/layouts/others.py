"""Cityscapes and ADE20K."""

from __future__ import annotations

from pathlib import Path

from .files import IMAGE_ENDINGS, Found, Masks, find_root, list_files, pair
from .remap import IGNORE, in_order

CITYSCAPES_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
"""Cityscapes' label ids of the 19 classes, in their order (Cordts et al. 2016); the others do not count."""
_MOST_CITYSCAPES = 33


def find_cityscapes(data: Path, split: str, background: bool) -> Found:
    """Cityscapes, fine annotations: *_gtFine_labelTrainIds.png, or its own *_gtFine_labelIds.png."""
    images, masks = f"leftImg8bit/{split}", f"gtFine/{split}"
    endings = "_gtFine_labelTrainIds.png or NAME_gtFine_labelIds.png"
    expected = f"{images}/CITY/NAME_leftImg8bit.png and {masks}/CITY/NAME{endings}"
    root = find_root(data, "Cityscapes", ("cityscapes",), [(images,), (masks,)], expected)
    rest = {value: IGNORE for value in (*range(_MOST_CITYSCAPES + 1), 255) if value not in CITYSCAPES_IDS}
    none = "or 255 for pixels that do not count"
    forms = [
        Masks(
            root / masks, "_gtFine_labelTrainIds.png", in_order(range(19), {255: IGNORE}, f"0 to 18, {none}")
        ),
        # A licence plate is -1, which eight bits keep as 255.
        Masks(root / masks, "_gtFine_labelIds.png", in_order(list(CITYSCAPES_IDS), rest, f"0 to 33, {none}")),
    ]
    return pair(list_files(root / images, ("_leftImg8bit.png",), deep=True), forms, deep=True)


def find_ade(data: Path, split: str, background: bool) -> Found:
    """ADE20K, the 150 classes of its scene parsing challenge: 1 to 150; 0, none of them, does not count."""
    images, masks = f"images/{split}", f"annotations/{split}"
    places = ("ADEChallengeData2016", "ade/ADEChallengeData2016")
    expected = f"{images}/NAME.jpg and {masks}/NAME.png"
    root = find_root(data, "ADE20K", places, [(images,), (masks,)], expected)
    remap = in_order(range(1, 151), {0: IGNORE, 255: IGNORE}, "0 to 150")
    return pair(list_files(root / images, IMAGE_ENDINGS), [Masks(root / masks, ".png", remap)])
