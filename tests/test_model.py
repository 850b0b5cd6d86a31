"""Loading a model and the things that can go wrong about it."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import freeda
from freeda.errors import BankError, FreedaError, InputError
from freeda.presets import PRESETS, Preset


def test_load_and_segment_a_file(tiny_preset: Preset, tiny_bank: Path, tmp_path: Path) -> None:
    model = freeda.load(tiny_preset, bank=tiny_bank, device="cpu")
    path = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 60, 3), dtype=np.uint8)).save(path)
    result = model.segment(path, ["cat", "sofa", "wooden floor"])
    assert isinstance(result, freeda.Segmentation)
    assert result.labels.shape == (50, 60) and set(np.unique(result.labels)) <= {0, 1, 2}
    assert result.save(tmp_path / "out")["labels"].name == "photo.labels.png"


def test_a_presets_own_bank_is_the_default(tiny_preset: Preset, tiny_bank: Path) -> None:
    model = freeda.load(replace(tiny_preset, bank=str(tiny_bank)), device="cpu")
    assert model.bank is not None and len(model.bank) == 40


def test_no_bank_is_told_when_class_names_come(tiny_preset: Preset) -> None:
    model = freeda.load(tiny_preset, device="cpu")
    scene = model.encode(np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(InputError, match="freeda collect"):
        model.segment(scene, ["cat"], method="freeda")


def test_another_presets_bank(tiny_preset: Preset, tiny_bank: Path) -> None:
    with pytest.raises(BankError, match="another"):
        freeda.load(replace(tiny_preset, name="other"), bank=tiny_bank, device="cpu")


def test_models_may_be_replaced(tiny_preset: Preset, tiny_clip: Path, tiny_dense: Path) -> None:
    model = freeda.load(tiny_preset, device="cpu", clip=tiny_clip, dense=str(tiny_dense))
    assert model.preset.clip.id == str(tiny_clip)


@pytest.mark.parametrize(
    "wrong",
    [
        {"preset": "vit-xxl"},
        {"bank": "no/such/bank"},
        {"device": "toaster"},
        {"dtype": "int3"},
        {"clip": "/no/clip"},
    ],
)
def test_what_cannot_be_loaded(tiny_preset: Preset, wrong: dict[str, Any]) -> None:
    with pytest.raises(FreedaError) as caught:
        freeda.load(**{"preset": tiny_preset, **wrong})
    assert "\n" not in str(caught.value)


def test_unknown_names_of_the_package() -> None:
    assert "load" in dir(freeda)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = freeda.nothing


def test_a_preset_derived_from_the_miniature_has_its_bank(tmp_path: Path) -> None:
    mine = tmp_path / "mine.json"
    mine.write_text('{"base": "miniature", "segment": {"k": 8}}')
    model = freeda.load(mine)
    assert model.options.k == 8 and model.encoders.identity["clip"]["id"] == "miniature/clip"
    mine.write_text('{"base": "miniature", "clip": "clip"}')  # a folder of one's own is another model
    shutil.copytree(PRESETS["miniature"].clip.id, tmp_path / "clip")
    with pytest.raises(BankError, match="built with CLIP miniature/clip, but mine/clip is loaded"):
        freeda.load(mine)


def test_what_they_say_of_themselves(tiny_preset: Preset, tiny_bank: Path) -> None:
    model = freeda.load(tiny_preset, tiny_bank, device="cpu")
    scene = model.encode(np.zeros((40, 60, 3), np.uint8))
    words = model.vocabulary({"cat": ["kitten"], "sofa": []})
    assert repr(model).startswith(f"FreeDA('{tiny_preset.name}', bank=Bank(")
    assert repr(scene).startswith("<Scene of an array, 60 x 40: ")
    assert repr(words) == "<Vocabulary of cat, sofa: 2 text rows, 2 prototypes>"


def test_options_of_a_vocabulary_come_too_late_for_one_that_is_made(tiny_model: Any, tmp_path: Path) -> None:
    """They would not be heeded: a k given with a vocabulary kept the k that it was made with."""
    image, words = np.zeros((48, 48, 3), np.uint8), tiny_model.vocabulary(["cat", "dog"])
    Image.fromarray(image).save(tmp_path / "x.png")
    for label in (
        lambda: tiny_model.segment(image, words, k=1),
        lambda: tiny_model.segment(tiny_model.encode(image), words, k=1),
        lambda: list(tiny_model.segment_many(tmp_path / "x.png", words, k=1)),
    ):
        with pytest.raises(InputError, match="option 'k' shapes a vocabulary"):
            label()
    assert tiny_model.segment(image, words, local_weight=0.5).names == ("cat", "dog")
