"""The confusion matrix as a picture, with every class named."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from ...show import text
from ..metric import ratio

RGB = NDArray[np.uint8]

_PAD, _HEAD = 32, 82
_NOTHING: text.Colour = (238, 238, 240)  # a class without a true pixel
_RULE: text.Colour = (226, 229, 236)
# White over blue to nearly black: lightness falls evenly, so it also reads in grey.
_SCALE = np.array([[255, 255, 255], [198, 219, 245], [110, 160, 222], [44, 96, 180], [16, 40, 104]])
_MARKS = (0.0, 0.01, 0.1, 0.25, 0.5, 1.0)


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
    limit = 15 * size
    shown = [
        text.shorten(text.drawable(name) or f"class {i + 1}", size, limit) for i, name in enumerate(names)
    ]
    label = max([text.width(name, size) for name in shown], default=0) + 12
    far = label if n > 40 else 0  # names on the other sides too
    left, top = _PAD + label, _PAD + _HEAD + 22 + label
    whole = n * cell
    width = max(left + whole + far, _PAD + 560) + _PAD
    sheet = Image.new("RGB", (width, top + whole + far + _PAD), text.PAPER)
    draw = ImageDraw.Draw(sheet)
    _draw_head(draw, title + (f" ({missing} labels are found nowhere)" if missing else ""), width - 2 * _PAD)
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
    if n <= 30:
        _write_percentages(draw, shares, left, top, cell)
    text.write(draw, (left, _PAD + _HEAD + 8), "predicted", 14, text.FAINT)
    text.write(draw, (left - 6, top - 14), "truth", 14, text.FAINT, "rm")
    return np.array(sheet)


def _draw_head(draw: ImageDraw.ImageDraw, title: str, width: int) -> None:
    text.write(draw, (_PAD, _PAD + 10), text.shorten(title, 22, width), 22)
    told = "share of a class's true pixels"
    text.write(draw, (_PAD, _PAD + 48), told, 14, text.FAINT)
    x = _PAD + text.width(told, 14) + 18
    for mark in _MARKS:
        r, g, b = (int(v) for v in _colour(np.array([mark]))[0])
        draw.rectangle((x, _PAD + 40, x + 15, _PAD + 55), fill=(r, g, b), outline=_RULE)
        name = f"{100 * mark:.0f} %"
        text.write(draw, (x + 21, _PAD + 48), name, 14, text.FAINT)
        x += 33 + text.width(name, 14)


def _colour(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """(..., 3) in [0, 255] of shares (...) in [0, 1]."""
    at = np.sqrt(np.clip(shares, 0, 1)) * (len(_SCALE) - 1)
    low = np.minimum(at.astype(np.int64), len(_SCALE) - 2)
    rest = (at - low)[..., None]
    return np.rint(_SCALE[low] * (1 - rest) + _SCALE[low + 1] * rest)


def _write_percentages(
    draw: ImageDraw.ImageDraw, shares: NDArray[np.float64], left: int, top: int, cell: int
) -> None:
    for y, x in np.argwhere(np.nan_to_num(shares) >= 0.005).tolist():
        fill = (255, 255, 255) if shares[y, x] > 0.3 else text.INK
        at = (left + (x + 0.5) * cell, top + (y + 0.5) * cell)
        text.write(draw, at, f"{100 * shares[y, x]:.0f}", 12, fill, "mm")


def _write_upwards(
    sheet: Image.Image,
    at: tuple[float, float],
    name: str,
    size: int,
    below: bool = False,
) -> None:
    """`name` turned to read upwards, ending above `at` (or beginning below it), centred across."""
    wide, tall = text.width(name, size) + 2, size + 4
    strip = Image.new("L", (wide, tall), 0)
    text.write(ImageDraw.Draw(strip), (1, tall / 2), name, size, 255)  # type: ignore[arg-type]
    turned = strip.transpose(Image.Transpose.ROTATE_90)
    x, y = round(at[0] - tall / 2), round(at[1] if below else at[1] - wide)
    sheet.paste(Image.new("RGB", turned.size, text.INK), (x, y), turned)
