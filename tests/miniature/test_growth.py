"""The measurement of growing: rows are taken by the number of pictures, banks of them are whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from freeda.bank import Bank
from freeda.grow import grow
from freeda.miniature.scenes import CLASSES
from freeda.presets import Preset
from studies import growth
from studies.held_out import generated

IMAGES = 3


@pytest.fixture(scope="module")
def layer(tiny_preset: Preset, tmp_path_factory: pytest.TempPathFactory) -> Bank:
    from dataclasses import replace

    options = replace(tiny_preset.collect, min_area=0.0, max_area=1.0)
    folder = tmp_path_factory.mktemp("layer")
    return grow(["cat", "tree"], folder / "l", tiny_preset, "cpu", images=IMAGES, options=options).layer


@pytest.mark.parametrize("images", [1, 2, 3, 9])
def test_rows_of_the_first_pictures(layer: Bank, images: int) -> None:
    every = growth.first_of_each(layer, 100)
    assert len(every) == 2 * IMAGES
    found = growth.first_of_each(layer, images)
    assert sorted(found.nouns) == [w for w in ("cat", "tree") for _ in range(min(images, IMAGES))]
    # The first pictures' rows come first of each word's in the layer.
    for word in ("cat", "tree"):
        mine = found.only([word])
        np.testing.assert_array_equal(mine.prototypes, every.only([word]).prototypes[: len(mine)])


def test_tables_tell_means_over_classes_and_seeds() -> None:
    first, second = np.full(len(CLASSES), 0.25), np.full(len(CLASSES), 0.75)
    first[0] = np.nan  # a class that no scene shows
    text = growth.class_table({"a": [second.tolist()], "b": [first.tolist()]})
    assert f"| {CLASSES[1]} | 0.75 | 0.25 |" in text and "| mean | 0.750 | 0.250 |" in text
    assert len(text.splitlines()) == len(CLASSES) + 3


@pytest.mark.slow
def test_growing_brings_a_word_back(tmp_path: Path) -> None:
    found = growth.measure([0], 12, generated(None), counts=(1,), usual=1, out=tmp_path)
    mean = {name: np.nanmean(np.array(seeds[0], float)) for name, seeds in found["left out"].items()}
    assert mean["left out"] < 0.3 * mean["in the bank"]
    assert mean["grown, 1 pictures from captions"] > mean["left out"] + 0.2
    assert found["alone"]["1 a word, captions"][0][0] > 0.2
