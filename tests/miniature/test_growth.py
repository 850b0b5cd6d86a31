"""The measurement of growing: rows are taken by the number of pictures, banks of them are whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from freeda.bank import Bank
from freeda.bank.verify import find_damage
from freeda.grow import grow
from freeda.miniature.scenes import CLASSES
from freeda.presets import Preset
from studies import growth

IMAGES = 3


@pytest.fixture(scope="module")
def layer(tiny_preset: Preset, tmp_path_factory: pytest.TempPathFactory) -> Bank:
    from dataclasses import replace

    options = replace(tiny_preset.collect, min_area=0.0, max_area=1.0)
    folder = tmp_path_factory.mktemp("layer")
    return grow(["cat", "tree"], folder / "l", tiny_preset, "cpu", images=IMAGES, options=options).layer


@pytest.mark.parametrize("images", [1, 2, 3, 9])
def test_rows_of_the_first_pictures(layer: Bank, images: int) -> None:
    pairs = growth.pairs_of(layer)
    assert len(pairs) == 2 * IMAGES
    found = [p.caption_id for p in growth.first_of_each(layer, pairs, images)]
    assert sorted(found) == [f"{w}/{i + 1}" for w in ("cat", "tree") for i in range(min(images, IMAGES))]


def test_a_bank_of_some_rows_is_whole(layer: Bank, tmp_path: Path) -> None:
    pairs = [p for p in growth.pairs_of(layer) if p.noun == "tree"]
    made = growth.write_bank(tmp_path / "some", pairs, layer)
    rows = [i for i, noun in enumerate(layer.nouns) if noun == "tree"]
    np.testing.assert_array_equal(made.prototypes, layer.prototypes[rows])
    np.testing.assert_array_equal(made.keys, layer.keys[rows])
    assert made.nouns == ["tree"] * IMAGES and not list(find_damage(tmp_path / "some"))


def test_tables_tell_means_over_classes_and_seeds() -> None:
    first, second = np.full(len(CLASSES), 0.25), np.full(len(CLASSES), 0.75)
    first[0] = np.nan  # a class that no scene shows
    assert "| a | 0.500 (0.250 to 0.750) |" in growth.mean_table({"a": [first, second]}, "What")
    text = growth.class_table({"a": [second], "b": [first]})
    assert f"| {CLASSES[1]} | 0.75 | 0.25 |" in text and "| mean | 0.750 | 0.250 |" in text
    assert len(text.splitlines()) == len(CLASSES) + 3


@pytest.mark.slow
def test_growing_brings_a_word_back() -> None:
    place = growth.PRESET.bank
    assert place is not None
    left_out, alone = growth.measure([0], 12, Bank.open(place), counts=(1,), usual=1)
    lost, whole = np.nanmean(left_out["left out"][0]), np.nanmean(left_out["in the bank"][0])
    back = np.nanmean(left_out["grown, 1 pictures from captions"][0])
    assert lost < 0.3 * whole and back > lost + 0.2
    assert np.nanmean(alone["1 a word, captions"][0]) > 0.2
