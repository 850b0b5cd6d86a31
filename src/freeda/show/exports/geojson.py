"""GeoJSON: a MultiPolygon for every class, in the photograph's own coordinates where it has any."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from ..palette import to_hex
from .labelled import Labelled, json_bytes

Transform = NDArray[np.float64]
"""(2, 3): map coordinates = Transform @ (x, y, 1) of pixels."""


def features(picture: Labelled) -> list[bytes]:
    """One feature a class that is there, with label, name, colour, pixels and share.

    Coordinates are the photograph's map coordinates, and "crs" names their system as GDAL does; without a
    georeference they are pixels, y downwards. Raises InputError where a georeference cannot be kept.
    """
    transform, crs = georeference(picture)
    found = []
    for label, areas in picture.areas.items():
        pixels = picture.pixels(label)
        properties = {
            "label": label,
            "name": picture.names[label],
            "colour": to_hex(picture.colours[label]),
            "pixels": pixels,
            "share": pixels / picture.labels.size,
        }
        shapes = [[_placed(picture.simplified(ring), transform) for ring in area.rings] for area in areas]
        geometry = {"type": "MultiPolygon", "coordinates": shapes}
        found.append({"type": "Feature", "properties": properties, "geometry": geometry})
    record: dict[str, Any] = {"type": "FeatureCollection", "name": picture.stem}
    record["units"] = "pixels" if transform is None else "map"
    if crs is not None:
        record["crs"] = {"type": "name", "properties": {"name": crs}}
    return [json_bytes({**record, "features": found})]


def _placed(ring: NDArray[Any], transform: Transform | None) -> list[list[float]]:
    """A closed ring with its first corner repeated; outer rings run anticlockwise (RFC 7946, 3.1.6)."""
    closed = np.concatenate([ring, ring[:1]])
    if transform is None:
        return closed.tolist()  # clockwise on a screen is anticlockwise by numbers, since y runs downwards
    placed = closed @ transform[:, :2].T + transform[:, 2]
    return (placed if np.linalg.det(transform[:, :2]) > 0 else placed[::-1]).tolist()


def georeference(picture: Labelled) -> tuple[Transform | None, str | None]:
    """How the photograph lies on the map, and the name of the map's coordinate system; None where unknown.

    As its file said when it was read, wherever that is now. Raises InputError for a place that cannot be kept
    (`source_file.Place.problem`).
    """
    place = None if picture.file is None else picture.file.place
    if place is None:
        return None, None
    if place.problem:
        raise InputError(place.problem)
    return np.array(place.transform).reshape(2, 3), place.crs
