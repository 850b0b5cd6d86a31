"""Names files whose classes are colours, and masks that are painted in them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ...errors import InputError
from ...images import reading_mask

_HEX = re.compile(r"#([0-9a-fA-F]{6})")
_HEX_LINE = re.compile(r"(#[0-9a-fA-F]{6})[\s:=,;]+(\S.*)")
_RGB_FIRST = re.compile(r"(\d{1,3})[\s,]+(\d{1,3})[\s,]+(\d{1,3})[\s:=,;]+(\S.*)")
_RGB_LAST = re.compile(r"(.*?\S)[\s,]+(\d{1,3})[\s,]+(\d{1,3})[\s,]+(\d{1,3})")
_HEADER = re.compile(r"(name|class)[\s,]+r[\s,]+g[\s,]+b|r[\s,]+g[\s,]+b[\s,]+(name|class)", re.IGNORECASE)


def read_colours(path: Path) -> dict[int, str] | None:
    """Colour (red * 65536 + green * 256 + blue) -> class, in the order of the file; None where it has none.

    Text has "#ff0000 cat", "255 0 0 cat" or "cat,255,0,0" on every line (commas or blanks; a header
    "name,r,g,b" may come first); JSON {"#ff0000": "cat"}, {"255,0,0": "cat"} or {"cat": [255, 0, 0]}.
    A file that begins otherwise is another kind of names file. Raises InputError, naming file and entry, for
    one that begins so and goes on otherwise, and for a colour that is given twice.
    """
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: this names file cannot be read ({error})") from error
    entries = _json_entries(path, text) if path.suffix.lower() == ".json" else _text_entries(text)
    out: dict[int, str] = {}
    for place, colour, name in entries:
        if colour is None or max(colour) > 255:
            if not out and colour is None:
                return None
            raise InputError(f"{path}: {place}: a colour and a class are needed, such as '#ff0000 cat'")
        key = (colour[0] << 16) + (colour[1] << 8) + colour[2]
        if key in out:
            raise InputError(f"{path}: {place}: {show_colour(key)} has a name already, {out[key]!r}")
        out[key] = name
    return out or None


def show_colour(colour: int) -> str:
    """A colour as messages show it, "#ff0000"."""
    return f"the colour #{colour:06x}"


def read_coloured(path: Path) -> NDArray[np.int64]:
    """(H, W) colours of a mask's pixels, red * 65536 + green * 256 + blue; transparency is left aside."""
    with reading_mask(path), Image.open(path) as image:
        rgb = np.asarray(image.convert("RGB")).astype(np.int64)
    return (rgb[..., 0] << 16) + (rgb[..., 1] << 8) + rgb[..., 2]


Entry = tuple[str, tuple[int, int, int] | None, str]
"""Its place in the file, its colour (None: it has none) and its class."""


def _text_entries(text: str) -> Iterator[Entry]:
    lines = [(f"line {i}", line.strip()) for i, line in enumerate(text.splitlines(), 1) if line.strip()]
    if lines and _HEADER.fullmatch(lines[0][1]):
        del lines[0]
    for place, line in lines:
        if found := _HEX_LINE.fullmatch(line):
            yield place, _colour(found[1]), found[2]
        elif found := _RGB_FIRST.fullmatch(line):
            yield place, (int(found[1]), int(found[2]), int(found[3])), found[4]
        elif found := _RGB_LAST.fullmatch(line):
            yield place, (int(found[2]), int(found[3]), int(found[4])), found[1]
        else:
            yield place, None, line


def _json_entries(path: Path, text: str) -> Iterator[Entry]:
    try:
        pairs: Any = json.loads(text, object_pairs_hook=list)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: damaged JSON ({error})") from error
    if not isinstance(pairs, list):
        return
    for entry in pairs:
        if not isinstance(entry, tuple) or len(entry) != 2:  # a list, not an object
            yield "its first item", None, ""
            return
        key, value = entry
        place = f"entry {key[:60]!r}"
        if (colour := _colour(key)) is not None and isinstance(value, str):
            yield place, colour, value
        else:
            yield place, _colour(value), key


def _colour(given: Any) -> tuple[int, int, int] | None:
    """A colour as a JSON file may write it: "#ff0000", "255,0,0" or [255, 0, 0]."""
    if isinstance(given, str):
        if found := _HEX.fullmatch(given.strip()):
            return int(found[1][:2], 16), int(found[1][2:4], 16), int(found[1][4:], 16)
        parts = [part for part in re.split(r"[\s,]+", given.strip("()[] ")) if part]
        given = [int(part) for part in parts if part.isdecimal()] if len(parts) == 3 else None
    if isinstance(given, list) and len(given) == 3 and all(type(v) is int and v >= 0 for v in given):
        return given[0], given[1], given[2]
    return None
