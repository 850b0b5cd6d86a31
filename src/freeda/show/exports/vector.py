"""Outlines as files: SVG, GeoJSON, LabelMe and YOLO."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Any
from warnings import warn
from xml.sax.saxutils import escape, quoteattr

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ...errors import FreedaWarning, InputError
from ..export import png
from ..palette import to_hex
from .labelled import Labelled, in_xml, json_bytes
from .outline import areas, single_ring

_LABELME = "5.5.0"  # the version whose files these are; later ones read them too


def svg(picture: Labelled) -> list[bytes]:
    """One path a class that is there, filled by the even-odd rule; a unit is a pixel."""
    height, width = picture.size
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" fill-rule="evenodd">'
    ]
    for label, found in picture.areas.items():
        said = in_xml(picture.names[label], escaped=False)
        path = "".join(_path(ring, picture) for area in found for ring in area.rings)
        lines.append(
            f'<path id="label-{label + 1}" data-name={quoteattr(said)} '
            f'fill="{to_hex(picture.colours[label])}" d="{path}"><title>{escape(said)}</title></path>'
        )
    return ["\n".join([*lines, "</svg>", ""]).encode("utf-8")]


def _path(ring: NDArray[Any], picture: Labelled) -> str:
    """A ring as path data: steps along rows and columns, or straight lines where it was simplified."""
    few = picture.simplified(ring)
    if few is not ring:
        return "M" + "L".join(f"{x:g} {y:g}" for x, y in few.tolist()) + "Z"
    (x, y), (next_x, _) = ring[:2].tolist()
    steps = np.diff(ring, axis=0).sum(axis=1).tolist()  # one of the two is 0
    letters = ("h", "v") if next_x != x else ("v", "h")
    return f"M{x} {y}" + "".join(f"{letters[i % 2]}{step}" for i, step in enumerate(steps)) + "Z"


def geojson(picture: Labelled) -> list[bytes]:
    """A MultiPolygon a class that is there, with label, name, colour, pixels and share.

    Coordinates are the photograph's map coordinates as its file had them when it was read, and "crs" names
    their system as GDAL does; without a georeference they are pixels, y downwards. Raises InputError for a
    place that cannot be kept (`source_file.Place.problem`).
    """
    place = None if picture.file is None else picture.file.place
    if place is not None and place.problem:
        raise InputError(place.problem)
    transform = None if place is None else np.array(place.transform).reshape(2, 3)
    features = []
    for label, found in picture.areas.items():
        pixels = picture.pixels[label]
        properties = {
            "label": label,
            "name": picture.names[label],
            "colour": to_hex(picture.colours[label]),
            "pixels": pixels,
            "share": pixels / picture.labels.size,
        }
        shapes = [[_placed(picture.simplified(ring), transform) for ring in area.rings] for area in found]
        geometry = {"type": "MultiPolygon", "coordinates": shapes}
        features.append({"type": "Feature", "properties": properties, "geometry": geometry})
    record: dict[str, Any] = {"type": "FeatureCollection", "name": picture.stem}
    record["units"] = "pixels" if transform is None else "map"
    if place is not None and place.crs is not None:
        record["crs"] = {"type": "name", "properties": {"name": place.crs}}
    return [json_bytes({**record, "features": features})]


def _placed(ring: NDArray[Any], transform: NDArray[np.float64] | None) -> list[list[float]]:
    """A closed ring with its first corner repeated; outer rings run anticlockwise (RFC 7946, 3.1.6).

    `transform` (2, 3): map coordinates = transform @ (x, y, 1) of pixels.
    """
    closed = np.concatenate([ring, ring[:1]])
    if transform is None:
        return closed.tolist()  # clockwise on a screen is anticlockwise by numbers, since y runs downwards
    placed = closed @ transform[:, :2].T + transform[:, 2]
    return (placed if np.linalg.det(transform[:, :2]) > 0 else placed[::-1]).tolist()


def labelme(picture: Labelled) -> list[bytes]:
    """LabelMe's JSON. The photograph is named by its path from the folder of the file, or else embedded."""
    height, width = picture.size
    path, data = _photo(picture)
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
    """One polygon for every connected area; holes are reached by lines of no width."""
    found = areas(picture.numbers, picture.labels, apart=False)
    return [(area.label, picture.simplified(single_ring(area, picture.numbers))) for area in found]


def _photo(picture: Labelled) -> tuple[str, str | None]:
    """What LabelMe is told of the photograph: a path, or its bytes in base64 where no path leads to them."""
    file = picture.file
    if file is not None and (file.there() or (picture.photo is None and Path(file.path).is_file())):
        return Path(os.path.relpath(Path(file.path).resolve(), picture.folder.resolve())).as_posix(), None
    if picture.photo is None:
        return picture.file_name, None
    if file is not None and file.digest is not None:
        told = f"{file}: moved or changed since it was labelled: the LabelMe file holds the picture itself"
        warn(told, FreedaWarning, stacklevel=2)
    return picture.file_name, base64.b64encode(png(Image.fromarray(picture.photo))).decode("ascii")
