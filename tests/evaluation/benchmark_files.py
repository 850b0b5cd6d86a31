"""Small benchmarks on disk, in the layouts of the field: two images each, masks of chosen values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.io import savemat

SIZE = (6, 9)
"""(height, width) of every image."""
NAMES = ("a_1", "b_2")


def write_image(path: Path, size: tuple[int, int] = SIZE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((*size, 3), dtype=np.uint8)).save(path)
    return path


def write_mask(path: Path, values: Any, mode: str = "L") -> Path:
    """Grey values, palette indices ("P") or, from an array (H, W, 3), colours."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.asarray(values).astype(np.uint8))
    if mode == "P":
        image = image.convert("L")
        image.putpalette([(i * 37) % 256 for i in range(768)])
    image.save(path)
    return path


def spread(values: list[int]) -> np.ndarray:
    """An array of `SIZE` in which each of the values occurs."""
    return np.resize(np.array(values), SIZE)


def write_list(path: Path, names: tuple[str, ...] = NAMES) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{name}\n" for name in names))
    return path


def voc(root: Path, values: list[int]) -> Path:
    for name in NAMES:
        write_image(root / "JPEGImages" / f"{name}.jpg")
        write_mask(root / "SegmentationClass" / f"{name}.png", spread(values), "P")
    write_image(root / "JPEGImages" / "of_another_split.jpg")
    write_list(root / "ImageSets" / "Segmentation" / "val.txt")
    return root


def context(root: Path, values: list[int], own: bool = False) -> Path:
    for name in NAMES:
        write_image(root / "JPEGImages" / f"{name}.jpg")
        if own:
            (root / "trainval").mkdir(parents=True, exist_ok=True)
            path = root / "trainval" / f"{name}.mat"
            savemat(path, {"LabelMap": spread(values).astype(np.uint16)}, do_compression=True)
        else:
            write_mask(root / "SegmentationClassContext" / f"{name}.png", spread(values))
    write_list(root / "ImageSets" / ("Main" if own else "SegmentationContext") / "val.txt")
    return root


def coco(root: Path, values: list[int], ending: str = ".png") -> Path:
    for name in NAMES:
        write_image(root / "images" / "val2017" / f"{name}.jpg")
        write_mask(root / "annotations" / "val2017" / f"{name}{ending}", spread(values))
    return root


def cityscapes(root: Path, values: list[int], ending: str = "_gtFine_labelIds.png") -> Path:
    for name in NAMES:
        write_image(root / "leftImg8bit" / "val" / name[0] / f"{name}_leftImg8bit.png")
        write_mask(root / "gtFine" / "val" / name[0] / f"{name}{ending}", spread(values))
    return root


def ade(root: Path, values: list[int]) -> Path:
    for name in NAMES:
        write_image(root / "images" / "validation" / f"{name}.jpg")
        write_mask(root / "annotations" / "validation" / f"{name}.png", spread(values))
    return root


def folder(root: Path, values: list[int], names: str = '{"1": "cat", "2": "dog"}') -> Path:
    for name in NAMES:
        write_image(root / "images" / f"{name}.jpg")
        write_mask(root / "masks" / f"{name}.png", spread(values))
    (root / "names.json").write_text(names)
    return root
