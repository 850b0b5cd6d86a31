"""COCO's three shapes: masks by class, masks by connected area, and the panoptic picture with its table.

Formats: https://cocodataset.org/#format-data. The run-length code is the one of its reference tools.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from ..export import png
from .labelled import Labelled, json_bytes


def classes(picture: Labelled) -> list[bytes]:
    """One annotation a class that is there: no pixel belongs to two, every labelled one to one."""
    return [json_bytes(_annotated(picture, picture.ids, None))]


def instances(picture: Labelled) -> list[bytes]:
    """One annotation for every connected area of a class."""
    labels = np.zeros(int(picture.numbers.max()) + 1, dtype=np.int64)
    labels[picture.numbers.ravel()] = picture.ids.ravel() - 1
    return [json_bytes(_annotated(picture, picture.numbers, labels))]


def panoptic(picture: Labelled) -> list[bytes]:
    """The panoptic picture (a class's id = red + 256 green + 65536 blue, 0 is nothing) and its table."""
    ids = picture.ids
    plane = np.stack([ids % 256, ids // 256 % 256, ids // 65536], axis=-1).astype(np.uint8)
    boxes = ndimage.find_objects(ids)
    segments = [
        {"id": i, "category_id": i, "area": picture.pixels[i - 1], "bbox": _box(box), "iscrowd": 0}
        for i, box in enumerate(boxes, start=1)
        if box is not None
    ]
    table = _frame(picture)
    table["annotations"] = [
        {"image_id": 1, "file_name": f"{picture.stem}.panoptic.png", "segments_info": segments}
    ]
    for category, colour in zip(table["categories"], picture.colours.tolist(), strict=True):
        category.update(isthing=0, color=colour)
    return [png(Image.fromarray(plane)), json_bytes(table)]


def _annotated(picture: Labelled, ids: NDArray[np.int32], labels: NDArray[np.int64] | None) -> dict[str, Any]:
    """`ids` (H, W): 0 is nothing; `labels` tells the label of each, None: it is the id less 1."""
    height, width = picture.size
    boxes = ndimage.find_objects(ids)
    table = _frame(picture)
    for number, (runs, area) in run_lengths(ids).items():
        label = number - 1 if labels is None else int(labels[number])
        table["annotations"].append(
            {
                "id": number,
                "image_id": 1,
                "category_id": label + 1,
                "segmentation": {"size": [height, width], "counts": encode_runs(runs)},
                "area": area,
                "bbox": _box(boxes[number - 1]),
                "iscrowd": 0,
            }
        )
    return table


def _frame(picture: Labelled) -> dict[str, Any]:
    height, width = picture.size
    return {
        "info": {"description": "made by freeda"},
        "licenses": [],
        "images": [{"id": 1, "file_name": picture.file_name, "width": width, "height": height}],
        "annotations": [],
        "categories": [
            {"id": i, "name": name, "supercategory": ""} for i, name in enumerate(picture.names, start=1)
        ],
    }


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
