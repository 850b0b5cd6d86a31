"""Many captioned pictures on one sheet: sections of rows of tiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from . import text
from .export import write_image
from .tiles import RGB

_PAPER: text.Colour = (250, 250, 252)
_RULE: text.Colour = (222, 225, 232)
_TEXT_SIZE, _HEAD_SIZE, _TITLE_SIZE = 14, 20, 32


@dataclass(frozen=True)
class Tile:
    """One picture, uint8 (h, w, 3) of any size, with a short caption under it (at most two lines)."""

    image: RGB
    caption: str = ""
    arrow: bool = False
    """An arrow leads here from the tile before."""


@dataclass(frozen=True)
class Row:
    """Tiles side by side, with a line of text above them ("" for none)."""

    tiles: Sequence[Tile]
    title: str = ""


@dataclass(frozen=True)
class Section:
    """A headed group of rows, with a note and a key of (name, colour uint8 (3,)) pairs under the heading."""

    title: str
    rows: Sequence[Row]
    note: str = ""
    key: Sequence[tuple[str, RGB]] = ()


def lay_page(
    title: str,
    sections: Sequence[Section],
    note: str = "",
    tile: int = 192,
    gap: int = 18,
    top: RGB | None = None,
) -> RGB:
    """All sections on one sheet, as uint8 (H, W, 3); `top` is a picture above them, shown as it is.

    Every picture is fitted into a square of `tile` pixels, aspect kept: enlarged sharply (so that pixels and
    borders stay crisp), reduced smoothly.
    """
    margin = 40
    most = max([len(row.tiles) for section in sections for row in section.rows], default=1)
    inner = max(most * tile + (most - 1) * gap, 480, 0 if top is None else top.shape[1])
    blocks: list[Image.Image] = [_head(title, note, inner)]
    if top is not None:
        blocks.append(Image.fromarray(top))
    for section in sections:
        blocks.append(_section_head(section, inner))
        blocks += [_row(row, tile, gap, inner) for row in section.rows]
    height = 2 * margin + sum(b.height for b in blocks) - (gap if len(blocks) > 1 else 0)
    sheet = Image.new("RGB", (inner + 2 * margin, height), _PAPER)
    y = margin
    for block in blocks:
        sheet.paste(block, (margin, y))
        y += block.height
    return np.array(sheet)


def write_page(
    path: str | Path, title: str, sections: Sequence[Section], note: str = "", tile: int = 192
) -> Path:
    """`lay_page`, written to a .png or .jpg file, whole or not at all. Raises InputError where that fails."""
    return write_image(path, lay_page(title, sections, note, tile))


def _head(title: str, note: str, inner: int) -> Image.Image:
    lines = text.wrap(note, _TEXT_SIZE, inner, lines=3)
    block = Image.new("RGB", (inner, _TITLE_SIZE + 22 + 20 * len(lines)), _PAPER)
    draw = ImageDraw.Draw(block)
    text.write(draw, (0, _TITLE_SIZE / 2), text.shorten(title, _TITLE_SIZE, inner), _TITLE_SIZE)
    for i, line in enumerate(lines):
        text.write(draw, (0, _TITLE_SIZE + 20 + 20 * i), line, _TEXT_SIZE, text.FAINT)
    return block


def _section_head(section: Section, inner: int) -> Image.Image:
    lines = text.wrap(section.note, _TEXT_SIZE, inner, lines=2)
    key = _key_places(section.key, inner)
    top = 62 + 20 * len(lines)
    block = Image.new("RGB", (inner, top + (24 * (key[-1][1] + 1) + 10 if key else 0)), _PAPER)
    draw = ImageDraw.Draw(block)
    draw.line((0, 14, inner, 14), fill=_RULE, width=1)
    text.write(draw, (0, 38), text.shorten(section.title, _HEAD_SIZE, inner), _HEAD_SIZE)
    for i, line in enumerate(lines):
        text.write(draw, (0, 62 + 20 * i), line, _TEXT_SIZE, text.FAINT)
    for (name, colour), (x, line_number) in zip(section.key, key, strict=True):
        y = top + 24 * line_number + 8
        draw.rounded_rectangle((x, y - 7, x + 14, y + 7), 4, fill=tuple(int(c) for c in colour))
        text.write(draw, (x + 20, y), name, _TEXT_SIZE)
    return block


def _key_places(key: Sequence[tuple[str, RGB]], inner: int) -> list[tuple[int, int]]:
    """(x, line) of every entry of a key, broken into lines of `inner` pixels."""
    places, x, line = [], 0, 0
    for name, _ in key:
        wide = 20 + text.width(name, _TEXT_SIZE)
        if x and x + wide > inner:
            x, line = 0, line + 1
        places.append((x, line))
        x += wide + 18
    return places


def _row(row: Row, tile: int, gap: int, inner: int) -> Image.Image:
    pictures = [_fit(t.image, tile) for t in row.tiles]
    captions = [text.wrap(t.caption, _TEXT_SIZE, tile, lines=2) for t in row.tiles]
    top = 26 if row.title else 0
    tall = max([p.height for p in pictures], default=0)
    below = 19 * max([len(c) for c in captions], default=0)
    height = top + tall + 6 + below + gap if row.tiles else max(top, 1)  # lines of text stand close
    block = Image.new("RGB", (inner, height), _PAPER)
    draw = ImageDraw.Draw(block)
    if row.title:
        text.write(draw, (0, 10), text.shorten(row.title, _TEXT_SIZE, inner), _TEXT_SIZE)
    for i, (picture, caption) in enumerate(zip(pictures, captions, strict=True)):
        x = i * (tile + gap)
        block.paste(picture, (x + (tile - picture.width) // 2, top + (tall - picture.height) // 2))
        for j, line in enumerate(caption):
            text.write(draw, (x + tile / 2, top + tall + 16 + 19 * j), line, _TEXT_SIZE, text.FAINT, "mm")
        if row.tiles[i].arrow and i:
            _arrow(draw, x - gap / 2, top + tall / 2, gap)
    return block


def _arrow(draw: ImageDraw.ImageDraw, x: float, y: float, gap: int) -> None:
    half = gap * 0.26
    draw.polygon([(x - half, y - half * 1.3), (x + half, y), (x - half, y + half * 1.3)], fill=text.FAINT)


def _fit(image: RGB, tile: int) -> Image.Image:
    """`image` fitted into a square of `tile` pixels; enlarging repeats pixels, then trims smoothly to
    size.
    """
    picture = Image.fromarray(image)
    scale = tile / max(picture.size)
    if scale > 1:
        whole = int(np.ceil(scale))
        picture = picture.resize((picture.width * whole, picture.height * whole), Image.Resampling.NEAREST)
        scale = tile / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture if picture.size == size else picture.resize(size, Image.Resampling.LANCZOS)
