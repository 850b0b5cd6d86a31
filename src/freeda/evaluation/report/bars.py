"""Every class's IoU as a bar, in as many columns as the classes need."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from ...show import palette, text
from .figures import best_first, share

RGB = NDArray[np.uint8]

_ROW, _SIZE, _PAD = 24, 14, 32
_NAME, _BAR, _VALUE, _GAP = 170, 210, 56, 36
_TALLEST = 45  # rows of a column
_TRACK: text.Colour = (236, 238, 243)


def draw_bars(title: str, classes: Sequence[dict[str, Any]], mean: float | None) -> RGB:
    """uint8 (H, W, 3): the classes of `figures`, best first; `mean` is drawn as a line through the bars.

    A broad bar is the IoU, the thin one below it the boundary IoU. Classes that the truth lacks are grey.
    """
    rows = best_first(classes)
    columns = max(1, math.ceil(len(rows) / _TALLEST))
    each = math.ceil(len(rows) / columns)
    wide = _NAME + _BAR + _VALUE
    inner = max(columns * wide + (columns - 1) * _GAP, 560)
    top = _PAD + 78
    sheet = Image.new("RGB", (inner + 2 * _PAD, top + each * _ROW + _PAD), text.PAPER)
    draw = ImageDraw.Draw(sheet)
    iou, boundary = _colours()
    text.write(draw, (_PAD, _PAD + 10), text.shorten(title, 22, inner), 22)
    key = f"mean IoU {share(mean)}"
    x = _PAD
    for colour, thick, told in ((iou, 6, "IoU"), (boundary, 2, "boundary IoU")):
        draw.rectangle((x, _PAD + 46 - thick, x + 26, _PAD + 46 + thick), fill=colour)
        text.write(draw, (x + 34, _PAD + 46), told, _SIZE, text.FAINT)
        x += 34 + text.width(told, _SIZE) + 26
    draw.line((x, _PAD + 37, x, _PAD + 55), fill=text.INK)
    text.write(draw, (x + 10, _PAD + 46), key, _SIZE, text.FAINT)
    if not all(entry["pixels"] for entry in rows):
        told = "grey: not in the truth"
        text.write(draw, (x + 36 + text.width(key, _SIZE), _PAD + 46), told, _SIZE, text.FAINT)
    for i, entry in enumerate(rows):
        left, y = _PAD + i // each * (wide + _GAP), top + i % each * _ROW
        _draw_row(draw, left, y, entry, (iou, boundary), mean)
    return np.array(sheet)


def _draw_row(
    draw: ImageDraw.ImageDraw,
    left: int,
    y: int,
    entry: dict[str, Any],
    colours: tuple[text.Colour, text.Colour],
    mean: float | None,
) -> None:
    middle, start = y + _ROW / 2, left + _NAME
    found = entry["iou"] is not None
    name = text.shorten(text.drawable(entry["name"]) or f"class {entry['label'] + 1}", _SIZE, _NAME - 12)
    ink = text.INK if entry["pixels"] else text.FAINT
    text.write(draw, (start - 10, middle), name, _SIZE, ink, "rm")
    draw.rectangle((start, y + 4, start + _BAR, y + _ROW - 4), fill=_TRACK)
    if entry["iou"]:
        draw.rectangle((start, y + 4, start + entry["iou"] * _BAR, y + _ROW - 9), fill=colours[0])
    if entry["boundary_iou"]:
        end = start + entry["boundary_iou"] * _BAR
        draw.rectangle((start, y + _ROW - 8, end, y + _ROW - 4), fill=colours[1])
    if mean is not None:
        draw.line((start + mean * _BAR, y, start + mean * _BAR, y + _ROW), fill=text.INK)
    told = share(entry["iou"]) if found else "not there"
    text.write(draw, (start + _BAR + 8, middle), told, _SIZE if found else 12, ink)


def _colours() -> tuple[text.Colour, text.Colour]:
    first, second = (tuple(int(c) for c in palette(3)[i]) for i in (1, 2))
    return (first[0], first[1], first[2]), (second[0], second[1], second[2])
