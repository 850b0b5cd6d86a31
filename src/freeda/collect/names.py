"""Names files of annotated folders: which class each value of a label map stands for."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..segment.vocabulary import parse_names
from .readers import plain_lines

NAMES_FILES = ("names.json", "names.txt", "classes.json", "classes.txt", "labels.json", "labels.txt")
"""What a names file is called in a folder, the first that is there."""
NO_CLASS = ("background", "unlabeled", "unlabelled", "void", "ignore", "ignored")
"""Names that stand for no class: their pixels are left out."""

_NUMBERED = re.compile(r"(\d+)(?:\s*[:=,;]\s*|\s+)(\S.*)")


def read_names(path: Path) -> dict[int, str]:
    """Value in a mask -> class name, in the order of the file.

    A .json file holds {"1": "cat"}, a list whose first name is value 0, or COCO's {"categories": [{"id": 1,
    "name": "cat"}]}. Any other file is text: "1 cat" on every line (also "1: cat", "1,cat"), or names alone,
    of which the first line is value 0. Several values may have one name. Names are made as `class_word` says.

    Raises InputError, one line, naming the file and the entry, for anything else and for no name at all.
    """
    if not path.is_file():
        raise InputError(f"{path}: there is no such names file")
    rows = _json_rows(path) if path.suffix.lower() == ".json" else _text_rows(path)
    out: dict[int, str] = {}
    for place, value, name in rows:
        if isinstance(value, str) and value.strip().isdecimal():
            value = int(value)
        if type(value) is not int or value < 0:
            raise InputError(f"{path}: {place}: {value!r} is no value of a mask: a whole number is needed")
        if value in out:
            raise InputError(f"{path}: {place}: value {value} has a name already, {out[value]!r}")
        if not isinstance(name, str):
            raise InputError(f"{path}: {place}: the name of value {value} is {name!r}: text is needed")
        out[value] = class_word(name, f"{path}: {place}: ")
    if not out:
        raise InputError(f'{path}: names no class: \'1 cat\' on a line, or JSON {{"1": "cat"}}, is needed')
    return out


def class_word(name: str, place: str = "") -> str:
    """A class name as the bank's noun: lower case, underscores and runs of white space as one blank.

    Raises InputError beginning with `place` for a name that is no word, such as a blank one.
    """
    try:
        (tidy,) = parse_names([name.replace("_", " ")])
    except InputError as error:
        raise InputError(f"{place}{error}") from error
    return tidy.lower()


def _text_rows(path: Path) -> list[tuple[str, Any, Any]]:
    lines = list(plain_lines(path))
    found = [_NUMBERED.fullmatch(text) for _, text in lines]
    if not any(found):
        # The line's own number would be off where blank lines were skipped.
        return [(place, i, text) for i, (place, text) in enumerate(lines)]
    for (place, text), match in zip(lines, found, strict=True):
        if match is None:
            raise InputError(f"{path}: {place}: {text[:60]!r} has no number, but other lines have: '1 cat'")
    return [(place, m[1], m[2]) for (place, _), m in zip(lines, found, strict=True) if m is not None]


def _json_rows(path: Path) -> list[tuple[str, Any, Any]]:
    try:
        data: Any = json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=_Pairs)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: damaged JSON ({error})") from error
    categories = dict(data).get("categories") if isinstance(data, _Pairs) else None
    if isinstance(categories, list) and not isinstance(categories, _Pairs):
        rows = []
        for i, entry in enumerate(categories):
            found = dict(entry) if isinstance(entry, _Pairs) else {}
            if "id" not in found or "name" not in found:
                raise InputError(f"{path}: category {i}: an object with 'id' and 'name' is needed")
            rows.append((f"category {i}", found["id"], found["name"]))
        return rows
    if isinstance(data, _Pairs):
        return [(f"entry {key[:60]!r}", key, name) for key, name in data]
    if isinstance(data, list):
        return [(f"item {i}", i, name) for i, name in enumerate(data)]
    raise InputError(
        f'{path}: not a names file: JSON such as {{"1": "cat"}} or ["background", "cat"] is needed'
    )


class _Pairs(list[tuple[str, Any]]):
    """A JSON object as (key, value) pairs, so that a key given twice is seen."""
