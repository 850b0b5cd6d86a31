"""LabelMe and YOLO: one polygon for every connected area; holes are reached by lines of no width."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Any
from warnings import warn

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ...errors import FreedaWarning
from ..export import png
from .labelled import Labelled, json_bytes
from .outline import areas
from .single import single_ring

_LABELME = "5.5.0"  # the version whose files these are; later ones read them too


def labelme(picture: Labelled) -> list[bytes]:
    """LabelMe's JSON. The photograph is named by its path from the folder of the file, or else embedded."""
    height, width = picture.size
    path, data = _picture(picture)
    shapes = [
        {
            "label": picture.names[label],
            "points": np.round(ring, 2).tolist(),
            "group_id": None,
            "description": "",
            "shape_type": "polygon",
            "flags": {},
        }
        for label, ring in _single_rings(picture)
    ]
    record: dict[str, Any] = {
        "version": _LABELME,
        "flags": {},
        "shapes": shapes,
        "imagePath": path,
        "imageData": data,
        "imageHeight": height,
        "imageWidth": width,
    }
    return [json_bytes(record)]


def yolo(picture: Labelled) -> list[bytes]:
    """A line an area: the label's number from 0 on, then x and y of every corner as shares of the size."""
    height, width = picture.size
    lines = [
        f"{label} " + " ".join(f"{v:.8g}" for v in (ring / (width, height)).ravel().tolist()) + "\n"
        for label, ring in _single_rings(picture)
    ]
    return ["".join(lines).encode("ascii")]


def _single_rings(picture: Labelled) -> list[tuple[int, NDArray[Any]]]:
    found = areas(picture.numbers, picture.labels, apart=False)
    return [(area.label, picture.simplified(single_ring(area, picture.numbers))) for area in found]


def _picture(picture: Labelled) -> tuple[str, str | None]:
    """What LabelMe is told of the photograph: a path, or its bytes in base64 where no path leads to them."""
    file = picture.file
    if file is not None and (file.there() or (picture.photo is None and Path(file.path).is_file())):
        folder = picture.folder.resolve()
        return Path(os.path.relpath(Path(file.path).resolve(), folder)).as_posix(), None
    if picture.photo is None:
        return picture.file_name, None
    if file is not None and file.digest is not None:
        told = f"{file}: moved or changed since it was labelled: the LabelMe file holds the picture itself"
        warn(told, FreedaWarning, stacklevel=2)
    return picture.file_name, base64.b64encode(png(Image.fromarray(picture.photo))).decode("ascii")
