"""GeoJSON: a MultiPolygon for every class, in the photograph's own coordinates where it has any."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError, extra
from ..palette import to_hex
from .labelled import Labelled, json_bytes

_TIFF = (".tif", ".tiff")
_GEO_TAGS = (33922, 34264)  # GeoTIFF 1.1: tie points, transformation
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

    Whatever rasterio opens is understood. Raises InputError for a TIFF that is no longer there or has
    changed, for a GeoTIFF without rasterio installed, and for one placed by ground control points alone.
    """
    path = None if picture.source is None else Path(picture.source)
    if path is None or not path.is_file():
        if path is not None and path.suffix.lower() in _TIFF:
            raise InputError(f"{path}: no such file: its georeference, if it has one, cannot be kept")
        return None, None
    try:
        import rasterio
    except ImportError as error:
        if _tagged(path):
            raise InputError(f"{path}: a GeoTIFF's georeference needs rasterio: {extra('geo')}") from error
        return None, None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        try:
            with rasterio.open(path) as file:
                size, crs = (file.height, file.width), file.crs
                affine, by_points = file.transform, bool(file.gcps[0])
        except rasterio.errors.RasterioError:
            return None, None  # a kind of picture that only Pillow reads
    if affine.is_identity:
        if by_points or crs:
            raise InputError(f"{path}: placed by control points or not at all: warp it to a map grid first")
        return None, None
    if size != picture.size or _turned(path):
        raise InputError(
            f"{path}: {size[1]} x {size[0]} pixels as stored, but {picture.size[1]} x {picture.size[0]} were "
            "labelled, or it is stored turned: its georeference does not fit"
        )
    return np.array([[affine.a, affine.b, affine.c], [affine.d, affine.e, affine.f]]), _crs_name(crs)


def _crs_name(crs: Any) -> str | None:
    """The system's name as GDAL writes it; its definition (WKT) where no register has it."""
    if not crs:
        return None
    known = crs.to_authority()
    if known is None:
        return str(crs.to_wkt())
    # GeoTIFFs hold longitude first, which EPSG:4326 by the letter does not.
    named = {("EPSG", "4326"): "urn:ogc:def:crs:OGC:1.3:CRS84"}
    return named.get(known, f"urn:ogc:def:crs:{known[0]}::{known[1]}")


def _tagged(path: Path) -> bool:
    from PIL import Image

    try:
        with Image.open(path) as image:
            tags = getattr(image, "tag_v2", {})
            return any(tag in tags for tag in _GEO_TAGS)
    except OSError:
        return False


def _turned(path: Path) -> bool:
    """Whether its stored rows are not the photograph's."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            return image.getexif().get(0x0112, 1) != 1
    except OSError:
        return False
