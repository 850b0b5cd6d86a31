"""COCO's three shapes: masks by class, masks by connected area, and the panoptic picture with its table.

Formats: https://cocodataset.org/#format-data. The run-length code is the one of its reference tools.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from ..export import png
from .labelled import Labelled, json_bytes


def classes(picture: Labelled) -> list[bytes]:
    """One annotation a class that is there: no pixel belongs to two, every labelled one to one."""
    return [_of_one(picture, parts(picture))]


def instances(picture: Labelled) -> list[bytes]:
    """One annotation for every connected area of a class."""
    return [_of_one(picture, parts(picture, by_area=True))]


def panoptic(picture: Labelled) -> list[bytes]:
    """The panoptic picture (a class's id = red + 256 green + 65536 blue, 0 is nothing) and its table."""
    plane, one = segments(picture, f"{picture.stem}.panoptic.png")
    return [plane, _of_one(picture, [one], picture.colours)]


def segments(picture: Labelled, name: str, number: int = 1) -> tuple[bytes, dict[str, Any]]:
    """The panoptic picture, a PNG called `name`, and its annotation, of the image of that number."""
    ids = picture.ids
    plane = np.stack([ids % 256, ids // 256 % 256, ids // 65536], axis=-1).astype(np.uint8)
    found = [
        {"id": i, "category_id": i, "area": picture.pixels[i - 1], "bbox": _box(box), "iscrowd": 0}
        for i, box in enumerate(ndimage.find_objects(ids), start=1)
        if box is not None
    ]
    about = {"image_id": number, "file_name": name, "segments_info": found}
    return png(Image.fromarray(plane)), about


def parts(picture: Labelled, by_area: bool = False, number: int = 1, last: int = 0) -> list[dict[str, Any]]:
    """An annotation a class that is there, or a connected area, of the image of that `number`; ids begin
    behind `last`.
    """
    ids = picture.numbers if by_area else picture.ids
    boxes = ndimage.find_objects(ids)
    label = np.arange(-1, len(picture.names))
    if by_area:
        label = np.zeros(int(ids.max()) + 1, dtype=np.int64)
        label[ids.ravel()] = picture.ids.ravel() - 1
    return [
        {
            "id": last + i,
            "image_id": number,
            "category_id": int(label[i]) + 1,
            "segmentation": {"size": list(picture.size), "counts": encode_runs(runs)},
            "area": area,
            "bbox": _box(boxes[i - 1]),
            "iscrowd": 0,
        }
        for i, (runs, area) in run_lengths(ids).items()
    ]


def image(picture: Labelled, number: int = 1) -> dict[str, Any]:
    """The record of a photograph."""
    height, width = picture.size
    return {"id": number, "file_name": picture.file_name, "width": width, "height": height}


def table(
    images: list[dict[str, Any]], names: Sequence[str], colours: NDArray[np.uint8] | None = None
) -> dict[str, Any]:
    """A table without annotations, which come last; with `colours` of panoptic segments."""
    categories = [{"id": i, "name": name, "supercategory": ""} for i, name in enumerate(names, start=1)]
    for category, colour in zip(categories, () if colours is None else colours.tolist(), strict=False):
        category.update(isthing=0, color=colour)
    about = {"info": {"description": "made by freeda"}, "licenses": [], "images": images}
    return {**about, "categories": categories, "annotations": []}


def _of_one(picture: Labelled, found: list[Any], colours: NDArray[np.uint8] | None = None) -> bytes:
    return json_bytes(table([image(picture)], picture.names, colours) | {"annotations": found})


def _box(place: tuple[slice, ...]) -> list[int]:
    rows, columns = place
    return [columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start]


def run_lengths(ids: NDArray[np.int32]) -> dict[int, tuple[NDArray[np.int64], int]]:
    """For every positive id of an (H, W) map: lengths of the runs without and with it by turns, down the
    columns, beginning with one without (perhaps 0); and its number of pixels.
    """
    flat = ids.T.ravel()
    starts = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1])
    stops = np.append(starts[1:], flat.size)
    owner = flat[starts]
    by_owner = np.argsort(owner, kind="stable")
    numbers, first = np.unique(owner[by_owner], return_index=True)
    out: dict[int, tuple[NDArray[np.int64], int]] = {}
    for number, runs in zip(numbers.tolist(), np.split(by_owner, first[1:]), strict=True):
        if number < 1:
            continue
        edges = np.stack([starts[runs], stops[runs]], axis=1).ravel()
        lengths = np.diff(edges, prepend=0)
        area = int(lengths[1::2].sum())
        if edges[-1] < flat.size:
            lengths = np.append(lengths, flat.size - edges[-1])
        out[number] = lengths, area
    return out


def encode_runs(lengths: NDArray[np.int64]) -> str:
    """Run lengths as COCO's short text: from the fourth on each less the one before the last, in signed
    groups of 5 bits, lowest first, bit 6 where more follow, from the character "0" on.
    """
    rest = lengths.astype(np.int64).copy()
    rest[3:] -= lengths[1:-2]
    groups, used = [], [np.ones(len(rest), dtype=bool)]
    while used[-1].any():
        bits, rest = rest & 31, rest >> 5
        done = np.where(bits & 16, rest == -1, rest == 0)
        groups.append(np.where(done, bits, bits | 32) + 48)
        used.append(used[-1] & ~done)
    written = np.stack(groups, axis=1)[np.stack(used[:-1], axis=1)]
    return written.astype(np.uint8).tobytes().decode("ascii")
