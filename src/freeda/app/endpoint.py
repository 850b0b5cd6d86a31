"""The page's endpoint for programs: a photograph and words in, a label map and area shares out."""

from __future__ import annotations

from typing import Any

import gradio as gr

from .engine import Engine, Knobs
from .events import HEAVY, friendly, within
from .files import OwnFolder
from .view import classes, to_png


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
