"""What becomes HTML shows texts and does nothing else."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from freeda.app import html
from freeda.app.engine import Engine, Knobs, samples
from freeda.app.html import references, verdict
from freeda.app.view import SIDE, labels_view, photo_view

NASTY = '<script>alert("x")</script>'


@pytest.mark.parametrize("text", [NASTY, "a & b", "\x1b[31m", "'quoted\"", "\u202ereversed"])
def test_texts_are_texts(text: str) -> None:
    for made in (
        html.say(text),
        html.card("", text, text),
        html.section(text, text, ""),
        html.masked(None, text, text),
    ):
        assert "<script" not in made and "\x1b" not in made and "\u202e" not in made
        assert 'alert("x")' not in made
    assert html.say("a & <b>") == "a &amp; &lt;b&gt;"


def _labels(view: dict[str, Any]) -> Any:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(view["labels"].split(",")[1]))))


def test_views_are_the_result(model: Any) -> None:
    engine = Engine(model)
    image = np.concatenate([samples()[0].image] * 3, axis=1)  # 1536 wide: reduced for the browser
    engine.open("me", image, "wide")
    opened = engine.label("me", "sunset, water, tree, house", Knobs())
    result = opened.result
    assert result is not None
    view, photo = labels_view(opened), photo_view(opened)
    shown = _labels(view)
    assert shown.shape == (341, SIDE) and (photo["width"], photo["height"]) == (1536, 512)
    for y, x in np.random.default_rng(0).integers(0, shown.shape, (200, 2)):
        assert shown[y, x] == result.labels[int((y + 0.5) * 512 / 341), int((x + 0.5) * 1536 / SIDE)]
    assert sum(entry["share"] for entry in view["classes"]) == pytest.approx(1)
    assert {label for _, _, label in view["badges"]} == set(np.unique(shown).tolist())
    for x, y, label in view["badges"]:
        assert shown[int(y * 341), int(x * SIDE)] == label


def test_evidence_is_the_explanation(model: Any) -> None:
    engine = Engine(model)
    engine.open("me", samples()[0].image, "scene")
    result = engine.label("me", "sunset, water, tree, <script>", Knobs()).result
    assert result is not None
    told = result.explain(150, 250, classes=2, references=3)
    head, below = verdict(told), references(told, {}, coming=True)
    assert "<script" not in head + below
    for one in told.scores:
        assert f"<b>{one.score:.3f}</b>" in head
    widths = [float(w) for w in re.findall(r"width:([0-9.]+)%", head)]
    assert widths == [pytest.approx(100 * one.score, abs=0.06) for one in told.scores]  # the whole bar is 1
    few = replace(told, region=np.arange(told.region.size).reshape(told.region.shape) == 5)
    assert "<small>&lt; 0.1 % of the photograph, at 150, 250</small>" in verdict(few)
    assert told.label in head and (told.without_global == told.label or told.without_global in head)
    for group in told.references:
        for one in group.nearest:
            assert html.say(one.caption) in below and f"{one.cosine:.3f}" in below
    assert below.count("drawing ...") == 6 and references(told, {}).count("no picture kept") == 6
