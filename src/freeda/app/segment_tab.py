"""The first tab: a photograph, words, the picture with its legend, and why."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import Any

import gradio as gr
import numpy as np

from ..errors import FreedaError, InputError
from .engine import Engine, Knobs, Open, samples
from .events import DRAWING, HEAVY, LIGHT, unchecked, within
from .files import KINDS, OwnFolder, write_result
from .html import CLASSES, REFERENCES, data_url, references, verdict
from .kept import Drawing
from .view import labels_view, photo_view

_SLIDERS = (
    ("Local weight", 0, 1, 0.01, "Looks of the region (1) against the whole window (0)."),
    ("References a word (K)", 1, 500, 1, "How many of the bank's references are averaged."),
    ("Superpixel scale", 10, 1000, 10, "Larger regions to the right. Cuts the photograph anew."),
)
"""Label, range, step and what it is."""
_HEX = re.compile(r"#[0-9a-f]{6}")
_SETTLE = "() => document.querySelector('#studio .studio').dispatchEvent(new Event('settle'))"


class SegmentTab:
    """What the tab's events do; the visitor is known by the browser's session."""

    def __init__(self, engine: Engine, drawing: Drawing, folder: OwnFolder) -> None:
        self.engine, self.drawing, self.folder = engine, drawing, folder
        self._stamps = itertools.count(1)

    def start(self, request: gr.Request, words: str, *sliders: Any) -> dict[str, Any]:
        """The first bundled scene, when the page is opened."""
        first = samples()[0]
        return self._open(_who(request), first.picture, first.name, words, sliders)

    def sample(self, event: gr.EventData, request: gr.Request, *sliders: Any) -> Any:
        """Another bundled scene, with words for it: the page takes them if no others were typed."""
        chosen, who, wish = samples()[int(event.index) % len(samples())], _who(request), int(event.wish)
        if self._late(who, wish):
            return gr.skip()
        view = self._open(who, chosen.picture, chosen.name, chosen.words, sliders, wish)
        return {**view, "words": chosen.words}

    def upload(self, event: gr.EventData, request: gr.Request, words: str, *sliders: Any) -> Any:
        """A visitor's photograph."""
        try:
            path = self.folder.upload(str(event.path))
        except FreedaError as error:
            return self._sorry(error)
        who, wish = _who(request), int(event.wish)
        if self._late(who, wish):
            return gr.skip()
        return self._open(who, path, str(event.name)[:100], words, sliders, wish)

    def again(self, request: gr.Request) -> Any:
        """All there is to see, for a browser that missed an answer."""
        try:
            opened = self.engine.result(_who(request))[0]
        except FreedaError:
            return gr.skip()
        assert opened.asked is not None
        return {**photo_view(opened), **self._view(opened), "asked": opened.asked[0]}

    def label(self, request: gr.Request, words: str, *sliders: Any) -> dict[str, Any]:
        """Other words or other sliders: the photograph as it is labelled now."""
        try:
            view = self._view(self.engine.label(_who(request), words, _knobs(sliders)))
        except FreedaError as error:
            view = self._sorry(error)
        return {**view, "asked": words}

    def pick(self, event: gr.EventData, request: gr.Request) -> Iterator[dict[str, Any]]:
        """Why a region got its word: words and numbers first, then pictures, a few at a time.

        A later click of the same visitor ends it, and so do other words.
        """
        try:
            opened, result, turn = self.engine.result(_who(request))
            with self.engine.busy:
                told = result.explain(int(event.x), int(event.y), classes=CLASSES, references=REFERENCES)
        except FreedaError as error:
            yield self._sorry(error)
            return
        mine = int(event.nth)
        opened.picks = max(opened.picks, mine)
        view = {"why": verdict(told), "nth": mine, "number": opened.number, "turn": turn}
        view["stamp"] = next(self._stamps)
        rows = [one.row for group in told.references for one in group.nearest if one.image is None]
        for found, more in self.drawing.stepwise(rows):
            if opened.picks != mine or opened.turn != turn:
                return
            yield {**view, "near": references(told, found, coming=more)}

    def download(self, event: gr.EventData, request: gr.Request) -> dict[str, Any]:
        """A file of the result, in the visitor's own colours."""
        try:
            opened, result, turn = self.engine.result(_who(request))
            n = len(result.names)
            if event.turn != turn or len(event.colours) != n or len(event.opacities) != n:
                raise InputError("the words changed meanwhile: press Download again")
            colours = [c if _HEX.fullmatch(c) else "#808080" for c in map(str, event.colours)]
            rgb = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in colours], np.uint8)
            opacities = np.nan_to_num(np.clip(np.array(event.opacities, np.float32), 0, 1))
            path = write_result(opened, result, str(event.kind), self.folder.new(), rgb, opacities)
        except FreedaError as error:
            return self._sorry(error)
        return {"file": path.as_posix(), "name": path.name, "stamp": next(self._stamps)}

    def _late(self, who: str, wish: int) -> bool:
        """Whether a photograph that was asked for later is open: requests may overtake each other."""
        try:
            return self.engine.opened(who).wish > wish
        except FreedaError:
            return False

    def _open(
        self, who: str, image: Any, name: str, words: str, sliders: tuple[Any, ...], wish: int = 0
    ) -> dict[str, Any]:
        view: dict[str, Any] = {}
        try:
            knobs = _knobs(sliders)
            opened = self.engine.open(who, image, name, knobs.scale)
            opened.wish = wish
            view = photo_view(opened)
            return {**view, **self._view(self.engine.label(who, words, knobs)), "asked": words}
        except FreedaError as error:  # about the words, once the photograph is open
            return {**view, **self._sorry(error), **({"asked": words} if view else {})}

    def _sorry(self, error: FreedaError) -> dict[str, Any]:
        """One line on the page, where it stays until something else is asked for."""
        return {"note": str(error), "stamp": next(self._stamps)}

    def _view(self, opened: Open) -> dict[str, Any]:
        return {**labels_view(opened), "stamp": next(self._stamps)}


def _knobs(sliders: tuple[Any, ...]) -> Knobs:
    """What the sliders say. Raises InputError for a number that is missing or out of a slider's range."""
    *numbers, others = sliders
    weight, k, scale = (within(value, *how[:3]) for value, how in zip(numbers, _SLIDERS, strict=True))
    return Knobs(weight, int(k), scale, bool(others))


def _who(request: gr.Request) -> str:
    return str(request.session_hash)


def segment_tab(
    page: gr.Blocks, engine: Engine, drawing: Drawing, folder: OwnFolder, template: str, script: str
) -> None:
    """Lay the tab out and wire it."""
    tab, preset = SegmentTab(engine, drawing, folder), engine.model.preset
    options = preset.segment
    words = gr.Textbox(
        samples()[0].words,
        label="Words",
        info="Commas between them; sofa=couch adds a synonym.",
        max_length=engine.limits.letters,
        max_lines=4,
        elem_id="words",
        autofocus=True,
    )
    studio = gr.HTML(
        html_template=template,
        js_on_load=script,
        apply_default_css=False,
        elem_id="studio",
        samples=[[sample.words, data_url(sample.image[::4, ::4], "JPEG")] for sample in samples()],
        kinds=list(KINDS.items()),
        most=engine.limits.upload_megabytes * 1_000_000,
        about=f"This is the {preset.name} model: it knows {preset.world}." if preset.world else "",
    )
    values = (options.local_weight, options.k, options.superpixels.scale)
    shown = (True, True, options.superpixels.algorithm == "felzenszwalb")
    knobs: list[Any] = []
    with gr.Accordion("Settings", open=False), gr.Row():
        for (label, least, most, step, info), value, visible in zip(_SLIDERS, values, shown, strict=True):
            start = min(max(value, least), most)
            slider = gr.Slider(least, most, start, step=step, label=label, info=info, visible=visible)
            knobs.append(unchecked(slider))
        info = "A label of its own for all that is none of the words."
        knobs.append(gr.Checkbox(label="Everything else", info=info))
    weight, k, scale, others = knobs
    asked = [words, *knobs]

    # What was asked for last is what is seen at the end: requests by one event follow one another with what
    # stands in the page then, and whatever else changes the photograph ends with that event, too.
    # `change`, also for sliders: their `input` may come before the page knows the slider's new value.
    asks = [words.change, weight.change, k.change, others.change, studio.submit]
    gr.on(asks, tab.label, asked, studio, trigger_mode="always_last", **LIGHT)
    for changed in (
        page.load(tab.start, asked, studio, **LIGHT),
        scale.change(tab.label, asked, studio, trigger_mode="always_last", **HEAVY),
        # Every one of them: Gradio's "always_last" forgets which one the last was.
        studio.opened(tab.upload, asked, studio, trigger_mode="multiple", **HEAVY),
        studio.sample(tab.sample, knobs, studio, trigger_mode="multiple", **HEAVY),
    ):
        changed.success(None, js=_SETTLE, **LIGHT)
    studio.again(tab.again, None, studio, **LIGHT)
    studio.pick(tab.pick, None, studio, trigger_mode="multiple", **DRAWING)
    studio.download(tab.download, None, studio, trigger_mode="multiple", **HEAVY)

    def close(request: gr.Request) -> None:
        engine.close(_who(request))

    page.unload(close)
