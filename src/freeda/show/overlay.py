"""A label map over its picture, with borders, numbers and a legend; and as a palette image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from ..errors import InputError
from ..images import RGB
from . import text
from .caveats import NONE, Caveats
from .export import largest_first
from .palette import ink, palette, rgb
from .tiles import check_sizes, draw_borders, enlarge, tint

_SMALL = 640  # pictures with a shorter long side are enlarged for display, else no number would be legible
_DRAW_AT = 2  # numbers are drawn so many times too large, then reduced: smooth edges


def overlay(
    image: RGB,
    labels: NDArray[Any],
    names: Sequence[str],
    colours: RGB | None = None,
    alpha: float | NDArray[np.floating] = 0.55,
    legend: bool = True,
    numbers: bool = True,
    caveats: Caveats = NONE,
) -> RGB:
    """`image` tinted by `labels`, with white borders, a number on every sizeable area and a legend on the
    right.

    `image` uint8 (H, W, 3); `labels` integer (H, W), indices into `names`, anything else stays untinted;
    `colours` uint8 (n, 3), default `palette(len(names))`; `alpha` in [0, 1] is the tint's strength,
    one for all or (n,) one a class. The number of a class is its index plus 1. The legend lists the classes
    found, largest first, with their share of the area, and tells the caveats.

    Returns uint8 (H', W', 3): pictures under 640 px are enlarged by a whole factor, the legend adds width.
    Raises InputError for sizes that differ.
    """
    check_sizes(image, labels)
    colours = palette(len(names)) if colours is None else np.asarray(colours, dtype=np.uint8)
    if len(colours) < len(names):
        raise InputError(f"{len(colours)} colours for {len(names)} names: every name needs one")
    factor = max(1, round(_SMALL / max(labels.shape)))
    if factor > 1:
        image, labels = enlarge(image, factor), labels.repeat(factor, 0).repeat(factor, 1)
    height, width = labels.shape
    unit = min(max(height, width), 4 * min(height, width)) / 1000  # lines and letters grow with the picture
    picture = tint(image, labels, colours, alpha)
    picture = draw_borders(picture, labels, max(1, round(2.2 * unit)))
    size = max(11, round(20 * unit))
    if numbers:
        picture = _draw_numbers(picture, labels, len(names), colours, size)
    if not legend:
        return picture
    return _add_legend(picture, _entries(labels, names, caveats, size), colours, size, caveats.of_picture())


def label_map_image(labels: NDArray[Any], colours: RGB) -> Image.Image:
    """Labels as an image whose pixel values are the labels themselves.

    `labels` integer (H, W) in [0, 65535]; `colours` uint8 (n, 3). Up to 256 labels: mode "P", shown in
    colour by any viewer; beyond: mode "I;16", shown in grey. Raises InputError for other values.
    """
    low, high = (int(labels.min()), int(labels.max())) if labels.size else (0, 0)
    if low < 0 or high > 65535:
        raise InputError(f"label map holds labels from {low} to {high}, expected 0 to 65535")
    if high > 255:
        return Image.fromarray(labels.astype(np.uint16))
    image = Image.fromarray(labels.astype(np.uint8))
    table = np.zeros((256, 3), dtype=np.uint8)
    table[: len(colours)] = colours[:256]
    image.putpalette(table.tobytes())  # turns mode "L" into "P", values untouched
    return image


@dataclass(frozen=True)
class _Entry:
    """A line of the legend."""

    label: int
    share: float
    name: str
    caveat: str


def _entries(labels: NDArray[Any], names: Sequence[str], caveats: Caveats, size: int) -> list[_Entry]:
    """The labels found, largest first, their texts no wider than a legend may be."""
    return [
        _Entry(
            i,
            share,
            text.shorten(text.label(names[i], i), size, 16 * size),
            text.shorten(text.drawable(caveats.of_class(names[i])), round(0.85 * size), 24 * size),
        )
        for i, share in largest_first(labels, len(names))
    ]


def number_areas(labels: NDArray[Any], n: int) -> NDArray[np.int32]:
    """(H, W) int32: every area of equal labels in [0, n) that hangs together by pixel edges, numbered from 1
    in the order in which rows meet them; 0 where the label is another.
    """
    from skimage.measure import label

    known = np.where((labels >= 0) & (labels < n), labels.astype(np.int64), -1).astype(np.int32)
    return np.asarray(label(known, connectivity=1, background=-1), dtype=np.int32)


def widest_place(area: NDArray[np.bool_]) -> tuple[int, int, float]:
    """(x, y, distance) of the pixel of `area` (H, W) that is farthest from all others, in pixels."""
    # Padded, because the picture's own edge bounds an area as well as a neighbour does.
    inner = ndimage.distance_transform_edt(np.pad(area, 1))[1:-1, 1:-1]
    y, x = divmod(int(inner.argmax()), inner.shape[1])
    return x, y, float(inner[y, x])


def badge_places(labels: NDArray[Any], size: float, n: int = 65536) -> list[tuple[int, int, int]]:
    """(x, y, label) of the widest place of every area of `labels` that has room for a badge.

    `labels` integer (H, W), of which those in [0, n) count; `size` is the height of a badge's letters in
    pixels. From 32 pixels on only every second, third ... pixel is looked at, at least 16 a letter, and
    places are as exact as that. Those of large labels come first.
    """
    step = max(1, int(size) // 16)
    labels, size = labels[step // 2 :: step, step // 2 :: step], size / step
    numbers = number_areas(labels, n)
    pixels = np.bincount(numbers.ravel())
    places: list[tuple[int, int, int]] = []
    for number, box in enumerate(ndimage.find_objects(numbers), start=1):
        # The cheap tests first: what has fewer pixels is nowhere as wide as asked below.
        if pixels[number] < 2 * size**2 or min(s.stop - s.start for s in box) < 1.6 * size:
            continue
        x, y, room = widest_place(numbers[box] == number)
        if room >= 0.9 * size:
            x, y = x + box[1].start, y + box[0].start
            places.append((x * step + step // 2, y * step + step // 2, int(labels[y, x])))
    counts = np.bincount(labels[numbers > 0])
    return sorted(places, key=lambda place: (-counts[place[2]], place[2]))


def _draw_numbers(picture: RGB, labels: NDArray[Any], n: int, colours: RGB, size: int) -> RGB:
    """A round badge with the class number in the widest place of every area that has room for it."""
    base = Image.fromarray(picture)
    for x, y, label in badge_places(labels, size, n):
        number, letter = str(label + 1), round(0.8 * size * _DRAW_AT)
        half_h = 0.62 * size
        half_w = max(half_h, text.width(number, letter) / 2 / _DRAW_AT + 0.3 * size)
        # A layer of its own, no larger than the badge.
        left, top = x - int(half_w) - 1, y - int(half_h) - 1
        wide, high = 2 * (x - left) + 1, 2 * (y - top) + 1
        layer = Image.new("RGBA", (wide * _DRAW_AT, high * _DRAW_AT), (0, 0, 0, 0))
        draw, (cx, cy) = ImageDraw.Draw(layer), (wide * _DRAW_AT / 2, high * _DRAW_AT / 2)
        half_w, half_h = half_w * _DRAW_AT, half_h * _DRAW_AT
        draw.rounded_rectangle(
            (cx - half_w, cy - half_h, cx + half_w, cy + half_h),
            half_h,
            fill=rgb(colours[label]),
            outline=(255, 255, 255),
            width=max(2, round(0.09 * size * _DRAW_AT)),
        )
        text.write(draw, (cx, cy), number, letter, ink(colours[label]), "mm")
        layer = layer.resize((wide, high), Image.Resampling.BOX)
        place = (left, top, left + wide, top + high)
        below = base.crop(place).convert("RGBA")
        base.paste(Image.alpha_composite(below, layer).convert("RGB"), place[:2])
    return np.array(base)


def _add_legend(picture: RGB, entries: list[_Entry], colours: RGB, size: int, caveat: str) -> RGB:
    """`picture` on a white sheet with the legend on its right, in as many columns as its height asks for; a
    caveat about the picture stands above it.
    """
    height, left = picture.shape[:2]
    pad, small, digit, gap = (round(share * size) for share in (0.9, 0.85, 0.75, 0.6))
    row = round((2.7 if any(e.caveat for e in entries) else 1.9) * size)
    above = text.wrap(caveat, small, 16 * size, lines=4)
    top = pad + round(1.3 * size * len(above)) + (pad if above else 0)
    per_column = max(8, (height - top - pad) // row)
    shown = entries[: 3 * per_column]
    rest = len(entries) - len(shown)
    columns = [shown[i : i + per_column] for i in range(0, len(shown), per_column)]
    swatch = round(1.25 * size)
    swatch_w = max([swatch, *(text.width(str(e.label + 1), digit) + gap for e in shown)])
    name_w = [max(max(text.width(e.name, size), text.width(e.caveat, small)) for e in c) for c in columns]
    column_w = [swatch_w + gap + names + size + text.width("100.0 %", size) for names in name_w]
    panel = 2 * pad + sum(column_w) + max(len(columns) - 1, 0) * 2 * size if columns else 0
    panel = max([panel, *(2 * pad + text.width(line, small) for line in above)])
    tall = max([len(c) for c in columns], default=0) * row + top + pad + (row if rest else 0)
    sheet = Image.new("RGB", (left + panel, max(height, tall)), text.PAPER)
    sheet.paste(Image.fromarray(picture), (0, 0))
    draw = ImageDraw.Draw(sheet)
    x = left + pad
    for i, line in enumerate(above):
        text.write(draw, (x, pad + 1.3 * size * (i + 0.5)), line, small, text.WARNING)
    if rest:
        text.write(draw, (x, sheet.height - pad - row / 2), f"and {rest} more", size, text.FAINT)
    for column, wide in zip(columns, column_w, strict=True):
        for i, entry in enumerate(column):
            y, colour = top + i * row + row / 2, colours[entry.label]
            box = (x, y - swatch / 2, x + swatch_w, y + swatch / 2)
            draw.rounded_rectangle(box, round(0.3 * size), fill=rgb(colour))
            text.write(draw, (x + swatch_w / 2, y), str(entry.label + 1), digit, ink(colour), "mm")
            name = x + swatch_w + gap
            text.write(draw, (name, y - (0.6 * size if entry.caveat else 0)), entry.name, size)
            text.write(draw, (name, y + 0.65 * size), entry.caveat, small, text.WARNING)
            text.write(draw, (x + wide, y), text.percent(entry.share), size, text.FAINT, "rm")
        x += wide + 2 * size
    return np.array(sheet)
