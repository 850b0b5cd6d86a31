"""Names files, which say the class of each value or colour of a mask; and files of words."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..options.word_list import split_words
from .readers import whole_text

NAMES_FILES = (
    *("names.json", "names.txt", "classes.json", "classes.txt", "labels.json", "labels.txt"),
    *("class_names.txt", "labelmap.txt", "label_colors.txt", "class_dict.csv"),
    *("colours.json", "colours.txt", "colors.json", "colors.txt"),
)
"""What a names file is called in a folder, the first that is there."""
NO_CLASS = ("background", "unlabeled", "unlabelled", "void", "ignore", "ignored")
"""Names that stand for no class: their pixels are left out."""

_NUMBERED = re.compile(r"(\d+)(?:\s*[:=,;]\s*|\s+)(\S.*)")
_HEX = re.compile(r"#([0-9a-fA-F]{6})")
_HEX_LINE = re.compile(r"(#[0-9a-fA-F]{6})[\s:=,;]+(\S.*)")
_RGB_FIRST = re.compile(r"(\d{1,3}[\s,]+\d{1,3}[\s,]+\d{1,3})[\s:=,;]+(\S.*)")
_RGB_LAST = re.compile(r"(.*?\S)[\s,]+(\d{1,3}[\s,]+\d{1,3}[\s,]+\d{1,3})")
_CVAT = re.compile(r"(.+?):((?:\d{1,3},\d{1,3},\d{1,3})?):[^:]*:[^:]*")  # name:colour:parts:actions
_HEADER = re.compile(r"(name|class)[\s,]+r[\s,]+g[\s,]+b|r[\s,]+g[\s,]+b[\s,]+(name|class)", re.IGNORECASE)

Colour = tuple[int, ...]
_Line = tuple[str, Any, Any]
"""Its place in the file, its value (a `Colour` where it has one) and its class."""


class Names(dict[int, str]):
    """Value of a mask -> class, in the order of the file; `str` shows it in a line."""

    def __init__(self, path: Path, coloured: bool) -> None:
        super().__init__()
        self.path = path
        self.coloured = coloured
        """Whether the values are colours: red * 65536 + green * 256 + blue."""

    def show(self, value: int) -> str:
        """A value as messages show it: "value 7", "the colour #ff0000"."""
        return f"the colour #{value:06x}" if self.coloured else f"value {value}"

    def __str__(self) -> str:
        form = "#{:06x} = {}" if self.coloured else "{} = {}"
        return f"{self.path}: {', '.join(form.format(*item) for item in self.items())}"


def find_names(folders: Sequence[Path], given: Path | None) -> Names | None:
    """The names file `given`, by itself or in the last folder; else the first of `NAMES_FILES` there is."""
    if given is not None:
        return read_names(given if given.exists() or given.is_absolute() else folders[-1] / given)
    paths = (folder / name for folder in folders for name in NAMES_FILES)
    return next((read_names(path) for path in paths if path.is_file()), None)


def read_names(path: Path) -> Names:
    """What a names file says, whichever of the forms of docs/words.md it has.

    Several values may have one name. Names are made as `class_word` says. Raises InputError, one line, naming
    the file and the entry, for anything else and for no name at all.
    """
    if not path.is_file():
        raise InputError(f"{path}: there is no such names file")
    text = whole_text(path)
    try:
        rows = _json_rows(text) if _is_json(path, text) else _rows(list(_lines(text)))
        if not rows:
            raise InputError('names no class: \'1 cat\' on a line, or JSON {"1": "cat"}, is needed')
        out = Names(path, isinstance(rows[0][1], tuple))
        for place, given, name in rows:
            value = _checked(given, out.coloured, f"{place}: ")
            if value in out:
                raise InputError(f"{place}: {out.show(value)} has a name already, {out[value]!r}")
            if not isinstance(name, str):
                raise InputError(f"{place}: the name of {out.show(value)} is {name!r}: text is needed")
            out[value] = class_word(name, f"{place}: ")
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return out


def word_list(path: Path) -> list[str]:
    """The entries of a file of words: one grammar with all lists of words, see `split_words`.

    A names file is taken, too: its classes in their order, without those of `NO_CLASS`. Raises InputError.
    """
    text = whole_text(path)
    lines = [line for _, line in _lines(text)]
    known = bool(lines) and (_painted(lines[0]) is not None or lines[0] in ("__ignore__", "_background_"))
    if known or _is_json(path, text) or _counts_up(lines):
        return [name for name in dict.fromkeys(read_names(path).values()) if name not in NO_CLASS]
    try:
        return split_words(text)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _counts_up(lines: Sequence[str]) -> bool:
    """Whether lines are "1 cat", "2 dog", of a names file; "1 euro coin", "2 euro coin" are words."""
    found = [match for match in map(_NUMBERED.fullmatch, lines) if match]
    values, names = [int(match[1]) for match in found], {match[2] for match in found}
    return len(lines) == len(names) > 1 and values == sorted(set(values))


def class_word(name: str, place: str = "") -> str:
    """A class name as a noun: lower case, "_" a blank. InputError, after `place`, for what is none."""
    from ..segment.vocabulary import parse_names  # it loads torch, which whoever finds files does without

    try:
        (tidy,) = parse_names({name.replace("_", " "): ()})
    except InputError as error:
        raise InputError(f"{place}{error}") from error
    return tidy.lower()


def _rows(lines: list[tuple[str, str]]) -> list[_Line]:
    if lines and _HEADER.fullmatch(lines[0][1]):
        del lines[0]
    if lines and _painted(lines[0][1]):
        return [(place, *(_painted(line) or ((), ""))) for place, line in lines]
    found, bare = list[_Line](), list[tuple[str, str]]()
    for place, line in lines:
        if match := _NUMBERED.fullmatch(line):
            found.append((place, match[1], match[2]))
        else:
            bare.append((place, line))
    if not found:
        return _in_order(lines)
    for place, line in bare:
        raise InputError(f"{place}: {line[:60]!r} has no number, but other lines have: '1 cat'")
    return found


def _lines(text: str) -> Iterator[tuple[str, str]]:
    """The lines that are neither blank nor a remark, with their places; "#ff0000 cat" is no remark."""
    for number, line in enumerate(text.splitlines(), 1):
        line = " ".join(line.split())
        if line and (line[0] != "#" or _HEX_LINE.fullmatch(line)):
            yield f"line {number}", line


def _in_order(names: Iterable[tuple[str, Any]]) -> list[_Line]:
    """Names alone, the first of value 0; LabelMe's `__ignore__` before it is -1, which masks hold as 255."""
    rows = list(names)
    first = -1 if rows and rows[0][1] == "__ignore__" else 0
    return [(place, i if i >= 0 else 255, name) for i, (place, name) in enumerate(rows, first)]


def _painted(line: str) -> tuple[Colour, str] | None:
    """The colour, () where CVAT's line has none, and the class of a line; None for another kind of line."""
    for form, colour in ((_CVAT, 2), (_HEX_LINE, 1), (_RGB_FIRST, 1), (_RGB_LAST, 2)):
        if found := form.fullmatch(line):
            return _colour(found[colour]) or (), found[3 - colour]
    return None


def _is_json(path: Path, text: str) -> bool:
    text = text.strip()
    return path.suffix.lower() == ".json" or text[:1] + text[-1:] in ("{}", "[]")


def _json_rows(text: str) -> list[_Line]:
    try:
        data: Any = json.loads(text, object_pairs_hook=tuple)  # so that a key given twice is seen
    except (ValueError, RecursionError) as error:
        raise InputError(f"damaged JSON ({error})") from error
    if isinstance(data, list):
        return _in_order((f"item {i}", name) for i, name in enumerate(data))
    if not isinstance(data, tuple):
        raise InputError('not a names file: JSON such as {"1": "cat"} or ["background", "cat"] is needed')
    rows = list[_Line]()
    categories = dict(data).get("categories")
    if isinstance(categories, list):
        for i, entry in enumerate(categories):
            found = dict(entry) if isinstance(entry, tuple) else {}
            if "id" not in found or "name" not in found:
                raise InputError(f"category {i}: an object with 'id' and 'name' is needed")
            rows.append((f"category {i}", found["id"], found["name"]))
        return rows
    for key, value in data:  # {"1": "cat"}, {"#ff0000": "cat"} or {"cat": [255, 0, 0]}
        colour, of_value = _colour(key), _colour(value)
        named = (key, value) if of_value is None else (of_value, key)
        rows.append((f"entry {key[:60]!r}", *(named if colour is None else (colour, value))))
    return rows


def _checked(value: Any, coloured: bool, place: str) -> int:
    """The number of a value or a colour. Raises InputError, beginning with `place`, for what is none."""
    if coloured:
        if not isinstance(value, tuple) or not value or max(value) > 255:
            raise InputError(f"{place}a colour and a class are needed, such as '#ff0000 cat'")
        return (value[0] << 16) + (value[1] << 8) + value[2]
    if isinstance(value, str) and value.strip().isdecimal():
        value = int(value)
    if type(value) is not int or value < 0:
        raise InputError(f"{place}{value!r} is no value of a mask: a whole number is needed")
    return value


def _colour(given: Any) -> Colour | None:
    """A colour as files write it: "#ff0000", "255,0,0" or [255, 0, 0]."""
    if isinstance(given, str):
        if found := _HEX.fullmatch(given.strip()):
            return tuple(bytes.fromhex(found[1]))
        parts = [part for part in re.split(r"[\s,]+", given.strip("()[] ")) if part]
        given = [int(part) for part in parts if part.isdecimal()] if len(parts) == 3 else None
    if isinstance(given, list) and len(given) == 3 and all(type(v) is int and v >= 0 for v in given):
        return tuple(given)
    return None
