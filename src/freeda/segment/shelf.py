"""The folder that results go to: which file name belongs to which photograph, also in a later run."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable
from itertools import count
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..files import atomic_write_json
from ..options.exports import EXPLANATION, EXPORTS, export_names

KINDS = {"labels": ".labels.png", "overlay": ".overlay.jpg", "json": ".json"}
Point = tuple[int, int]
_EXPORTED = tuple(
    end.removesuffix(".json") for ends in EXPORTS.values() for end in ends if end.endswith(".json")
)
"""The record of a photograph "x.coco.jpg" would be the export "x.coco.json" of a photograph "x.jpg"."""


class Shelf:
    """Gives every photograph a stem: its file's own, with -2, -3, ... where another's files could have that.

    Whose results a stem holds is read from their JSON, so that nothing is overwritten by a photograph of the
    same name from another folder, in this run or a later one.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._taken: set[str] = set()
        """Stems given out in this run, case folded: some file systems do not tell cases apart."""
        self._there: dict[str, list[str]] = defaultdict(list)
        """Stems on disk by what they may have been made from: "x-2" by "x-2" and by "x"."""
        try:
            names = sorted(p.name for p in self.folder.glob("*.json")) if self.folder.is_dir() else []
        except OSError as error:
            raise InputError(f"{self.folder}: cannot be read ({error.strerror})") from error
        for name in names:
            stem = name.removesuffix(".json")
            self._there[stem.casefold()].append(stem)
            if numbered := re.fullmatch(r"(.+)-\d+", stem):
                self._there[numbered[1].casefold()].append(stem)

    def place(self, path: Path, content: str | None) -> tuple[str, dict[str, Any] | None]:
        """The stem for a photograph, and the JSON record that an earlier run left of it there, if any.

        `content` is the digest of its bytes (the record's "photograph").
        """
        there = [stem for stem in self._there[path.stem.casefold()] if stem.casefold() not in self._taken]
        records = {stem: self._record(stem) for stem in there}
        for is_own in (_same_file, _same_content):
            for stem, record in records.items():
                if record is not None and is_own(record, path, content):
                    return self._take(stem), record
        occupied = {stem.casefold() for stem, record in records.items() if record is not None}
        for n in count(2 if path.stem.casefold().endswith(_EXPORTED) else 1):
            stem = path.stem if n == 1 else f"{path.stem}-{n}"
            if stem.casefold() not in self._taken | occupied:
                return self._take(stem), None
        raise AssertionError

    def whole(self, stem: str, exports: Iterable[str]) -> dict[str, Path] | None:
        """The files of a stem by kind, where all are there."""
        names = export_names(stem, exports) | {kind: f"{stem}{suffix}" for kind, suffix in KINDS.items()}
        files = {kind: self.folder / name for kind, name in names.items()}
        return files if all(file.is_file() for file in files.values()) else None

    def drop_cards(self, stem: str, points: Iterable[Point]) -> None:
        """Remove the explanations of these pixels, which are of results that are about to be written over."""
        for x, y in points:
            card = card_path(self.folder / f"{stem}{KINDS['json']}", x, y)
            try:
                card.unlink(missing_ok=True)
            except OSError as error:
                raise InputError(f"{card}: an outdated card cannot be removed ({error.strerror})") from error

    def give_back(self, stem: str) -> None:
        """The photograph could not be read: another of its name may have the stem."""
        self._taken.discard(stem.casefold())

    def _take(self, stem: str) -> str:
        self._taken.add(stem.casefold())
        return stem

    def _record(self, stem: str) -> dict[str, Any] | None:
        """The JSON of a stem; {} for someone else's file; None for a damaged one of ours, which may go."""
        try:
            found = json.loads((self.folder / f"{stem}.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None if (self.folder / f"{stem}{KINDS['labels']}").is_file() else {}
        return found if isinstance(found, dict) else {}


def card_path(record: Path, x: int, y: int) -> Path:
    """Where the picture explaining a pixel goes; `record` is the photograph's JSON."""
    return record.with_name(record.stem + EXPLANATION.format(x=x, y=y))


def explained(record: dict[str, Any] | None) -> list[Point]:
    """The pixels whose explanations lie beside a photograph's JSON, as that tells."""
    given = (record or {}).get("explained")
    return [
        (point[0], point[1])
        for point in (given if isinstance(given, list) else [])
        if isinstance(point, list) and len(point) == 2 and all(type(n) is int and n >= 0 for n in point)
    ]


def note_card(path: Path, point: Point) -> None:
    """Add a pixel to those that a photograph's JSON calls explained, so that a later run knows its card."""
    record = json.loads(path.read_text(encoding="utf-8"))
    if point not in explained(record):
        atomic_write_json(path, record | {"explained": [*explained(record), point]})


def _same_file(record: dict[str, Any], path: Path, content: str | None) -> bool:
    named = record.get("image")
    return isinstance(named, str) and Path(named).resolve() == path.resolve()


def _same_content(record: dict[str, Any], path: Path, content: str | None) -> bool:
    """The photograph was moved, or named from another folder: same name and bytes, and not two files."""
    named = record.get("image")
    return (
        isinstance(named, str)
        and content is not None
        and record.get("photograph") == content
        and Path(named).name == path.name
        and not Path(named).exists()
    )
