"""Exports read back by other people's code, as label maps; and the label maps that the tests write."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

NOTHING = -1
Plane = NDArray[np.int64]


def label_maps() -> list[tuple[NDArray[Any], int]]:
    """(labels, number of names): noise, islands, rings in rings, diagonals, single pixels, unknown labels."""
    rng = np.random.default_rng(0)
    maps: list[tuple[NDArray[Any], int]] = []
    for i, shape in enumerate([(1, 1), (1, 9), (8, 1), (5, 5), (13, 17), (40, 31)]):
        for n in (1, 2, 3, 7):
            kind = (np.uint8, np.int32, np.int64, np.uint16)[(i + n) % 4]
            maps.append((rng.integers(0, n, shape).astype(kind), n))
            maps.append((((rng.random(shape) < 0.2) * (n - 1)).astype(kind), n))
            maps.append((rng.integers(-2, n + 2, shape).astype(np.int32), n))
    rows, columns = np.indices((33, 41))
    away = np.maximum(abs(rows - 16), abs(columns - 20))
    maps += [(away // 3 % 3, 3), ((rows + columns) % 2, 2), (rows // 4 % 2 + columns // 5 % 2, 3)]
    maps.append(((np.arange(9001) // 131 % 3)[None].repeat(2, 0), 3))  # as long as large photographs are
    blocks = rng.integers(0, 21, (7, 9)).repeat(9, 0).repeat(11, 1)
    return [*maps, (blocks, 21), (blocks, 300), (np.full((6, 4), 299), 300)]


def known(labels: NDArray[Any], n: int) -> Plane:
    """What an export must give back: labels without a name are nothing."""
    wide = labels.astype(np.int64)
    return np.where((wide >= 0) & (wide < n), wide, NOTHING)


def painted(size: tuple[int, int], parts: list[tuple[int, NDArray[Any]]]) -> Plane:
    """Masks by label on one plane; no pixel may be painted twice."""
    plane = np.full(size, NOTHING)
    for label, mask in parts:
        assert (plane[mask.astype(bool)] == NOTHING).all(), "two parts overlap"
        plane[mask.astype(bool)] = label
    return plane


def read_coco(path: Path, size: tuple[int, int]) -> tuple[Plane, Any]:
    """By pycocotools: the plane of all annotations, and its COCO object."""
    from pycocotools.coco import COCO

    coco = COCO(str(path))
    found = coco.loadAnns(coco.getAnnIds())
    return painted(size, [(a["category_id"] - 1, coco.annToMask(a)) for a in found]), coco


def read_panoptic(table: Path, size: tuple[int, int]) -> Plane:
    """As panopticapi does: rgb2id of the PNG, then segments_info."""
    record = json.loads(table.read_text("utf-8"))
    (annotation,) = record["annotations"]
    rgb = np.asarray(Image.open(table.parent / annotation["file_name"])).astype(np.int64)
    ids = rgb[..., 0] + 256 * rgb[..., 1] + 256 * 256 * rgb[..., 2]
    segments = {s["id"]: s for s in annotation["segments_info"]}
    assert set(np.unique(ids)) - {0} == set(segments)
    for number, segment in segments.items():
        ys, xs = np.nonzero(ids == number)
        assert segment["area"] == len(ys)
        assert segment["bbox"] == [xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1]
    return painted(size, [(s["category_id"] - 1, ids == i) for i, s in segments.items()])


def drawn(points: Any, size: tuple[int, int]) -> NDArray[np.bool_]:
    """A polygon as labelme's shape_to_mask draws it, and OpenCV's fillPoly of whole numbers (Ultralytics)."""
    canvas = Image.new("L", (size[1], size[0]))
    ImageDraw.Draw(canvas).polygon([tuple(p) for p in points], outline=1, fill=1)
    return np.asarray(canvas, dtype=bool)


def by_centres(points: Any, size: tuple[int, int]) -> NDArray[np.bool_]:
    """A polygon as GDAL fills it: pixels whose centre is inside."""
    from rasterio.features import rasterize

    closed = [*map(list, points), list(points[0])]
    return rasterize([{"type": "Polygon", "coordinates": [closed]}], size).astype(bool)


def read_labelme(path: Path, names: list[str], fill: Any = drawn) -> Plane:
    record = json.loads(path.read_text("utf-8"))
    size = record["imageHeight"], record["imageWidth"]
    return painted(size, [(names.index(s["label"]), fill(s["points"], size)) for s in record["shapes"]])


def read_yolo(path: Path, size: tuple[int, int], fill: Any = drawn) -> Plane:
    """As Ultralytics does: shares in float32, times the size, cut down to whole numbers by the reader."""
    parts = []
    for line in path.read_text("ascii").splitlines():
        label, *values = line.split()
        points = np.array(values, dtype=np.float32).reshape(-1, 2) * np.float32([size[1], size[0]])
        assert points.min() >= 0 and (points < [size[1], size[0]]).all()
        parts.append((int(label), fill(points.tolist(), size)))
    return painted(size, parts)


def read_cvat(path: Path) -> dict[str, tuple[list[str], Plane]]:
    """By the words of CVAT's documentation, pixel for pixel: (labels, plane of their places) by image."""
    from xml.dom import minidom

    document = minidom.parse(str(path)).documentElement
    assert document.tagName == "annotations" and document.childNodes[1].firstChild.data == "1.1"
    names = [node.firstChild.data for node in document.getElementsByTagName("name")[1:]]
    out = {}
    for image in document.getElementsByTagName("image"):
        plane = np.full((int(image.getAttribute("height")), int(image.getAttribute("width"))), NOTHING)
        for mask in image.getElementsByTagName("mask"):
            left, top, width, height = (int(mask.getAttribute(k)) for k in ("left", "top", "width", "height"))
            at, inside = 0, False
            for run in map(int, mask.getAttribute("rle").split(",")):
                for pixel in range(at, at + run) if inside else ():
                    row, column = top + pixel // width, left + pixel % width
                    assert plane[row, column] == NOTHING and pixel % width < width
                    plane[row, column] = names.index(mask.getAttribute("label"))
                at, inside = at + run, not inside
            assert at == width * height
        out[image.getAttribute("name")] = names, plane
    return out


def read_svg(path: Path, size: tuple[int, int]) -> tuple[Plane, dict[str, str]]:
    """By svgelements (parsing) and GDAL (filling, even-odd as a symmetric difference of rings)."""
    import svgelements

    parts, titles = [], {}
    for path_element in svgelements.SVG.parse(str(path), reify=False).elements():
        if isinstance(path_element, svgelements.Path):
            mask = np.zeros(size, dtype=bool)
            for ring in path_element.as_subpaths():
                segments = [s for s in svgelements.Path(ring) if not isinstance(s, svgelements.Close)]
                points = [(s.end.x, s.end.y) for s in segments]
                mask ^= by_centres(points, size)
            label = int(path_element.id.removeprefix("label-")) - 1
            titles[path_element.values["data-name"]] = path_element.fill.hex
            parts.append((label, mask))
    return painted(size, parts), titles


def read_geojson(path: Path, size: tuple[int, int], transform: Any = None) -> tuple[Plane, Any]:
    """By shapely (validity, areas) and rasterio (filling)."""
    import shapely
    from rasterio.features import rasterize
    from rasterio.transform import IDENTITY

    record = json.loads(path.read_text("utf-8"))
    parts = []
    for feature in record["features"]:
        shape = shapely.geometry.shape(feature["geometry"])
        assert shape.is_valid, shapely.is_valid_reason(shape)
        for polygon in shape.geoms:
            assert polygon.exterior.is_ccw and not any(hole.is_ccw for hole in polygon.interiors)
        placed = IDENTITY if transform is None else transform
        mask = rasterize([shape], size, transform=placed).astype(bool)
        assert shape.area == np.float64(mask.sum()) * abs(placed.determinant)
        assert feature["properties"]["pixels"] == mask.sum()
        assert feature["properties"]["share"] == mask.mean()
        parts.append((feature["properties"]["label"], mask))
    return painted(size, parts), record
