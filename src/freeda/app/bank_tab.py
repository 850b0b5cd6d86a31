"""The third tab: what the bank knows of a word."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import gradio as gr

from ..bank.inspect import Near, nearest_nouns
from ..errors import InputError
from ..model import FreeDA
from . import html
from .engine import Engine, check_text
from .events import DRAWING, friendly
from .kept import Drawing, Picture

NOUNS, EACH, LEAST = 4, 4, 2
"""Nouns shown at most, references shown of each, and nouns shown even where they answer nothing."""


def bank_tab(engine: Engine, drawing: Drawing) -> None:
    """Lay the tab out and wire it."""

    def search(word: str) -> Iterator[str]:
        """Nouns and captions at once, pictures as they are drawn."""
        text = check_text(word, "the search", engine.limits)
        with engine.busy:
            found = look(engine.model, text)
        rows = [row for near in found for row in near.rows[:EACH]]
        for pictures, more in drawing.stepwise(rows):
            yield sheet(engine.model, found, pictures, "drawing ..." if more else "no picture kept")

    bank = engine.model.bank
    size = len(bank) if bank is not None and hasattr(bank, "__len__") else 0
    with gr.Row(elem_classes="ask"):
        word = gr.Textbox(
            label="Word or phrase",
            info=f"The bank holds {size:,} references.",
            placeholder="cottage",
            max_length=200,
            scale=6,
            elem_id="query",
        )
        button = gr.Button("Search", variant="primary", scale=1, min_width=110, elem_id="search")
    found = gr.HTML(html.empty("Search for any word, known to the bank or not."), elem_id="found")
    asks = [button.click, word.submit]
    gr.on(asks, friendly(search), word, found, trigger_mode="always_last", **DRAWING)


def look(model: FreeDA, word: str) -> list[Near]:
    """The bank's nouns nearest to a word. Raises InputError without a searchable bank, and for a bad word."""
    bank: Any = model.bank
    if not hasattr(bank, "nouns") or not hasattr(bank, "row"):
        raise InputError("there is no bank to search: start the page with --bank DIR")
    text = model.vocabulary({word: ()}).text_embeddings[0]
    found = nearest_nouns(bank, text, min(model.options.k, len(bank)), NOUNS)
    return [near for i, near in enumerate(found) if near.within or i < LEAST]


def sheet(model: FreeDA, found: Sequence[Near], pictures: Mapping[int, Picture], wait: str) -> str:
    """Nouns with their similarity and references; `wait` stands for a missing picture."""
    bank: Any = model.bank
    k = min(model.options.k, len(bank))
    parts = []
    for near in found:
        captions = {row: bank.row(row)["caption"] for row in near.rows[:EACH]}
        made = [
            html.card(html.masked(pictures.get(row), caption, wait), "", caption)
            for row, caption in captions.items()
        ]
        note = f"similarity {near.similarity:.3f}; {near.within} of the {k} references that answer this word"
        parts.append(html.section(near.noun, note, html.cards(made)))
    inside = "".join(parts)
    return f'<div class="near">{inside}</div>' if inside else html.empty("The bank has nothing like it.")
