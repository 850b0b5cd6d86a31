"""Annotated folders of any format: recognised by what lies there, opened as an `AnnotatedFolder`."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from ..collection.names import NAMES_FILES, Names, class_word, find_names, read_names
from ..errors import InputError, counted, no_such_file, one_line, shortened
from ..sources import files_below, find_images
from .annotated import IMAGE_FOLDERS, AnnotatedFolder, Pairs, folder_place, open_folder
from .tools import LABEL_LINE, Told, read_coco, read_cvat, read_labelme, read_yolo

FORMATS = ("masks", "coco", "labelme", "yolo", "cvat")
"""What `open_annotated` reads; "cvat" is CVAT for images, its segmentation masks are "masks"."""
_CALLED = {"coco": "COCO", "labelme": "LabelMe", "yolo": "YOLO", "cvat": "CVAT for images"}
_LAYERED = ("labelme", "cvat")
_READ = {"coco": read_coco, "labelme": read_labelme, "cvat": read_cvat}
_YAML = (".yaml", ".yml")


def open_annotated(
    folder: str | Path,
    names: str | Path | None = None,
    images: str | Path | None = None,
    masks: str | Path | None = None,
    ignore: Iterable[int] = (),
    format: str | None = None,
) -> AnnotatedFolder:
    """Find the pictures of an annotated folder and what is said of them, as docs/references.md tells.

    Args:
        folder, images: see `annotated.open_folder`.
        names, ignore: the same, for masks; `names` also of YOLO's classes.
        masks: the folder of masks; of other tools' files one of them, or their folder.
        format: one of `FORMATS`; None takes what lies there.

    Raises InputError, one line, where something is missing, cannot be read, or may be of two formats.
    """
    folder, ignore = Path(folder), list(ignore)
    if format is not None and format not in FORMATS:
        raise InputError(f"there is no format {format!r}: use one of {', '.join(FORMATS)}")
    if not folder.is_dir():
        raise InputError(no_such_file(folder, "there is no such folder"))
    sought = None if masks is None else next((p for p in (folder / masks, Path(masks)) if p.exists()), None)
    if masks is not None and sought is None:
        raise InputError(no_such_file(folder / masks, "there is no such file or folder"))
    place = folder_place(folder, images, IMAGE_FOLDERS)
    paths = list[Path]()
    with suppress(InputError):  # LabelMe's files may hold their pictures
        paths = find_images(place, recursive=True)
    found, damaged = _files(sought or folder, format)
    if format in (None, "yolo"):
        labels = _label_files(paths, folder, place, sought)
        if format or any(_is_label(file) for _, file in labels):
            found["yolo"] = labels
    if len(found) > 1:
        shown = (f"{_CALLED[kind]} ({files[0][kind == 'yolo'].name})" for kind, files in found.items())
        which = " or ".join(found)
        raise InputError(f"{folder}: holds {' and '.join(shown)}: say which with --format {which}")
    if damaged and format != "yolo":
        raise damaged[0]
    if not found and format in (None, "masks"):
        return open_folder(folder, names, images, masks, ignore)
    ((kind, files),) = found.items() or [(format or "", [])]
    if not files:
        raise InputError(f"{folder}: holds no file of {_CALLED[kind]}")
    if ignore or (names is not None and kind != "yolo"):
        option = "--ignore" if ignore else "--names"
        raise InputError(f"{option} means nothing to {_CALLED[kind]}, whose files name their classes")
    beside = {file.with_suffix("") for file, _ in files} if kind == "coco" else set[Path]()
    told = Told(place, [path for path in paths if beside.isdisjoint(path.parents)])
    known = _yolo_names(folder, names) if kind == "yolo" else None
    for first, second in files:
        if known is not None:
            read_yolo(first, second, known, told)
        else:
            _READ[kind](first, second, told)
    if known is not None:
        own, places = {file for _, file in files}, {file.parent for _, file in files}
        told.lost += [
            f
            for place in sorted(places)
            for f in sorted(place.glob("*.txt"))
            if f not in own and _is_label(f)
        ]
    pictures = told.result()
    if not pictures:
        left = "".join(f"; left out: {n:,} {what} ({at})" for what, (n, at) in told.left.items())
        lost = f"; {told.lost[0]} is not in {place}" if told.lost else ""
        raise InputError(f"{folder}: its files of {_CALLED[kind]} give no picture a mask{left}{lost}")
    used = {picture.image for picture in pictures}
    rest = [path for path in told.pictures.values() if path not in used]
    line = f"{files[0][0]}: {_CALLED[kind]}" if known is None else str(known)
    if known is None and files[1:]:
        line += f", and {counted(len(files) - 1, 'other file')}"
    pairs = Pairs(pictures, rest, told.lost, place, sought or folder)
    return AnnotatedFolder(pairs, known, frozenset({0}), line, kind in _LAYERED, told.left)


def _files(given: Path, format: str | None) -> tuple[dict[str, list[tuple[Path, Any]]], list[InputError]]:
    """The files of other tools, read, by format, and what is wrong with those that cannot be read."""
    found: dict[str, list[tuple[Path, Any]]] = {}
    damaged = list[InputError]()
    if format in ("masks", "yolo"):
        return found, damaged
    for path in files_below(given) if given.is_dir() else [given]:
        if path.suffix not in (".json", ".xml") or path.name.startswith("."):
            continue
        json_ = path.suffix == ".json"
        try:
            data: Any = json.loads(path.read_bytes()) if json_ else ElementTree.parse(path).getroot()
        except (OSError, ValueError, RecursionError, ElementTree.ParseError) as error:
            if path.name not in NAMES_FILES:
                what = "JSON" if json_ else "XML"
                told = f"{path}: damaged {what} ({one_line(error)}): mend it, or name another --format"
                damaged.append(InputError(told))
            continue
        kind = _kind(path, data)
        if kind is not None and format in (None, kind):
            if kind == "labelme":
                data["imageData"] = bool(data.get("imageData"))  # a picture, read when it is its turn
            found.setdefault(kind, []).append((path, data))
    return found, damaged


def _kind(path: Path, data: Any) -> str | None:
    """The format of a file's JSON, or of its XML's root."""
    if path.suffix == ".xml":
        if data.tag == "annotations" and data.find("track") is not None:
            raise InputError(f"{path}: of CVAT for video: export it as CVAT for images 1.1")
        return "cvat" if data.tag == "annotations" and data.find("image") is not None else None
    if isinstance(data, dict) and isinstance(data.get("shapes"), list):
        return "labelme" if "imagePath" in data or "imageData" in data else None
    names = ("images", "annotations", "categories")  # captions lack the last
    found = isinstance(data, dict) and all(isinstance(data.get(name), list) for name in names)
    return "coco" if found else None


def _label_files(
    paths: Iterable[Path], folder: Path, place: Path, given: Path | None
) -> list[tuple[Path, Path]]:
    """Pictures with their YOLO label files: in labels/ for the last images/ of the path, or beside it."""
    out = []
    for path in paths:
        parts = list(path.relative_to(folder).parts) if folder in path.parents else [str(path)]
        if "images" in parts[:-1]:
            parts[len(parts) - 1 - parts[::-1].index("images")] = "labels"
        file = folder.joinpath(*parts) if given is None else given / path.relative_to(place)
        if file.with_suffix(".txt").is_file():
            out.append((path, file.with_suffix(".txt")))
    return out


def _is_label(file: Path) -> bool:
    """Whether a text file's first line is one of YOLO's."""
    with suppress(OSError), open(file, encoding="utf-8", errors="replace") as lines:
        return LABEL_LINE.match(next((line for line in lines if line.strip()), "").strip()) is not None
    return False


def _data_first(file: Path) -> tuple[bool, str]:
    return file.stem != "data", file.name


def _yolo_names(folder: Path, given: str | Path | None) -> Names:
    """The classes of data.yaml, classes.txt or whatever is given. Raises InputError."""
    places = [place for place in (folder, folder / "labels") if place.is_dir()]
    there = (file for place in places for file in sorted(place.iterdir(), key=_data_first))
    path = next((file for file in there if file.suffix in _YAML or file.name == "obj.names"), None)
    if given is not None:
        path = next((file for file in (Path(given), folder / given) if file.exists()), Path(given))
    if path is None or path.suffix not in _YAML:
        known = find_names(places, None) if path is None else read_names(path)
        if known is None or known.coloured:
            needed = "data.yaml or classes.txt, or --names FILE"
            raise InputError(f"{folder}: YOLO's classes have no names: {needed}")
        return known
    import yaml  # type: ignore[import-untyped]  # huggingface-hub and transformers need it, too

    try:
        data = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise InputError(f"{path}: cannot be read ({one_line(error)})") from error
    if isinstance(data, dict) and "kpt_shape" in data:
        raise InputError(f"{path}: of poses ('kpt_shape'): labels of segments are needed")
    names = data.get("names") if isinstance(data, dict) else None
    if not isinstance(names, (dict, list)) or not names:
        raise InputError(f"{path}: its 'names' are {shortened(names)}: a list of classes is needed")
    out = Names(path, coloured=False)
    for key, name in names.items() if isinstance(names, dict) else enumerate(names):
        if not str(key).isdecimal() or type(name) not in (str, int):
            raise InputError(
                f"{path}: its 'names' hold {shortened({key: name})}: a number and a name are needed"
            )
        out[int(key)] = class_word(str(name), f"{path}: ")
    return out
