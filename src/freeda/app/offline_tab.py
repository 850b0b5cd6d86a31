"""The second tab: how a caption becomes references."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import gradio as gr

from ..collection.masks import WordMask
from ..collection.nouns import Noun
from ..options import CollectOptions
from ..show.tiles import heat_map, mask_picture
from . import html
from .engine import Engine, check_text
from .events import HEAVY, LIGHT, friendly, unchecked, within
from .kept import Drawing, Drawn
from .limits import Shelf

NONE = html.empty("Write a caption and press Draw.")
EXAMPLES = (
    "a red house on the grass under a blue sky",
    "a boat on the water before a sunset",
    "a butterfly and a flower in front of a wall",
)
_SEEDS = 2**31 - 1
_THRESHOLD = "Mask threshold", 0.05, 0.95


@dataclass
class _Shown:
    """What a visitor sees."""

    drawn: Drawn
    text: str
    threshold: float


class OfflineTab:
    """What the tab's events do."""

    def __init__(self, engine: Engine, drawing: Drawing) -> None:
        self.engine, self.drawing = engine, drawing
        self._last: Shelf[_Shown] = Shelf(engine.limits.scenes, 60.0 * engine.limits.minutes)

    def draw(self, caption: str, seed: float | None, threshold: Any, request: gr.Request) -> str:
        """Draw a caption and tell its story."""
        threshold = within(threshold, *_THRESHOLD)
        text = " ".join(check_text(caption, "the caption", self.engine.limits).split())
        drawn = self.drawing.draw(text, int(seed or 0) % _SEEDS)
        self._last.put(request.session_hash, _Shown(drawn, text, threshold))
        return story(drawn, text, self.drawing.options, threshold)

    def cut(self, threshold: Any, request: gr.Request) -> Any:
        """The same picture, its masks cut elsewhere."""
        threshold = within(threshold, *_THRESHOLD)
        last = self._last.get(request.session_hash)
        if last is None:
            return NONE
        if last.threshold == threshold:
            return gr.skip()
        last.threshold = threshold
        return story(last.drawn, last.text, self.drawing.options, threshold)


def offline_tab(engine: Engine, drawing: Drawing) -> None:
    """Lay the tab out and wire it."""
    if not drawing.possible:
        gr.HTML(
            '<p class="empty">This model\'s generator is not on this machine, so nothing can be drawn here. '
            "Start the page with <code>--model miniature</code> to see the offline stage at work.</p>"
        )
        return
    tab = OfflineTab(engine, drawing)
    with gr.Row(elem_classes="ask"):
        caption = gr.Textbox(EXAMPLES[0], label="Caption", max_length=300, scale=5, elem_id="caption")
        seed = gr.Number(0, label="Seed", precision=0, minimum=0, maximum=_SEEDS, scale=1, min_width=90)
        button = gr.Button("Draw", variant="primary", scale=1, min_width=110, elem_id="draw")
    told = gr.HTML(NONE, elem_id="story")
    label, least, most = _THRESHOLD
    usual, info = drawing.options.threshold, "Where the word map is cut."
    threshold = unchecked(gr.Slider(least, most, usual, step=0.01, label=label, info=info))
    gr.Examples([[text] for text in EXAMPLES], caption, label="Try", api_visibility="private")
    inputs = [caption, seed, threshold]
    # As in the first tab: what was asked for last is what is seen at the end.
    asks = [button.click, caption.submit]
    drawn = gr.on(asks, friendly(tab.draw), inputs, told, trigger_mode="always_last", **HEAVY)
    threshold.change(friendly(tab.cut), threshold, told, trigger_mode="always_last", **LIGHT)
    drawn.success(friendly(tab.cut), threshold, told, **LIGHT)  # it may have been moved meanwhile


def story(drawn: Drawn, caption: str, options: CollectOptions, threshold: float) -> str:
    """Picture, word maps and masks of a caption; masks are cut anew at `threshold`, 0 to 1."""
    picture = html.cards([html.card(html.image(drawn.image, caption), "", caption)])
    maps, masks = [], []
    for noun, word in drawn.words:
        cut = recut(word, threshold)
        fate = _fate(noun, cut, drawn, options, threshold)
        spoken = list(dict.fromkeys(caption[a:b] for a, b in noun.spans))
        written = [] if spoken == [noun.lemma] else [f"written {', '.join(spoken)}"]
        where = html.image(heat_map(drawn.image, word.map), f"where {noun.lemma} is")
        maps.append(html.card(where, noun.lemma, *written))
        mask = html.image(mask_picture(drawn.image, cut.mask), f"mask of {noun.lemma}")
        masks.append(html.card(mask, noun.lemma, f"{100 * cut.area:.1f} % of the picture", fate))
    return (
        f'<div class="story">{html.section("Picture", "as drawn", picture)}<div>'
        + html.section("Word maps", "where the generator's attention went for each noun", html.cards(maps))
        + html.section("Masks", f"map above {threshold:g}: what the bank learns from", html.cards(masks))
        + "</div></div>"
    )


def recut(word: WordMask, threshold: float) -> WordMask:
    """The same map, cut elsewhere."""
    mask = word.map > threshold
    return replace(word, mask=mask, area=float(mask.mean()))


def _fate(noun: Noun, cut: WordMask, drawn: Drawn, options: CollectOptions, threshold: float) -> str:
    if cut.flat:
        return "rejected: flat map"
    if not cut.mask.any() or cut.area < options.min_area:
        return "rejected: too small"
    if cut.area > options.max_area:
        return "rejected: too large"
    if threshold == options.threshold and noun.lemma not in drawn.kept:
        return "rejected: no key, or no patch inside"
    return "becomes a reference"
