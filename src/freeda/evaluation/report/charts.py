"""Every class's IoU as a bar, and the confusion matrix with every class named."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from ...show import palette, text
from ...show.palette import mix, rgb
from ..metric import ratio
from ..result import best_first, share

RGB = NDArray[np.uint8]

_PAD = 32
_ROW, _SIZE, _NAME, _BAR, _VALUE, _GAP = 24, 14, 170, 210, 56, 36
_TALLEST = 45  # rows of a column
_TRACK: text.Colour = (236, 238, 243)
_BARS = [rgb(colour) for colour in palette(3)[1:]]
_HEAD = 82
_NOTHING: text.Colour = (238, 238, 240)  # a class without a true pixel
_RULE: text.Colour = (226, 229, 236)
# White over blue to nearly black: lightness falls evenly, so it also reads in grey.
_SCALE = np.array([[255, 255, 255], [198, 219, 245], [110, 160, 222], [44, 96, 180], [16, 40, 104]])
_MARKS = (0.0, 0.01, 0.1, 0.25, 0.5, 1.0)


def draw_bars(title: str, classes: Sequence[dict[str, Any]], mean: float | None) -> RGB:
    """uint8 (H, W, 3): the classes of `figures` in columns, best first; `mean` is a line through the bars.

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
    text.write(draw, (_PAD, _PAD + 10), text.shorten(title, 22, inner), 22)
    x, y = _PAD, _PAD + 46
    for colour, thick, told in zip(_BARS, (6, 2), ("IoU", "boundary IoU"), strict=True):
        draw.rectangle((x, y - thick, x + 26, y + thick), fill=colour)
        text.write(draw, (x + 34, y), told, _SIZE, text.FAINT)
        x += 34 + text.width(told, _SIZE) + 26
    key = f"mean IoU {share(mean)}"
    draw.line((x, y - 9, x, y + 9), fill=text.INK)
    text.write(draw, (x + 10, y), key, _SIZE, text.FAINT)
    if not all(entry["pixels"] for entry in rows):
        x += 36 + text.width(key, _SIZE)
        text.write(draw, (x, y), "grey: not in the truth", _SIZE, text.FAINT)
    for i, entry in enumerate(rows):
        _draw_bar(draw, _PAD + i // each * (wide + _GAP), top + i % each * _ROW, entry, mean)
    return np.array(sheet)


def _draw_bar(
    draw: ImageDraw.ImageDraw, left: int, y: int, entry: dict[str, Any], mean: float | None
) -> None:
    middle, start, found = y + _ROW / 2, left + _NAME, entry["iou"] is not None
    name = text.shorten(text.label(entry["name"], entry["label"]), _SIZE, _NAME - 12)
    ink = text.INK if entry["pixels"] else text.FAINT
    text.write(draw, (start - 10, middle), name, _SIZE, ink, "rm")
    draw.rectangle((start, y + 4, start + _BAR, y + _ROW - 4), fill=_TRACK)
    for key, colour, top, bottom in (("iou", _BARS[0], 4, 9), ("boundary_iou", _BARS[1], _ROW - 8, 4)):
        if entry[key]:
            draw.rectangle((start, y + top, start + entry[key] * _BAR, y + _ROW - bottom), fill=colour)
    if mean is not None:
        draw.line((start + mean * _BAR, y, start + mean * _BAR, y + _ROW), fill=text.INK)
    told = share(entry["iou"]) if found else "not there"
    text.write(draw, (start + _BAR + 8, middle), told, _SIZE if found else 12, ink)


def draw_matrix(title: str, matrix: NDArray[np.int64], names: Sequence[str]) -> RGB:
    """uint8 (H, W, 3): rows are the truth, columns what was predicted, as shares of the row.

    `matrix` (n, n) in pixels, `names` of its n labels. Colours follow the square root of the share, so that
    one pixel in a hundred is seen. Small matrices have their percentages written into them; large ones are
    named on all four sides. Labels found neither in the truth nor in a prediction are left out.
    """
    there = np.flatnonzero(matrix.sum(0) + matrix.sum(1))
    missing = len(names) - len(there)
    names, matrix = [names[i] for i in there.tolist()], matrix[np.ix_(there, there)]
    n = len(names)
    cell = 34 if n <= 30 else 16 if n <= 80 else 12
    size = 14 if n <= 30 else cell - 2
    shown = [text.shorten(text.label(name, i), size, 15 * size) for i, name in enumerate(names)]
    label = max([text.width(name, size) for name in shown], default=0) + 12
    far = label if n > 40 else 0  # names on the other sides too
    left, top = _PAD + label, _PAD + _HEAD + 22 + label
    whole = n * cell
    width = max(left + whole + far, _PAD + 560) + _PAD
    sheet = Image.new("RGB", (width, top + whole + far + _PAD), text.PAPER)
    draw = ImageDraw.Draw(sheet)
    title += f" ({missing} labels are found nowhere)" if missing else ""
    text.write(draw, (_PAD, _PAD + 10), text.shorten(title, 22, width - 2 * _PAD), 22)
    _draw_scale(draw)
    shares = ratio(matrix, np.broadcast_to(matrix.sum(1, keepdims=True), matrix.shape))
    cells = np.where(np.isnan(shares)[..., None], _NOTHING, _colour(np.nan_to_num(shares))).astype(np.uint8)
    sheet.paste(Image.fromarray(cells.repeat(cell, 0).repeat(cell, 1)), (left, top))
    for i in range(0, n + 1, 1 if n <= 30 else 10):
        draw.line((left + i * cell, top, left + i * cell, top + whole), fill=_RULE)
        draw.line((left, top + i * cell, left + whole, top + i * cell), fill=_RULE)
    for i, name in enumerate(shown):
        at = (i + 0.5) * cell
        text.write(draw, (left - 6, top + at), name, size, text.INK, "rm")
        _write_upwards(sheet, (left + at, top - 6), name, size)
        if far:
            text.write(draw, (left + whole + 6, top + at), name, size)
            _write_upwards(sheet, (left + at, top + whole + 6), name, size, below=True)
    for row, column in np.argwhere(np.nan_to_num(shares) >= 0.005).tolist() if n <= 30 else []:
        fill = text.PAPER if shares[row, column] > 0.3 else text.INK
        middle = (left + (column + 0.5) * cell, top + (row + 0.5) * cell)
        text.write(draw, middle, f"{100 * shares[row, column]:.0f}", 12, fill, "mm")
    text.write(draw, (left, _PAD + _HEAD + 8), "predicted", 14, text.FAINT)
    text.write(draw, (left - 6, top - 14), "truth", 14, text.FAINT, "rm")
    return np.array(sheet)


def _draw_scale(draw: ImageDraw.ImageDraw) -> None:
    told = "share of a class's true pixels"
    text.write(draw, (_PAD, _PAD + 48), told, 14, text.FAINT)
    x = _PAD + text.width(told, 14) + 18
    for mark in _MARKS:
        fill = rgb(_colour(np.array(mark)))
        draw.rectangle((x, _PAD + 40, x + 15, _PAD + 55), fill=fill, outline=_RULE)
        name = f"{100 * mark:.0f} %"
        text.write(draw, (x + 21, _PAD + 48), name, 14, text.FAINT)
        x += 33 + text.width(name, 14)


def _colour(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """(..., 3) in [0, 255] of shares (...) in [0, 1]."""
    return np.rint(mix(_SCALE, np.sqrt(shares)))


def _write_upwards(
    sheet: Image.Image, at: tuple[float, float], name: str, size: int, below: bool = False
) -> None:
    """`name` turned to read upwards, ending above `at` (or beginning below it), centred across."""
    wide, tall = text.width(name, size) + 2, size + 4
    strip = Image.new("L", (wide, tall), 0)
    text.write(ImageDraw.Draw(strip), (1, tall / 2), name, size, 255)  # type: ignore[arg-type]
    turned = strip.transpose(Image.Transpose.ROTATE_90)
    x, y = round(at[0] - tall / 2), round(at[1] if below else at[1] - wide)
    sheet.paste(Image.new("RGB", turned.size, text.INK), (x, y), turned)
