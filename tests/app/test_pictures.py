"""Pictures of the bank's rows: drawn again they are the ones that the bank was made from."""

from __future__ import annotations

from dataclasses import replace
from threading import Lock
from typing import Any

import numpy as np
import pytest

from freeda.app.kept import Drawing
from freeda.app.limits import Limits
from freeda.app.offline_tab import recut, story
from freeda.errors import InputError
from freeda.model import FreeDA
from freeda.presets import ModelSource


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


def test_a_captions_story(drawing: Drawing) -> None:
    caption = "a red house on the grass & <i>snow</i>"
    drawn = drawing.draw(caption, 3)
    assert [noun.lemma for noun, _ in drawn.words][:2] == ["house", "grass"]
    told = story(drawn, caption, drawing.options, 0.4)
    assert "&lt;i&gt;" in told and "<i>" not in told
    for _, word in drawn.words:
        for threshold in (0.05, 0.4, 0.95):
            cut = recut(word, threshold)
            assert cut.area == np.mean([[value > threshold for value in line] for line in word.map])
        np.testing.assert_array_equal(recut(word, drawing.options.threshold).mask, word.mask)
    assert "rejected: too small" in story(drawn, caption, drawing.options, 0.9999999)
    with pytest.raises(InputError, match="no noun"):
        drawing.draw("of the and", 0)
