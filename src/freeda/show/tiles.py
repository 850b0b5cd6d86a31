"""Small pictures of intermediate things: tints, borders, heat maps, masks, regions; and sheets of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from ..errors import InputError
from ..images import RGB
from . import text
from .export import write_image
from .palette import mix, rgb

PALE: text.Colour = (250, 250, 252)
"""The paper of sheets and cards."""
_RULE: text.Colour = (222, 225, 232)
_TEXT_SIZE, _HEAD_SIZE, _TITLE_SIZE = 14, 20, 32
_IN_CACHE = 1 << 17  # numbers mixed at a time: more would leave the processor's cache

# Dark violet over red and amber to pale yellow: lightness grows evenly, so it also reads in grey.
_HEAT = np.array([[20, 14, 54], [84, 24, 110], [158, 44, 96], [222, 84, 56], [249, 152, 38], [252, 238, 158]])


def enlarge(image: RGB, factor: int, smooth: bool = True) -> RGB:
    """`image` (H, W, 3) `factor` times as large, bicubic or by plain repetition."""
    if factor == 1:
        return image
    size = (image.shape[1] * factor, image.shape[0] * factor)
    return np.array(
        Image.fromarray(image).resize(size, Image.Resampling.BICUBIC if smooth else Image.Resampling.NEAREST)
    )


def tint(image: RGB, labels: NDArray[Any], colours: RGB, alpha: float | NDArray[np.floating] = 0.55) -> RGB:
    """Every pixel mixed with its label's colour.

    `image` uint8 (H, W, 3), `labels` integer (H, W), `colours` uint8 (n, 3); labels outside [0, n) keep the
    picture as it is. `alpha` is the colour's share in [0, 1], one for all or (n,) one a label. Raises
    InputError for sizes that differ.
    """
    check_sizes(image, labels)
    n = len(colours)
    strength = np.broadcast_to(np.asarray(alpha, np.float32), n)
    # The last entry is for labels without a colour.
    paint = np.zeros((n + 1, 3), np.float32)
    paint[:n] = colours * strength[:, None]
    rest = np.ones((n + 1, 1), np.float32)
    rest[:n, 0] -= strength
    out = np.empty_like(image)
    step = max(1, _IN_CACHE // (3 * image.shape[1] or 1))
    for rows in (slice(start, start + step) for start in range(0, len(image), step)):
        index = labels[rows].astype(np.int64)
        index[(index < 0) | (index > n)] = n
        mixed = image[rows] * rest[index]
        mixed += paint[index]
        out[rows] = np.rint(mixed, out=mixed)
    return out


def border_mask(labels: NDArray[Any], thickness: int = 1) -> NDArray[np.bool_]:
    """(H, W) bool: the seam where neighbouring labels differ, about `thickness` pixels wide."""
    seam = np.zeros(labels.shape, dtype=bool)
    seam[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    seam[:-1] |= labels[:-1] != labels[1:]
    if thickness <= 1:
        return seam
    # Grown by a disc, so that slanted seams are as thick as straight ones.
    reach = np.arange(thickness) - (thickness - 1) / 2
    disc = np.hypot(reach[:, None], reach[None]) <= thickness / 2
    height, width = labels.shape
    padded, grown = np.pad(seam, thickness), np.zeros_like(seam)
    for y, x in (thickness + thickness // 2 - np.argwhere(disc)).tolist():
        grown |= padded[y : y + height, x : x + width]
    return grown


def draw_borders(
    image: RGB,
    labels: NDArray[Any],
    thickness: int = 1,
    colour: tuple[int, int, int] = (255,) * 3,
    strength: float = 0.9,
) -> RGB:
    """`image` with the seams of `labels` drawn in `colour`, mixed in by `strength` in [0, 1]."""
    check_sizes(image, labels)
    seam = np.flatnonzero(border_mask(labels, thickness))
    mixed = np.rint(np.arange(256)[:, None] * (1 - strength) + np.asarray(colour) * strength).astype(np.uint8)
    out = image.copy()
    pixels = out.reshape(-1, 3)
    pixels[seam] = mixed[pixels[seam], np.arange(3)]
    return out


def draw_regions(image: RGB, regions: NDArray[Any], colour: tuple[int, int, int] = (255, 214, 64)) -> RGB:
    """`image` uint8 (H, W, 3) with the borders of its superpixels `regions`, integer (H, W)."""
    return draw_borders(image, regions, 1, colour, 0.85)


def heat_map(image: RGB, heat: NDArray[Any], strength: float = 0.75) -> RGB:
    """A word's map over its picture.

    `image` uint8 (H, W, 3); `heat` (H, W) in [0, 1], clipped; `strength` is the colours' share over the
    picture, which shows through in grey.
    """
    check_sizes(image, heat)
    colours = mix(_HEAT, np.clip(np.nan_to_num(heat.astype(np.float64)), 0, 1))
    return np.rint(_grey(image) * (1 - strength) + colours * strength).astype(np.uint8)


def mask_picture(image: RGB, mask: NDArray[Any], colour: tuple[int, int, int] = (255, 214, 64)) -> RGB:
    """The part of `image` in `mask`, bool (H, W), as it is, the rest pale and grey, the seam in `colour`."""
    check_sizes(image, mask)
    mask = mask.astype(bool)
    out = np.where(mask[..., None], image, np.rint(pale(image, 0.25, 0.70))).astype(np.uint8)
    return draw_borders(out, mask, 1 if min(mask.shape) < 300 else 2, colour, 1.0)


def pale(image: RGB, grey: float, white: float) -> NDArray[np.float64]:
    """(H, W, 1): so much of the grey of `image` with so much of white."""
    return _grey(image) * grey + 255 * white


def _grey(image: RGB) -> NDArray[np.float64]:
    return (image @ np.array([0.299, 0.587, 0.114]))[..., None]


def check_sizes(image: RGB, plane: NDArray[Any]) -> None:
    """Raise InputError unless `image` is uint8 (H, W, 3) and `plane` is (H, W)."""
    if image.ndim != 3 or image.shape[-1] != 3 or image.dtype != np.uint8:
        raise InputError(f"picture is {image.dtype} {image.shape}, expected uint8 (H, W, 3)")
    if plane.shape != image.shape[:2]:
        raise InputError(f"map has shape {plane.shape}, its picture {image.shape[:2]}: they must be equal")


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
    sheet = Image.new("RGB", (inner + 2 * margin, height), PALE)
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
    block = Image.new("RGB", (inner, _TITLE_SIZE + 22 + 20 * len(lines)), PALE)
    draw = ImageDraw.Draw(block)
    text.write(draw, (0, _TITLE_SIZE / 2), text.shorten(title, _TITLE_SIZE, inner), _TITLE_SIZE)
    _write_lines(draw, _TITLE_SIZE + 20, lines)
    return block


def _write_lines(draw: ImageDraw.ImageDraw, y: int, lines: Sequence[str]) -> None:
    for i, line in enumerate(lines):
        text.write(draw, (0, y + 20 * i), line, _TEXT_SIZE, text.FAINT)


def _section_head(section: Section, inner: int) -> Image.Image:
    lines = text.wrap(section.note, _TEXT_SIZE, inner, lines=2)
    key = _key_places(section.key, inner)
    top = 62 + 20 * len(lines)
    block = Image.new("RGB", (inner, top + (24 * (key[-1][1] + 1) + 10 if key else 0)), PALE)
    draw = ImageDraw.Draw(block)
    draw.line((0, 14, inner, 14), fill=_RULE, width=1)
    text.write(draw, (0, 38), text.shorten(section.title, _HEAD_SIZE, inner), _HEAD_SIZE)
    _write_lines(draw, 62, lines)
    for (name, colour), (x, line_number) in zip(section.key, key, strict=True):
        y = top + 24 * line_number + 8
        draw.rounded_rectangle((x, y - 7, x + 14, y + 7), 4, fill=rgb(colour))
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
    block = Image.new("RGB", (inner, height), PALE)
    draw = ImageDraw.Draw(block)
    if row.title:
        text.write(draw, (0, 10), text.shorten(row.title, _TEXT_SIZE, inner), _TEXT_SIZE)
    for i, (picture, caption) in enumerate(zip(pictures, captions, strict=True)):
        x = i * (tile + gap)
        block.paste(picture, (x + (tile - picture.width) // 2, top + (tall - picture.height) // 2))
        for j, line in enumerate(caption):
            text.write(draw, (x + tile / 2, top + tall + 16 + 19 * j), line, _TEXT_SIZE, text.FAINT, "mm")
        if row.tiles[i].arrow and i:
            left, y, half = x - gap / 2, top + tall / 2, gap * 0.26
            tip = [(left - half, y - half * 1.3), (left + half, y), (left - half, y + half * 1.3)]
            draw.polygon(tip, fill=text.FAINT)
    return block


def _fit(image: RGB, tile: int) -> Image.Image:
    """`image` fitted into a square of `tile` pixels; enlarging repeats pixels, then trims smoothly."""
    picture = Image.fromarray(image)
    scale = tile / max(picture.size)
    if scale > 1:
        whole = int(np.ceil(scale))
        picture = picture.resize((picture.width * whole, picture.height * whole), Image.Resampling.NEAREST)
        scale = tile / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture if picture.size == size else picture.resize(size, Image.Resampling.LANCZOS)
