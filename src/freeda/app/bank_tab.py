"""The third tab: what the bank knows of a word."""

from __future__ import annotations

from collections.abc import Iterator

import gradio as gr

from . import search
from .engine import Engine, check_text
from .events import DRAWING, friendly
from .kept import Drawing


class BankTab:
    """What the tab's events do."""

    def __init__(self, engine: Engine, drawing: Drawing) -> None:
        self.engine, self.drawing = engine, drawing

    def search(self, word: str) -> Iterator[str]:
        """Nouns and captions at once, pictures as they are drawn."""
        text = check_text(word, "the search", self.engine.limits)
        model = self.engine.model
        with self.engine.busy:
            found = search.look(model, text)
        for pictures, more in self.drawing.stepwise(search.rows_of(found)):
            yield search.sheet(model, found, pictures, coming=more)


def bank_tab(engine: Engine, drawing: Drawing) -> None:
    """Lay the tab out and wire it."""
    tab = BankTab(engine, drawing)
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
    found = gr.HTML(search.NONE, elem_id="found")
    asks = [button.click, word.submit]
    gr.on(asks, friendly(tab.search), word, found, trigger_mode="always_last", **DRAWING)
