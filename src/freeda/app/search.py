"""The bank's references of a word as HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..bank.inspect import Near, nearest_nouns
from ..errors import InputError
from ..model import FreeDA
from ..show.tiles import mask_picture
from . import html
from .kept import Picture

NOUNS, EACH, LEAST = 4, 4, 2
"""Nouns shown at most, references shown of each, and nouns shown even where they answer nothing."""
NONE = html.empty("Search for any word, known to the bank or not.")


def look(model: FreeDA, word: str) -> list[Near]:
    """The bank's nouns nearest to a word. Raises InputError without a searchable bank, and for a bad word."""
    bank: Any = model.bank
    if not hasattr(bank, "nouns") or not hasattr(bank, "row"):
        raise InputError("there is no bank to search: start the page with --bank DIR")
    text = model.vocabulary({word: ()}).text_embeddings[0]
    found = nearest_nouns(bank, text, min(model.options.k, len(bank)), NOUNS)
    return [near for i, near in enumerate(found) if near.within or i < LEAST]


def rows_of(found: Sequence[Near]) -> list[int]:
    """The rows shown of them, in the order shown."""
    return [row for near in found for row in near.rows[:EACH]]


def sheet(model: FreeDA, found: Sequence[Near], pictures: Mapping[int, Picture], coming: bool = False) -> str:
    """Nouns with their similarity and references; with `coming` a missing picture is on its way."""
    bank: Any = model.bank
    k = min(model.options.k, len(bank))
    parts = []
    for near in found:
        made = []
        for row in near.rows[:EACH]:
            pair = bank.row(row)
            picture = pictures.get(row)
            shown = (
                html.blank("drawing ..." if coming else "no picture kept")
                if picture is None
                else html.image(mask_picture(*picture), pair["caption"], 192)
            )
            made.append(html.card(shown, "", pair["caption"]))
        note = f"similarity {near.similarity:.3f}; {near.within} of the {k} references that answer this word"
        parts.append(html.section(near.noun, note, html.cards(made)))
    inside = "".join(parts)
    return f'<div class="near">{inside}</div>' if inside else html.empty("The bank has nothing like it.")
