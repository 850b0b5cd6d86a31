"""The page: three tabs and an endpoint, wired to the engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from .bank_tab import bank_tab
from .engine import Engine, Knobs
from .events import HEAVY, friendly, within
from .files import OwnFolder
from .kept import Drawing
from .offline_tab import offline_tab
from .segment_tab import segment_tab
from .view import classes, to_png

# No word about whose machine it is asked of, and fonts that every machine has: no request leaves it.
_FONTS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "Arial", "sans-serif")


def theme() -> gr.themes.Base:
    """Quiet greys, one accent, system fonts; every text at least 4.5 to 1 against what lies behind it."""
    base = gr.themes.Base(
        primary_hue="blue",
        neutral_hue="slate",
        radius_size="md",
        font=_FONTS,
        font_mono=("ui-monospace", "Menlo", "Consolas", "monospace"),
    )
    return base.set(
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_400",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_300",
        input_placeholder_color="*neutral_600",
        input_placeholder_color_dark="*neutral_300",
        color_accent="*primary_600",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover_dark="*primary_600",
    )


def asset(name: str) -> str:
    """The text of one of the page's own files."""
    return (Path(__file__).parent / "assets" / name).read_text(encoding="utf-8")


def build(engine: Engine, folder: OwnFolder) -> gr.Blocks:
    """The page as Gradio's Blocks, not yet served."""
    drawing = Drawing(engine.model, engine.busy, engine.limits)
    page = gr.Blocks(title="freeda", analytics_enabled=False, fill_width=False)
    with page:
        gr.HTML(asset("head.html"), elem_id="head")
        with gr.Tabs():
            with gr.Tab("Segment"):
                segment_tab(page, engine, drawing, folder, asset("studio.html"), asset("studio.js"))
            with gr.Tab("References"):
                offline_tab(engine, drawing)
            with gr.Tab("Bank"):
                bank_tab(engine, drawing)
        endpoint(engine, folder)
    page.queue(api_open=False, max_size=engine.limits.waiting, default_concurrency_limit=1)
    return page


def endpoint(engine: Engine, folder: OwnFolder) -> None:
    """Add `/segment`; docs/app.md shows a call."""

    def segment(photograph: str | None, words: str, local_weight: Any) -> dict[str, Any]:
        """Label a photograph with words.

        `photograph` is the path that /gradio_api/upload answered, `words` a list with commas, `local_weight`
        0 to 1 or null. Returns {"width", "height", "classes": [{"name", "number", "colour", "ink", "share",
        "caveat"}], "warnings": what must be known of picture and words, "labels": a palette PNG as data URL;
        pixel value = number - 1}.
        """
        weight = None if local_weight is None else within(local_weight, "local_weight", 0, 1)
        path = folder.upload(photograph or "")  # not removed: others may have sent the same, to the same path
        result = engine.segment(path, words, Knobs(local_weight=weight))
        height, width = result.size
        told = {"classes": classes(result), "warnings": result.caveats.lines()}
        return {"width": width, "height": height, **told, "labels": to_png(result)}

    # Plain text, not Gradio's file, which may also be an address that Gradio would fetch.
    photograph = gr.Textbox(visible=False, label="photograph")
    words = gr.Textbox(visible=False, label="words")
    weight = gr.Number(None, visible=False, label="local_weight")
    answer = gr.JSON(visible=False, label="result")
    settings = {**HEAVY, "api_visibility": "public", "show_progress": "hidden"}
    gr.Button(visible=False).click(
        friendly(segment), [photograph, words, weight], answer, api_name="segment", **settings
    )
