"""The page: three tabs and an endpoint, wired to the engine."""

from __future__ import annotations

from importlib import resources

import gradio as gr

from .bank_tab import bank_tab
from .endpoint import endpoint
from .engine import Engine
from .files import OwnFolder
from .kept import Drawing
from .offline_tab import offline_tab
from .segment_tab import segment_tab

_ASSETS = resources.files("freeda").joinpath("app", "assets")
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
    return _ASSETS.joinpath(name).read_text(encoding="utf-8")


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
