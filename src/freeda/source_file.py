"""The file that a photograph came from: where it lay, its bytes' digest, and its place on a map."""

from __future__ import annotations

import math
import os
import warnings
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .errors import extra
from .files import digest_of

_GEO_TAGS = (33922, 34264)  # GeoTIFF 1.1: tie points, transformation
_DRIVERS = {
    **dict.fromkeys((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), "GTiff"),
    **{b"\0\0\0\x0cjP  ": "JP2OpenJPEG", b"\xff\xd8\xff": "JPEG", b"\x89PNG": "PNG"},
    **{b"BM": "BMP", b"GIF8": "GIF", b"RIFF": "WEBP"},
}
"""What GDAL is to take a file for by its first bytes: left to itself it follows texts that name others."""
_BY_ITSELF = ("GTiff", "JP2OpenJPEG")
"""Formats that may say where they lie without a file beside them."""


@dataclass(frozen=True)
class Place:
    """How a photograph lies on a map."""

    transform: tuple[float, ...] = ()
    """(a, b, c, d, e, f): map x = a * column + b * row + c, map y = d * column + e * row + f."""
    crs: str | None = None
    """The map's coordinate system as GDAL names it; its definition (WKT) where no register has it."""
    problem: str = ""
    """Why there is a place that cannot be kept; `transform` is empty then."""


@dataclass(frozen=True)
class SourceFile:
    """A photograph's file as it was when it was read. `str()` is its path."""

    path: str
    """Absolute."""
    digest: str | None = None
    """SHA-256 (hex) of its bytes; None for what is no plain file."""
    place: Place | None = None
    """None where nothing tells of one."""

    def __str__(self) -> str:
        return self.path

    @property
    def name(self) -> str:
        """The file's name without its folders."""
        return Path(self.path).name

    def there(self) -> bool:
        """Whether the file still lies there with the same bytes."""
        return self.digest is not None and digest_of(self.path) == self.digest

    def header(self) -> dict[str, Any]:
        """Its fields as JSON values."""
        return asdict(self)

    @classmethod
    def of_header(cls, header: Any) -> SourceFile:
        """The file that has this `header`. Raises ValueError for anything else."""
        try:
            place, digest = header["place"], header["digest"]
            if place is not None:
                place = Place(tuple(place["transform"]), place["crs"], place["problem"])
            texts = [header["path"], digest or "", *([place.crs or "", place.problem] if place else [])]
            numbers = place.transform if place else ()
            good = all(isinstance(text, str) for text in texts) and all(map(math.isfinite, numbers))
        except (TypeError, KeyError) as error:
            raise ValueError(f"its photograph's file is told in another way ({error})") from error
        if not good or len(numbers) not in (0, 6):
            raise ValueError("its photograph's file is told in another way")
        return cls(header["path"], digest, place)


def source_file(path: str | Path, size: tuple[int, int]) -> SourceFile:
    """What is to be remembered of a file that was read as a picture of `size` (height, width)."""
    full = Path(os.path.abspath(path))  # noqa: PTH100 - a link keeps its own name
    return SourceFile(str(full), digest_of(full), _place(full, size))


def _is_file(path: Path) -> bool:
    with suppress(OSError):  # a name too long
        return path.is_file()
    return False


def _place(path: Path, size: tuple[int, int]) -> Place | None:
    """Where a picture lies on a map, as rasterio tells; None where nothing speaks of a place."""
    kind = path.suffix.lower()
    ends = (f".{kind[1:2]}{kind[-1:]}w", f"{kind or '.'}w", ".wld")  # ".jgw" or ".jpgw" of ".jpg"
    world = next(filter(_is_file, map(path.with_suffix, (*ends, *map(str.upper, ends)))), None)
    beside = world is not None or any(map(_is_file, (Path(f"{path}.aux.xml"), path.with_suffix(".aux.xml"))))
    untold = None if world is None else Place(problem=f"{world}: gives this picture no place on a map")
    driver = _driver(path)
    if driver is None or not (beside or driver in _BY_ITSELF):
        return untold
    try:
        import rasterio
    except ImportError:
        needs = f"{path}: its place on the map needs rasterio: {extra('geo')}"
        return Place(problem=needs) if beside or _tagged(path) else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        try:
            with rasterio.open(path, driver=driver) as file:
                stored, crs = (file.height, file.width), file.crs
                affine, by_points = file.transform, bool(file.gcps[0])
        except rasterio.errors.RasterioError:
            return untold  # a kind of picture that only Pillow reads
    if affine.is_identity:
        problem = f"{path}: placed by control points or not at all: warp it to a map grid first"
        return Place(problem=problem) if by_points or crs else untold
    if stored != size or _turned(path):
        return Place(
            problem=f"{path}: {stored[1]} x {stored[0]} pixels as stored, but {size[1]} x {size[0]} were "
            "labelled, or it is stored turned: its georeference does not fit"
        )
    return Place(tuple(affine)[:6], _crs_name(crs))


def _crs_name(crs: Any) -> str | None:
    if not crs:
        return None
    known = crs.to_authority()
    if known is None:
        return str(crs.to_wkt())
    # GeoTIFFs hold longitude first, which EPSG:4326 by the letter does not.
    named = {("EPSG", "4326"): "urn:ogc:def:crs:OGC:1.3:CRS84"}
    return named.get(known, f"urn:ogc:def:crs:{known[0]}::{known[1]}")


def _driver(path: Path) -> str | None:
    with suppress(OSError), open(path, "rb") as file:
        head = file.read(8)
        return next((driver for begin, driver in _DRIVERS.items() if head.startswith(begin)), None)
    return None


def _tagged(path: Path) -> bool:
    """Whether a TIFF says where it lies."""
    from PIL import Image

    with suppress(OSError, ValueError, SyntaxError), Image.open(path) as image:
        return any(tag in getattr(image, "tag_v2", {}) for tag in _GEO_TAGS)
    return False


def _turned(path: Path) -> bool:
    """Whether its stored rows are not the photograph's."""
    from PIL import Image

    with suppress(OSError), Image.open(path) as image:
        return bool(image.getexif().get(0x0112, 1) != 1)
    return False
