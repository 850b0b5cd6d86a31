"""Two kinds of picture for measurements over seeds: lines with their spread, and rows of dots with theirs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from freeda.show import palette, text

RGB = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]
WIDTH = 960
"""Of every picture, in pixels."""
_FINE = 2
"""Drawn so many times as large, then reduced: Pillow draws lines with hard edges."""
_RULE = (226, 229, 235)
_GUIDE = (150, 156, 168)
COLOURS = tuple((int(r), int(g), int(b)) for r, g, b in palette(5)[[0, 1, 3, 4]])
"""Of lines, in this order: dark enough for words on paper."""


@dataclass(frozen=True)
class Line:
    """A named line: values (seeds, points) at the chart's places."""

    name: str
    values: Floats


class _Sheet:
    """A canvas in final pixels that is drawn finer."""

    def __init__(self, width: int, height: int) -> None:
        self.image = Image.new("RGB", (width * _FINE, height * _FINE), text.PAPER)
        self._draw = ImageDraw.Draw(self.image)

    def line(self, points: Sequence[tuple[float, float]], colour: text.Colour, width: float = 1) -> None:
        fine = [(x * _FINE, y * _FINE) for x, y in points]
        self._draw.line(fine, fill=colour, width=round(width * _FINE), joint="curve")

    def dashes(self, a: tuple[float, float], b: tuple[float, float], colour: text.Colour) -> None:
        steps = max(1, round(np.hypot(b[0] - a[0], b[1] - a[1]) / 5))
        at = [(a[0] + (b[0] - a[0]) * t / steps, a[1] + (b[1] - a[1]) * t / steps) for t in range(steps + 1)]
        for i in range(0, steps, 2):
            self.line([at[i], at[i + 1]], colour)

    def dot(self, x: float, y: float, radius: float, colour: text.Colour, hollow: bool = False) -> None:
        box = tuple(v * _FINE for v in (x - radius, y - radius, x + radius, y + radius))
        fill = text.PAPER if hollow else colour
        self._draw.ellipse(box, fill=fill, outline=colour, width=round(1.4 * _FINE))

    def area(self, points: Sequence[tuple[float, float]], colour: text.Colour) -> None:
        self._draw.polygon([(x * _FINE, y * _FINE) for x, y in points], fill=colour)

    def write(
        self, x: float, y: float, told: str, size: int, fill: text.Colour = text.INK, anchor: str = "lm"
    ) -> None:
        text.write(self._draw, (x * _FINE, y * _FINE), told, size * _FINE, fill, anchor)

    def done(self) -> RGB:
        size = self.image.width // _FINE, self.image.height // _FINE
        return np.array(self.image.resize(size, Image.Resampling.LANCZOS))


def ticks(low: float, high: float, most: int = 7) -> list[float]:
    """Round numbers from at or below `low` to at or above `high`, at most `most`."""
    step = next(
        s
        for power in range(-4, 4)
        for s in (10.0**power, 2 * 10.0**power, 5 * 10.0**power)
        if np.ceil(high / s - 1e-9) - np.floor(low / s + 1e-9) < most
    )
    first, last = round(np.floor(low / step + 1e-9)), round(np.ceil(high / step - 1e-9))
    return [float(round(i * step, 10)) for i in range(first, max(last, first + 1) + 1)]


def line_chart(
    title: str, x_label: str, places: Sequence[float], lines: Sequence[Line], usual: float, log: bool = False
) -> RGB:
    """Means over the seeds as lines, least to greatest as a band behind each; `usual` is marked.

    `places` (points,) are laid out in proportion, or with `log` in proportion to their logarithm. At most
    four lines.
    """
    left, right, top, bottom, height = 64, 150, 58, 56, 400
    sheet = _Sheet(WIDTH, height)
    sheet.write(20, 26, title, 18)
    values = np.concatenate([line.values.ravel() for line in lines])
    marks = ticks(float(np.nanmin(values)), float(np.nanmax(values)))
    along = np.log(places) if log else np.asarray(places, dtype=np.float64)
    x = left + (along - along[0]) / (along[-1] - along[0]) * (WIDTH - left - right)

    def y(value: float) -> float:
        return float(height - bottom - (value - marks[0]) / (marks[-1] - marks[0]) * (height - top - bottom))

    for value in marks:
        sheet.line([(left, y(value)), (WIDTH - right, y(value))], _RULE)
        sheet.write(left - 10, y(value), f"{value:g}", 13, text.FAINT, "rm")
    free = -1e9
    for at, place in zip(x, places, strict=True):
        name = f"{place:g}"
        if at - text.width(name, 13) / 2 > free:
            sheet.write(at, height - bottom + 18, name, 13, text.FAINT, "mm")
            free = at + text.width(name, 13) / 2 + 6
    sheet.write((left + WIDTH - right) / 2, height - 16, x_label, 13, text.FAINT, "mm")
    marked = float(x[list(places).index(usual)])
    sheet.dashes((marked, top), (marked, height - bottom), _GUIDE)
    sheet.write(marked, top - 10, "preset", 12, text.FAINT, "mm")
    for line, (r, g, b) in zip(lines, COLOURS[: len(lines)], strict=True):
        low, high = line.values.min(0), line.values.max(0)
        edge = [*zip(x, map(y, high), strict=True), *reversed([*zip(x, map(y, low), strict=True)])]
        sheet.area(edge, tuple(round(255 - (255 - c) * 0.2) for c in (r, g, b)))  # type: ignore[arg-type]
    names = _apart([y(line.values[:, -1].mean()) for line in lines], 18)
    for line, colour, at in zip(lines, COLOURS[: len(lines)], names, strict=True):
        middle = [(float(a), y(v)) for a, v in zip(x, line.values.mean(0), strict=True)]
        sheet.line(middle, colour, 2.2)
        for point in middle:
            sheet.dot(*point, 3.2, colour)
        sheet.write(WIDTH - right + 14, at, line.name, 14, colour)
    return sheet.done()


def _apart(places: Sequence[float], least: float) -> list[float]:
    """The places moved down until each is `least` below the one above it."""
    out = list(places)
    free = -1e9
    for i in sorted(range(len(out)), key=out.__getitem__):
        out[i] = max(out[i], free)
        free = out[i] + least
    return out


def range_chart(
    title: str,
    x_label: str,
    rows: Sequence[tuple[str, Floats]],
    usual: int,
    bounds: Sequence[float | None] | None = None,
) -> RGB:
    """A row a name: a dot at the mean over the seeds, a ring a seed, a line from least to greatest.

    `usual` is the row whose mean is drawn through all; `bounds` are marked with a tick where there are any.
    """
    names = max(text.width(name, 14) for name, _ in rows)
    left, right, top, step = min(names, 420) + 36, 70, 58, 27
    height = top + step * len(rows) + 50
    sheet = _Sheet(WIDTH, height)
    sheet.write(20, 26, title, 18)
    numbers = [float(v) for _, values in rows for v in values]
    numbers += [b for b in bounds or () if b is not None]
    marks = ticks(min(numbers), max(numbers), 9)

    def x(value: float) -> float:
        return float(left + (value - marks[0]) / (marks[-1] - marks[0]) * (WIDTH - left - right))

    foot = top + step * len(rows)
    for value in marks:
        sheet.line([(x(value), top), (x(value), foot)], _RULE)
        sheet.write(x(value), foot + 14, f"{value:g}", 13, text.FAINT, "mm")
    sheet.write((left + WIDTH - right) / 2, foot + 36, x_label, 13, text.FAINT, "mm")
    line = x(float(rows[usual][1].mean()))
    sheet.dashes((line, top), (line, foot), _GUIDE)
    first, second, *_ = COLOURS
    for i, (name, values) in enumerate(rows):
        y = top + step * (i + 0.5)
        colour = first if i == usual else second
        sheet.write(20, y, text.shorten(name, 14, left - 36), 14, text.INK if values.size else text.FAINT)
        bound = bounds[i] if bounds else None
        if bound is not None:
            sheet.line([(x(bound), y - 8), (x(bound), y + 8)], text.FAINT, 2.2)
        if not values.size:
            continue
        sheet.line([(x(float(values.min())), y), (x(float(values.max())), y)], colour, 1.6)
        for value in values if len(values) > 1 else ():
            sheet.dot(x(float(value)), y, 3.0, colour, hollow=True)
        sheet.dot(x(float(values.mean())), y, 5.0, colour)
        sheet.write(WIDTH - right + 12, y, f"{values.mean():.3f}", 13, text.INK)
    return sheet.done()
