"""Looking a word up: which nouns of a bank are nearest to it, and what they look like where that was kept."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from ..errors import BankError, InputError
from ..show.tiles import Row, Section, Tile, check_sizes, mask_picture, write_page
from .bank import Bank
from .layered import answering

_FARTHEST = 1 << 16
"""Keys looked at, at most, for nouns beyond the first k."""
_LARGEST = 4096
"""Side of a kept picture, at most; in pixels."""


@dataclass
class Near:
    """A noun near a word."""

    noun: str
    similarity: float
    """Highest cosine of the word and a key of this noun, -1 to 1."""
    rows: list[int]
    """Its rows among those looked at, nearest first."""
    within: int
    """How many of them make the class prototype."""


def nearest_nouns(bank: Bank, query: npt.NDArray[np.float32], k: int, nouns: int) -> list[Near]:
    """The `nouns` different nouns nearest to a word's embedding (dk,), L2-normalised; nearest first.

    The k nearest keys are looked at, and beyond them as many as it takes, up to 65,536.
    """
    if nouns < 1:
        raise InputError(f"nouns is {nouns}: it must be at least 1")
    names, look = bank.nouns, k
    made = set(answering(bank, query[None], k)[1][0].tolist())
    while True:
        scores, rows = bank.search(query[None], look)
        found: dict[str, Near] = {}
        for score, row in zip(scores[0].tolist(), rows[0].tolist(), strict=True):
            if row < 0 or not np.isfinite(score):
                continue
            near = found.setdefault(names[row], Near(names[row], score, [], 0))
            near.rows.append(row)
            near.within += row in made
        if len(found) >= nouns or look >= min(len(bank), _FARTHEST):
            return list(found.values())[:nouns]
        look = min(look * 4, len(bank), _FARTHEST)


def write_sheet(
    bank: Bank, word: str, found: list[Near], path: str | Path, per_noun: int = 6, tile: int = 160
) -> int:
    """Write a contact sheet (.png or .jpg): of each noun the nearest kept pictures, what is not masked pale;
    where none was kept, captions.

    Returns how many pictures are on it. Raises BankError for one that cannot be shown; InputError where the
    file cannot be written.
    """
    sections, shown = [], 0
    for near in found:
        tiles: list[Tile] = []
        lines: list[Row] = []
        for row in near.rows:
            if len(tiles) == per_noun:
                break
            pair = bank.row(row)
            if pair["image"] is not None and pair["mask"] is not None:
                tiles.append(Tile(mask_picture(*kept_picture(pair, bank.path, row)), pair["caption"]))
            elif len(lines) < per_noun:
                lines.append(Row((), pair["caption"]))
        shown += len(tiles)
        note = f"similarity {near.similarity:.3f}, {near.within} of the class prototype's pairs"
        note += "" if tiles else " (no pictures were kept)"
        sections.append(Section(near.noun, [Row(tiles)] if tiles else lines, note))
    write_page(path, f"nearest to {word}", sections, tile=tile)
    return shown


def kept_picture(
    pair: Mapping[str, Any], path: Path, row: int
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
    """The kept picture (h, w, 3) uint8 RGB of a row (`Bank.row`) and its mask (h, w).

    `path` and `row` name it in the BankError for one that cannot be shown.
    """
    try:
        picture, inside = np.array(_open(pair["image"], "RGB")), np.array(_open(pair["mask"], "1"))
        check_sizes(picture, inside)
        return picture, inside
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, InputError) as error:
        raise BankError(f"{path}: the picture of row {row} is damaged ({error})") from error


def _open(data: bytes, mode: str) -> Image.Image:
    picture = Image.open(io.BytesIO(data), formats=("JPEG", "PNG"))
    if max(picture.size) > _LARGEST:
        raise ValueError(f"{picture.width} x {picture.height} pixels")
    return picture.convert(mode)
