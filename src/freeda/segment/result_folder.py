"""The folder that results go to: which file name belongs to which photograph, also in a later run."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import count
from os.path import lexists
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..errors import InputError
from ..files import Written, to_json
from ..images import reading_mask
from ..options.exports import EXPLANATION, EXPORTS, FORMAT, PICTURES, RECORD, export_names
from ..show.explanation import Explanation
from ..show.export import png
from ..show.exports import Labelled
from ..source_file import SourceFile
from .npz import shaped

Point = tuple[int, int]
_EXPORTED = tuple(
    end.removesuffix(RECORD) for ends in EXPORTS.values() for end in ends if end.endswith(RECORD)
)
"""The record of a photograph "x.coco.jpg" would be the export "x.coco.json" of a photograph "x.jpg"."""
_RECORD = {
    **{"format": str, "image": (str, None), "width": int, "height": int, "overlay": str},
    "classes": [{"name": str, "pixels": int, "share": (int, float)}],
    "exports": (None, [str]),
}
"""What a record must hold to be ours."""


class ResultFolder:
    """Gives every photograph a stem: its file's own, with -2, -3, ... where another's files could have that.

    Whose results a stem holds is read from their JSON, so that nothing is overwritten by a photograph of the
    same name from another folder, in this run or a later one; nor is a file that freeda did not write.
    """

    def __init__(self, folder: str | Path) -> None:
        self.written = Written(folder)
        self.folder = self.written.folder
        self._taken: set[str] = set()
        """Stems given out in this run, case folded: some file systems do not tell cases apart."""
        self._there: dict[str, list[str]] = defaultdict(list)
        """Stems on disk by what they may have been made from: "x-2" by "x-2" and by "x"."""
        try:
            names = sorted(p.name for p in self.folder.glob(f"*{RECORD}")) if self.folder.is_dir() else []
        except OSError as error:
            raise InputError(f"{self.folder}: cannot be read ({error.strerror})") from error
        for name in names:
            stem = name.removesuffix(RECORD)
            self._there[stem.casefold()].append(stem)
            if numbered := re.fullmatch(r"(.+)-\d+", stem):
                self._there[numbered[1].casefold()].append(stem)

    def place(
        self, path: Path, content: str | None, exports: Sequence[str] = ()
    ) -> tuple[str, dict[str, Any]]:
        """The stem for a photograph, and the JSON record that an earlier run left of it there, or {}.

        `content` is the digest of its bytes (the record's "photograph"); `exports` are to be written.
        """
        there = [stem for stem in self._there[path.stem.casefold()] if stem.casefold() not in self._taken]
        records = {stem: read_record(self.folder / f"{stem}{RECORD}") for stem in there}
        for is_own in (_same_file, _same_content):
            for stem, record in records.items():
                if record and is_own(record, path, content):
                    return self._take(stem), record
        for n in count(2 if path.stem.casefold().endswith(_EXPORTED) else 1):
            stem = path.stem if n == 1 else f"{path.stem}-{n}"
            if stem.casefold() not in self._taken and self._free(stem, exports):
                return self._take(stem), {}
        raise AssertionError

    def whole(self, stem: str, exports: Iterable[str]) -> dict[str, Path] | None:
        """The files of a stem by kind, where all are there."""
        names = export_names(stem, [*exports, *PICTURES]) | {"json": f"{stem}{RECORD}"}
        files = {kind: self.folder / name for kind, name in names.items()}
        return files if all(file.is_file() for file in files.values()) else None

    def drop_cards(self, stem: str, points: Iterable[Point]) -> None:
        """Remove the explanations of these pixels, which are of results that are about to be written over."""
        for x, y in points:
            card = f"{stem}{EXPLANATION.format(x=x, y=y)}"
            try:
                if self.written.ours(card):
                    (self.folder / card).unlink(missing_ok=True)
            except OSError as error:
                raise InputError(
                    f"{self.folder / card}: an outdated card cannot be removed ({error.strerror})"
                ) from error

    def give_back(self, stem: str) -> None:
        """The photograph could not be labelled: another of its name may have the stem."""
        self._taken.discard(stem.casefold())

    def _take(self, stem: str) -> str:
        self._taken.add(stem.casefold())
        return stem

    def _free(self, stem: str, exports: Sequence[str]) -> bool:
        """Whether no other photograph's record is there, and no file that is not ours."""
        names = export_names(stem, [*exports, *PICTURES]).values()
        return not lexists(self.folder / f"{stem}{RECORD}") and all(map(self.written.ours, names))


def read_record(path: Path) -> dict[str, Any]:
    """What a photograph's JSON says; {} where that is damaged or somebody else's."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if shaped(found, _RECORD) and found["format"] == FORMAT else {}


def read_labelled(path: Path) -> Labelled:
    """What a photograph's JSON, and the label map beside it, say of it, as an item of a data set.

    Raises InputError where they do not fit together.
    """
    record = read_record(path)
    classes = record.get("classes", [])
    file = path.with_name(str(record.get("labels")))
    with reading_mask(file), Image.open(file) as image:
        labels = np.asarray(image).astype(np.int32)
    if labels.shape != (record["height"], record["width"]) or labels.max() >= len(classes):
        raise InputError(f"{file}: is not the label map that {path.name} tells of: label it --again")
    colours = np.array([list(bytes.fromhex(str(one["colour"])[1:])) for one in classes], dtype=np.uint8)
    source = SourceFile(str(record["image"]), record.get("photograph"))
    return Labelled(labels, [one["name"] for one in classes], colours, file=source, stem=path.stem)


def explained(record: dict[str, Any]) -> list[Point]:
    """The pixels whose explanations lie beside a photograph's JSON, as that tells."""
    given = record.get("explained")
    return [
        (point[0], point[1])
        for point in (given if isinstance(given, list) else [])
        if isinstance(point, list) and len(point) == 2 and all(type(n) is int and n >= 0 for n in point)
    ]


def write_card(path: Path, card: Explanation) -> Path:
    """Write the picture that explains a pixel beside the photograph's JSON `path`, which tells of it.

    Raises InputError where writing fails, and where a file of that name is not ours.
    """
    record, point = read_record(path), (card.x, card.y)
    known = record | {"explained": list(dict.fromkeys([*explained(record), point]))}
    name = path.stem + EXPLANATION.format(x=card.x, y=card.y)
    with Written(path.parent).replace(path.name, name) as (told, drawn):
        told.write_text(to_json(known), encoding="utf-8")  # renamed first: no card is there untold
        drawn.write_bytes(png(Image.fromarray(card.draw())))
    return path.with_name(name)


def _same_file(record: dict[str, Any], path: Path, content: str | None) -> bool:
    named = record.get("image")
    return isinstance(named, str) and Path(named).is_absolute() and Path(named).resolve() == path.resolve()


def _same_content(record: dict[str, Any], path: Path, content: str | None) -> bool:
    """The photograph was moved: same name and bytes, and not two files."""
    named = record.get("image")
    return (
        isinstance(named, str)
        and content is not None
        and record.get("photograph") == content
        and Path(named).name == path.name
        and not Path(named).exists()
    )
