"""Many labelled photographs as one data set, in the layout that its tool imports."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image

from ...errors import InputError
from ...files import atomic_path, to_json
from ...options.exports import DATASETS, dataset_kinds
from ...source_file import SourceFile
from ..export import png
from ..overlay import label_map_image
from . import coco, cvat, vector
from .labelled import Labelled, check


def export_folder(items: Iterable[Labelled], out: str | Path, kind: str) -> Path:
    """Write labelled photographs, one after the other, with their files as the data set `out`, a new folder.

    `kind` is one of `DATASETS` (docs/exports.md). A name has one number in all of them, in the order in which
    they meet; a photograph is called by its `stem`, with -2, -3, ... where another has that. Photographs are
    copied as they are; those without a file are written as PNG. `out` appears whole or not at all.

    Raises InputError for another kind, where `out` is there already, for no item or one whose photograph is
    gone or changed, and where writing fails; whatever `items` raises goes through.
    """
    dataset_kinds([kind])
    if os.path.lexists(out):
        raise InputError(f"{out}: is there already: move it away, or choose another folder for the data set")
    with atomic_path(out) as folder:
        folder.mkdir()
        with open(folder / ".parts", "w+", encoding="utf-8", errors="backslashreplace") as parts:
            made = _DataSet(folder, kind, parts)
            for item in items:
                made.add(item)
            if not made.images:
                raise InputError(f"{out}: no labelled photograph was given")
            made.finish()
        (folder / ".parts").unlink()
    return Path(out)


@dataclass
class _DataSet:
    folder: Path
    kind: str
    parts: IO[str]
    """What goes into the one file of all, as it comes."""
    images: list[dict[str, Any]] = field(default_factory=list)
    """COCO's records of the photographs."""
    names: dict[str, int] = field(default_factory=dict)
    colours: list[Any] = field(default_factory=list)
    """By number."""
    last: int = 0
    """The last annotation's id."""
    _stems: set[str] = field(default_factory=set)

    def add(self, item: Labelled) -> None:
        check(item)
        for name, colour in zip(item.names, item.colours, strict=True):
            if name not in self.names:
                self.names[name] = len(self.names)
                self.colours.append(colour)
        labels = np.array([-1, *map(self.names.__getitem__, item.names)])[item.ids]
        numbered = (item.stem if n == 1 else f"{item.stem}-{n}" for n in count(1))
        stem = next(stem for stem in numbered if stem.casefold() not in self._stems)
        self._stems.add(stem.casefold())
        suffix, photograph = _photograph(item)
        file = self._file(f"{DATASETS[self.kind]}/{stem}{suffix}", photograph)
        place = file.parent if self.kind == "labelme" else self.folder
        known: dict[str, Any] = {"labels": labels, "names": list(self.names)}
        known |= {"colours": np.array(self.colours), "stem": stem, "photo": None}
        picture = replace(item, **known, file=SourceFile(str(file)), folder=place)
        self._write(picture)
        self.images.append(coco.image(picture, len(self.images) + 1))

    def _write(self, picture: Labelled) -> None:
        number, stem = len(self.images) + 1, picture.stem
        match self.kind:
            case "labels":
                colours = np.concatenate([np.zeros((1, 3), np.uint8), picture.colours])
                self._file(f"masks/{stem}.png", png(label_map_image(picture.ids, colours)))
            case "labelme":
                self._file(f"{stem}.json", *vector.labelme(picture))
            case "yolo":
                self._file(f"labels/train/{stem}.txt", *vector.yolo(picture))
            case "cvat":
                self.parts.write(cvat.image(picture, number - 1))
            case "coco-panoptic":
                plane, one = coco.segments(picture, f"{stem}.png", number)
                self._file(f"annotations/panoptic_default/{stem}.png", plane)
                self._part(one)
            case _:
                for one in coco.parts(picture, self.kind == "coco-instances", number, self.last):
                    self._part(one)
                    self.last = one["id"]

    def _part(self, one: Any) -> None:
        self.parts.write(("," if self.parts.tell() else "") + to_json(one, indent=None))

    def _file(self, name: str, data: bytes) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    def finish(self) -> None:
        """Write what is told of all."""
        names, colours = list(self.names), np.array(self.colours)
        self.parts.seek(0)
        match self.kind:
            case "labels":
                self._file("names.json", to_json({str(i): name for i, name in enumerate(names, 1)}).encode())
            case "yolo":
                lines = "".join(f"  {i}: {_yaml(name)}\n" for i, name in enumerate(names))
                told = "# no photograph is set apart: divide them for training\ntrain: images/train\n"
                self._file("data.yaml", f"{told}val: images/train\nnames:\n{lines}".encode())
            case "cvat":
                self._whole("annotations.xml", cvat.head(names, colours, len(self.images)), cvat.TAIL)
            case "coco" | "coco-instances" | "coco-panoptic":
                panoptic = self.kind == "coco-panoptic"
                table = coco.table(self.images, names, colours if panoptic else None)
                start, end = to_json(table, indent=None).rsplit("]", 1)  # of the empty list of annotations
                self._whole(
                    f"annotations/{'panoptic' if panoptic else 'instances'}_default.json", start, f"]{end}"
                )

    def _whole(self, name: str, start: str, end: str) -> None:
        (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
        with open(self.folder / name, "w", encoding="utf-8") as file:
            file.write(start)
            shutil.copyfileobj(self.parts, file)
            file.write(end)


def _photograph(item: Labelled) -> tuple[str, bytes]:
    """A photograph's bytes, and how its name ends. Raises InputError where it is gone or changed."""
    file = item.file
    if file is not None:
        with suppress(OSError):
            data = Path(file.path).read_bytes()
            if file.digest == sha256(data).hexdigest() or (file.digest is None and item.photo is None):
                return Path(file.path).suffix, data
    if item.photo is None:
        told = "it has no photograph" if file is None else "moved or changed since it was labelled"
        raise InputError(f"{file or item.stem}: {told}, and a data set holds its photographs")
    return ".png", png(Image.fromarray(item.photo))


def _yaml(name: str) -> str:
    """A name between YAML's double quotes."""
    plain = (c if c.isprintable() and c not in '"\\' else f"\\U{ord(c):08x}" for c in name)
    return f'"{"".join(plain)}"'
