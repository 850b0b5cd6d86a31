"""What files of other tools say of pictures: COCO, LabelMe, YOLO and CVAT, each by its own documentation.

- COCO: https://cocodataset.org/#format-data
- LabelMe: its JSON, of versions 3 to 6
- YOLO: https://docs.ultralytics.com/datasets/segment
- CVAT for images 1.1: https://docs.cvat.ai/docs/dataset_management/formats/xml_format
"""

from __future__ import annotations

import math
import os
import re
from collections import defaultdict
from collections.abc import Container, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

from ..collection.names import Names, class_word
from ..errors import InputError, shortened
from ..sources import SUFFIXES
from .annotated import AnnotatedPicture
from .shapes import Shape

LABEL_LINE = re.compile(r"\d+(\.0*)?(\s+[-+.\deE]+){4,}")
"""A line of a YOLO label file; what writes floating point alone has 0.0 for class 0."""
_OUTSIDE = re.compile(r"[\\/]|[a-zA-Z]+:|(.*[\\/])?\.\.([\\/]|$)")  # how paths begin that lead elsewhere
_LEAST = 3  # corners of a polygon
_IDS = (int, str)


@dataclass
class _Told:
    """What is told of a picture so far."""

    size: tuple[int, int] | None = None
    shapes: list[Shape] = field(default_factory=list)
    masks: list[tuple[Path, str | None]] = field(default_factory=list)
    names: Names | None = None


class Told:
    """What files tell of the pictures of a folder, and what of that is left out."""

    def __init__(self, place: Path, pictures: Iterable[Path]) -> None:
        self.place = place
        self.pictures = {os.path.abspath(path): path for path in pictures}  # noqa: PTH100 - links by their names
        self._by_name: dict[str, list[Path]] = defaultdict(list)
        for path in self.pictures.values():
            self._by_name[path.name].append(path)
        self._told: dict[Path, _Told] = defaultdict(_Told)
        self.lost: list[Path] = []
        """Pictures that are told of, and not there."""
        self.left: dict[str, tuple[int, str]] = {}
        """What was left out -> how often, and where first."""

    def find(self, told: str, file: Path, place: str, beside: bool = False) -> Path | None:
        """The picture that a file calls so: from that file, from the folder of pictures, or by the end of its
        path; one that leads elsewhere by its name alone. Raises InputError where several are called so.

        With `beside` a picture that is called as the file and lies beside it comes before those elsewhere.
        """
        parts = [part for part in re.split(r"[\\/]+", told) if part not in ("", ".")]
        for base in (file.parent, self.place):
            exact = os.path.abspath(base / "/".join(parts))  # noqa: PTH100
            if exact in self.pictures and not re.match(r"[\\/]", told):
                return self.pictures[exact]
        own = (os.path.abspath(file.with_suffix(end)) for end in SUFFIXES if beside)  # noqa: PTH100
        if (found := next((self.pictures[path] for path in own if path in self.pictures), None)) is not None:
            return found
        parts = [part for part in parts if part != ".."]
        same = self._by_name.get(parts[-1], []) if parts else []
        fitting = [path for path in same if _one_end(path.relative_to(self.place).parts, parts)]
        if not fitting and _OUTSIDE.match(told):
            fitting = same
        if len(fitting) > 1:
            first, second = (path.relative_to(self.place).as_posix() for path in fitting[:2])
            raise InputError(
                f"{place}: the picture {shortened(told)} may be {first} or {second} in {self.place}"
            )
        return fitting[0] if fitting else None

    def about(self, told: Any, file: Path, size: Any, place: str) -> _Told | None:
        """What is told so far of a picture; None, and it is counted, for one that is not there."""
        if not isinstance(told, str):
            raise InputError(f"{place}: the picture's name is {shortened(told)}: text is needed")
        path = self.find(told, file, place)
        if path is None:
            self.lost.append(Path(told))
            return None
        return self.of(path, size, place)

    def of(self, path: Path, size: Any = (None, None), place: str = "") -> _Told:
        """What is told so far of the picture at `path`; `size` is (height, width), None where untold."""
        found = self._told[path]
        if all(n is not None for n in size):
            if not all(type(n) is int and n > 0 for n in size):
                raise InputError(f"{place}: height and width are {shortened(size)}: whole numbers are needed")
            found.size = size
        return found

    def leave(self, what: str, place: str) -> None:
        """Count something that is left out."""
        n, first = self.left.get(what, (0, place))
        self.left[what] = n + 1, first

    def result(self) -> list[AnnotatedPicture]:
        """The pictures that something is told of, sorted by name."""
        made = []
        for path, told in self._told.items():
            if told.shapes or told.masks:
                inside = self.place in path.parents
                name = path.relative_to(self.place).as_posix() if inside else path.name
                rest = tuple(told.masks), told.names, tuple(told.shapes), told.size
                made.append(AnnotatedPicture(name, path, *rest))
        return sorted(made, key=lambda picture: picture.name)


def _one_end(a: tuple[str, ...], b: list[str]) -> bool:
    n = min(len(a), len(b))
    return list(a[-n:]) == b[-n:]


def _field(record: Any, name: str, kind: type | tuple[type, ...], place: str) -> Any:
    """A field of a JSON object. Raises InputError where it is missing or of another kind."""
    value = record.get(name) if isinstance(record, dict) else None
    if not isinstance(value, kind) or isinstance(value, bool):
        raise InputError(f"{place}: its {name!r} is {shortened(value)}, which cannot be read")
    return value


def read_coco(path: Path, data: Any, told: Told) -> None:
    """COCO's instances: every part with a mask, crowds like any other; and its panoptic pictures.

    A class is what all its parts cover together; they may lie over other classes'.
    """
    words, images = dict[int | str, str](), dict[int | str, _Told | None]()
    for i, entry in enumerate(_field(data, "categories", list, str(path))):
        place = f"{path}: category {i}"
        number = _new(entry, words, place)
        words[number] = class_word(_field(entry, "name", str, place), f"{place}: ")
    for i, image in enumerate(data["images"]):
        place = f"{path}: image {i}"
        name = image.get("file_name", image.get("coco_url")) if isinstance(image, dict) else None
        number, size = _new(image, images, place), (image.get("height"), image.get("width"))
        images[number] = told.about(name, path, size, place)
    for i, one in enumerate(data["annotations"]):
        place = f"{path}: annotation {one.get('id', i) if isinstance(one, dict) else i}"
        number = _field(one, "image_id", _IDS, place)
        if number not in images:
            raise InputError(f"{place}: its 'image_id' is {shortened(number)}, which is no image's")
        about = images[number]
        if about is None:
            told.leave("annotations of pictures that are not there", place)
        elif "segments_info" in one:
            _panoptic(path, one, about, words, place)
        else:
            shape = one.get("segmentation")
            word = _known(one, words, place)
            if not shape:
                told.leave("annotations without a mask", place)
            elif isinstance(shape, list):
                rings = [ring for ring in shape if not isinstance(ring, list) or len(ring) >= 2 * _LEAST]
                for _ in range(len(shape) - len(rings)):
                    told.leave("polygons of fewer than 3 corners", place)
                if rings:
                    about.shapes.append(Shape(place, word, "coco polygons", rings))
            else:
                about.shapes.append(Shape(place, word, "coco runs", shape))


def _new(record: Any, known: Container[int | str], place: str) -> int | str:
    """The id of a record, which no other has."""
    number: int | str = _field(record, "id", _IDS, place)
    if number in known:
        raise InputError(f"{place}: its 'id' is {shortened(number)}, as another's is")
    return number


def _known(one: Any, words: dict[int | str, str], place: str) -> str:
    number = _field(one, "category_id", _IDS, place)
    if number not in words:
        raise InputError(f"{place}: its 'category_id' is {shortened(number)}, which is no category's")
    return words[number]


def _panoptic(path: Path, one: Any, about: _Told, words: dict[int | str, str], place: str) -> None:
    """A picture of segments: red + 256 green + 65536 blue is the segment's id, 0 nothing."""
    name = _field(one, "file_name", str, place)
    if _OUTSIDE.match(name):
        raise InputError(f"{place}: its 'file_name' {shortened(name)} leads out of the folder")
    places = [path.with_suffix("") / name, path.parent / name]
    file = next((file for file in places if file.is_file()), None)
    if file is None:
        raise InputError(f"{place}: there is no {name} in {places[0].parent} or {places[1].parent}")
    if about.masks:
        raise InputError(f"{place}: its picture has the panoptic map {about.masks[0][0]} already")
    about.names = names = Names(path, coloured=True)
    for segment in _field(one, "segments_info", list, place):
        number = _field(segment, "id", int, place)
        names[(number & 255) << 16 | number & 0xFF00 | number >> 16] = _known(segment, words, place)
    about.masks = [(file, None)]


def read_labelme(path: Path, data: Any, told: Told) -> None:
    """A LabelMe file. A pixel is what the last shape over it says, as in LabelMe's own label maps."""
    size = data.get("imageHeight"), data.get("imageWidth")
    name = str(data.get("imagePath") or "")
    found = told.find(name, path, str(path), beside=True) or (path if data.get("imageData") else None)
    if found is None:
        told.lost.append(Path(name or path.name))
        return
    about = told.of(found, size, str(path))
    if about.shapes:
        raise InputError(
            f"{path}: its picture {found} has shapes of another file already ({about.shapes[0].place})"
        )
    for i, shape in enumerate(data["shapes"]):
        place = f"{path}: shape {i}"
        word = class_word(_field(shape, "label", str, place), f"{place}: ")
        points = _field(shape, "points", list, place)
        match shape.get("shape_type") or "polygon":
            case "polygon" | "oriented_rectangle" if len(points) < _LEAST:
                told.leave("polygons of fewer than 3 corners", place)
            case "polygon" | "oriented_rectangle":
                about.shapes.append(Shape(place, word, "polygon", points))
            case "rectangle" | "circle" as kind:
                about.shapes.append(Shape(place, word, kind, points))
            case "mask":
                about.shapes.append(Shape(place, word, "patch", [points, shape.get("mask")]))
            case kind:
                told.leave(f"shapes without an area ({str(kind)[:30]})", place)


def read_yolo(path: Path, labels: Path, names: Names, told: Told) -> None:
    """The label file of the picture `path`: a class's number and a polygon on every line.

    A class is what all its polygons cover together.
    """
    about = told.of(path)
    try:
        lines = labels.read_text("utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise InputError(f"{labels}: cannot be read ({error})") from error
    for i, line in enumerate(lines, 1):
        place, values = f"{labels}: line {i}", line.split()
        if not values:
            continue
        try:
            number, shares = int(float(values[0])), [float(value) for value in values[1:]]
            if number != float(values[0]):
                raise ValueError
        except (ValueError, OverflowError) as error:
            raise InputError(
                f"{place}: {shortened(line)}: a class's number and a polygon are needed"
            ) from error
        if number not in names:
            raise InputError(f"{place}: there is no class {number} in {names.path.name}")
        if len(shares) == 4:
            told.leave("boxes without a mask", place)
        elif len(shares) % 2 or len(shares) < 2 * _LEAST:
            raise InputError(
                f"{place}: {len(shares)} numbers after the class: two for every corner are needed"
            )
        elif not all(-0.01 <= share <= 1.01 for share in shares):
            wrong = next(share for share in shares if not -0.01 <= share <= 1.01)
            raise InputError(f"{place}: holds {wrong:g}: shares of the picture's size, 0 to 1, are needed")
        else:
            about.shapes.append(Shape(place, names[number], "shares", shares))


def read_cvat(path: Path, root: Element, told: Told) -> None:
    """A file of CVAT for images. A pixel is what the uppermost shape over it says, the later one of two."""
    for image in root.iter("image"):
        name, size = image.get("name"), tuple(_number(image.get(key)) for key in ("height", "width"))
        place = f"{path}: image {name}"
        inside = f"{image.get('subset')}/{name}" if image.get("subset") else name
        about = told.about(inside, path, size, place) if name else None
        for i, shape in sorted(enumerate(image), key=lambda one: _number(one[1].get("z_order")) or 0):
            if about is None:
                told.leave("annotations of pictures that are not there", place)
            elif shape.tag in ("polygon", "box", "mask"):
                where = f"{place}: {shape.tag} {i}"
                word = class_word(shape.get("label") or "", f"{where}: ")
                about.shapes.append(Shape(where, word, *_cvat_shape(shape, where)))
            else:
                told.leave(f"shapes without an area ({shape.tag})", place)


def _cvat_shape(shape: Element, place: str) -> tuple[str, Any]:
    """The rule and the data of a polygon, a box, which may be turned, or a mask."""
    try:
        if shape.tag == "mask":
            lengths = [int(n) for n in shape.get("rle", "").split(",")]
            return "cvat runs", [
                lengths,
                *(int(shape.attrib[key]) for key in ("left", "top", "width", "height")),
            ]
        if shape.tag == "polygon":
            pairs = [pair.split(",") for pair in shape.get("points", "").split(";")]
            return "coco polygons", [[float(value) for x, y in pairs for value in (x, y)]]
        x0, y0, x1, y1 = (float(shape.attrib[key]) for key in ("xtl", "ytl", "xbr", "ybr"))
        turn = math.radians(float(shape.get("rotation", 0)))
    except (KeyError, ValueError) as error:
        raise InputError(f"{place}: cannot be read ({error})") from error
    x, y, cos, sin = (x0 + x1) / 2, (y0 + y1) / 2, math.cos(turn), math.sin(turn)
    box = ((x0 - x, y0 - y), (x1 - x, y0 - y), (x1 - x, y1 - y), (x0 - x, y1 - y))
    corners = box if not turn else tuple((cos * u - sin * v, sin * u + cos * v) for u, v in box)
    return "coco polygons", [[value for u, v in corners for value in (x + u, y + v)]]


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and re.fullmatch(r"[+-]?\d+", text) else None
