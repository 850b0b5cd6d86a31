"""Pictures of the bank's rows: drawn again they are the ones that the bank was made from."""

from __future__ import annotations

from dataclasses import replace
from threading import Lock
from typing import Any

import numpy as np
import pytest

from freeda.app import answers
from freeda.app.kept import Drawing
from freeda.app.limits import Limits
from freeda.app.photographs import samples
from freeda.errors import InputError
from freeda.model import FreeDA
from freeda.presets import ModelSource

from .conftest import Visitor, running


@pytest.fixture(scope="module")
def drawing(model: Any) -> Drawing:
    return Drawing(model, Lock(), Limits())


def test_drawn_again_they_are_the_same(drawing: Drawing, model: Any) -> None:
    rows = [0, 1, 700]
    steps = list(drawing.stepwise(rows))
    assert [len(found) for found, _ in steps] == [0, 2, 3] and [more for _, more in steps] == [
        True,
        True,
        False,
    ]
    for row, (image, mask) in steps[-1][0].items():
        pair = model.bank.row(row)
        assert pair["image"] is None and image.shape == (*mask.shape, 3)
        assert mask.mean() == pytest.approx(pair["area"], abs=0.02)
        # What the encoder sees there is the very prototype that the bank holds.
        scene = model.encoders.dense.encode(_batch(image))[0]
        from freeda.pooling import pool_regions

        pooled, _ = pool_regions(scene, np.where(mask, 0, -1), 1)
        seen, kept = pooled[0], pair["prototype"].astype(np.float32)
        assert seen @ kept / np.linalg.norm(seen) / np.linalg.norm(kept) > 0.99
    assert list(drawing.stepwise(rows)) == [(steps[-1][0], False)]  # remembered


def _batch(image: Any) -> Any:
    import torch

    return torch.from_numpy(image)[None].permute(0, 3, 1, 2).float() / 255


def test_other_generators_draw_nothing_again(model: Any) -> None:
    local, far = (
        ModelSource(model.preset.dense.id),
        ModelSource("stable-diffusion-v1-5/stable-diffusion-v1-5"),
    )
    for change, possible in (
        ({"collect": replace(model.preset.collect, steps=3)}, True),
        ({"lora": local}, True),
        ({"lora": far}, False),
        ({"generator": far}, False),
    ):
        other = FreeDA(replace(model.preset, **change), model.encoders, model.bank)
        drawing = Drawing(other, Lock(), Limits())
        assert list(drawing.stepwise([0, 1])) == [({}, True), ({}, False)]
        assert drawing.possible == possible
    with pytest.raises(InputError, match="not on this machine"):
        drawing.draw("a house", 0)


@pytest.mark.parametrize("threshold", [0.05, None, 0.95, 0.9999999])
def test_a_captions_story(drawing: Drawing, threshold: float | None) -> None:
    caption = "a red house on the grass & <i>snow</i>"
    found = drawing.draw(caption, 3)
    told = answers.drawn(found, caption, drawing.options, threshold)
    assert [one["noun"] for one in told["words"]][:2] == ["house", "grass"]
    assert told["threshold"] == (threshold or drawing.options.threshold)
    assert told["picture"].startswith("data:image/jpeg;base64,")
    for one, (noun, word) in zip(told["words"], found.words, strict=True):
        at = told["threshold"]
        assert one["area"] == np.mean([[value > at for value in line] for line in word.map])
        if threshold is None:
            assert one["kept"] == (noun.lemma in found.kept) and one["area"] == pytest.approx(word.area)
        if at > 0.99:
            assert one["fate"] == "rejected: too small"


def test_no_noun(drawing: Drawing) -> None:
    with pytest.raises(InputError, match="no noun"):
        drawing.draw("of the and", 0)


def test_the_bank_is_searched(visitor: Visitor) -> None:
    told = visitor.ask("GET", "/api/bank?word=cottage")["nouns"]
    assert told[0]["noun"] == "home" and told[0]["within"] == told[0]["of"] == 24
    assert len(told[0]["rows"]) == 4 and "home" in told[0]["rows"][0]["caption"]
    assert "blank" in visitor.ask("GET", "/api/bank?word=%20", status=400)["detail"]


def test_without_a_bank(model: Any) -> None:
    with running(model.with_bank(None)) as found:
        visitor = Visitor(*found, sample=0)
        state = visitor.idle()
        assert visitor.ask("GET", "/api/info")["bank"] is None
        own = model.with_bank(None).segment(samples()[0].image, samples()[0].words)
        np.testing.assert_array_equal(visitor.map(state["pictures"][0]["id"])[1], own.labels)
        assert "start with --bank DIR" in visitor.ask("GET", "/api/bank?word=cat", status=400)["detail"]


@pytest.mark.slow
def test_references_of_a_click_are_drawn_again(visitor: Visitor) -> None:
    at = f"{visitor.at}/pictures/{visitor.first()}/explain"
    told = visitor.ask("POST", at, {"x": 150, "y": 250, "pictures": True})
    shown = [one["picture"] for group in told["references"] for one in group["nearest"]]
    assert len(shown) == 8 and all(one.startswith("data:image/jpeg") for one in shown)
    again = visitor.ask("POST", at, {"x": 150, "y": 250})  # now they are at hand
    assert again["references"] == told["references"]
