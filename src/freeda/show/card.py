"""The card of an explanation: where, how every word scored there, and the references it was matched to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from . import text
from .page import Row, Section, Tile, lay_page
from .tiles import RGB, border_mask, mask_picture

if TYPE_CHECKING:
    from .explanation import ClassReferences, Explanation

_PHOTO = 460  # pixels of the photograph's longer side
_PANEL = 560
_GAP = 24
_TILE = 190
_BARS = 9
_SIZE, _SMALL = 15, 13
_LINE = 32
_YELLOW, _DARK = (255, 214, 64), (20, 22, 28)
_TRACK: text.Colour = (236, 238, 243)


def draw_card(told: Explanation) -> RGB:
    """An explanation as a picture, uint8 (H, W, 3).

    On the left the photograph, pale but for the superpixels that were pooled: the region in yellow, a ring
    around the pixel. On the right a line a word, best first, at most nine: its score, the cosine of the
    region and its prototypes, the cosine of the windows and its text, all bars on one scale that ends at 1.
    Below, the nearest references of the
    best words, pale outside the noun's mask where pictures were kept, in words otherwise.
    """
    photo, panel = Image.fromarray(_outlined(told)), _panel(told)
    height = max(photo.height, panel.height) + _GAP
    top = Image.new("RGB", (photo.width + _GAP + panel.width, height), (250, 250, 252))
    top.paste(photo, (0, 0))
    top.paste(panel, (photo.width + _GAP, 0))
    title = f"{text.drawable(told.label) or 'this word'}, at {told.x},{told.y}"
    note = Path(told.source).name if told.source else ""
    sections = [_section(group) for group in told.references]
    return lay_page(title, sections, text.drawable(note), tile=_TILE, top=np.array(top))


def _section(group: ClassReferences) -> Section:
    shown = [
        Tile(mask_picture(one.image, one.mask), f"{one.noun} {one.cosine:.3f}: {one.caption}")
        for one in group.nearest
        if one.image is not None and one.mask is not None
    ]
    note = f"the nearest of {group.retrieved:,} references retrieved, with their cosines"
    if shown:
        return Section(group.name, [Row(shown)], note)
    lines = [Row((), f"{one.cosine:.3f}   {one.noun}: {one.caption}") for one in group.nearest]
    return Section(group.name, lines, f"{note} (no pictures were kept)")


def _outlined(told: Explanation) -> RGB:
    """The photograph at the card's size, with the region, its reach and the pixel drawn in."""
    height, width = told.region.shape
    scale = _PHOTO / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    smooth = Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.BICUBIC
    picture = np.array(Image.fromarray(told.photo).resize(size, smooth))
    region, reach = (
        np.array(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))
        for mask in (told.region, told.reach)
    )
    pale = (picture @ np.array([0.299, 0.587, 0.114]))[..., None] * 0.35 + 255 * 0.45
    picture = np.where(reach[..., None], picture, np.rint(0.3 * picture + 0.7 * pale)).astype(np.uint8)
    picture[border_mask(reach, 1)] = (255, 255, 255)
    picture[border_mask(region, 5)] = _DARK
    picture[border_mask(region, 3)] = _YELLOW
    out = Image.fromarray(picture)
    draw = ImageDraw.Draw(out)
    x, y = (told.x + 0.5) * size[0] / width, (told.y + 0.5) * size[1] / height
    for radius, colour, thick in ((8, _DARK, 4), (7, _YELLOW, 2)):
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), outline=colour, width=thick)
    return np.array(out)


def _panel(told: Explanation) -> Image.Image:
    lines = list(told.scores[:_BARS])
    said = [line for one in told.sentences() for line in text.wrap(one, _SMALL, _PANEL, lines=3)]
    more = len(told.scores) - len(lines)
    height = 30 + _LINE * (len(lines) + bool(more)) + 14 + 19 * len(said)
    panel = Image.new("RGB", (_PANEL, height), (250, 250, 252))
    draw = ImageDraw.Draw(panel)
    name, bar = 170, (_PANEL - 170) // 3
    low = min(0.0, *(v for one in lines for v in (one.score, one.cosine, one.global_score) if v is not None))
    columns: tuple[tuple[str, list[float | None]], ...] = (
        ("score", [one.score for one in lines]),
        ("region, cosine", [one.cosine for one in lines]),
        ("window, cosine", [one.global_score for one in lines]),
    )
    for i, one in enumerate(lines):
        y = 30 + _LINE * i + _LINE / 2
        colour = _rgb(told.colours[one.label])
        draw.rounded_rectangle((0, y - 8, 16, y + 8), 4, fill=colour)
        shown = text.shorten(text.drawable(one.name) or f"class {one.label + 1}", _SIZE, name - 32)
        text.write(draw, (24, y), shown, _SIZE)
    for i, (head, values) in enumerate(columns):
        left = name + i * bar
        text.write(draw, (left, 12), head, _SMALL, text.FAINT)
        _bars(draw, left, bar - 12, low, values, [_rgb(told.colours[one.label]) for one in lines])
    if more:
        y = 30 + _LINE * len(lines) + _LINE / 2
        text.write(draw, (24, y), f"and {more} more", _SIZE, text.FAINT)
    for i, line in enumerate(said):
        text.write(draw, (0, height - 19 * (len(said) - i) + 9), line, _SMALL, text.FAINT)
    return panel


def _bars(
    draw: ImageDraw.ImageDraw,
    left: int,
    wide: int,
    low: float,
    values: Sequence[float | None],
    colours: Sequence[text.Colour],
) -> None:
    """Bars from 0 on a track of `wide` pixels from `low` to 1, numbers above them; 0 is marked."""
    for i, (value, colour) in enumerate(zip(values, colours, strict=True)):
        y = 30 + _LINE * i + _LINE / 2
        if value is None:
            continue
        zero, end = (left + wide * (min(v, 1.0) - low) / (1.0 - low) for v in (0.0, value))
        text.write(draw, (left, y - 6), f"{value:.3f}", _SMALL)
        draw.rectangle((left, y + 4, left + wide, y + 9), fill=_TRACK)
        draw.rectangle((min(zero, end), y + 4, max(zero, end), y + 9), fill=colour)
        if low < 0:
            draw.line((zero, y + 2, zero, y + 11), fill=text.FAINT)


def _rgb(colour: NDArray[np.uint8]) -> text.Colour:
    return int(colour[0]), int(colour[1]), int(colour[2])
