"""The small world by what came after FreeDA."""

from __future__ import annotations

import numpy as np
import pytest

import freeda
from freeda.bank import Bank
from freeda.miniature.scenes import CLASSES
from freeda.miniature.trial import counted, held_out
from freeda.presets import PRESETS


def test_the_bundled_bank_has_region_values() -> None:
    bank = Bank.open(str(PRESETS["miniature"].bank))
    assert bank.regions is not None and len(bank.regions) > len(bank)
    bank.regions.check_models(bank.meta["models"])
    lengths = np.linalg.norm(np.asarray(bank.regions.prototypes, np.float32), axis=1)
    np.testing.assert_allclose(lengths, 1, atol=2e-3)


def test_each_method_is_worth_what_it_should() -> None:
    """On a few scenes, far below the figures of docs/beyond.md but in their order."""
    model, scenes = freeda.load("miniature-plus", device="cpu"), held_out(9, 16)
    seen = [model.encode(scene.image) for scene in scenes]
    assert {one.models["regions"] for one in seen} == {"miniature-plus/regions"}

    def miou(**how: object) -> float:
        words = model.vocabulary(list(CLASSES), **how)  # type: ignore[arg-type]
        return counted(scenes, (model.segment(s, words, **how).labels for s in seen)).miou()  # type: ignore[arg-type]

    bare, values, everything = miou(method="no-bank"), miou(method="values"), miou()
    assert 0.45 < bare < values < everything and everything > 0.75


def test_other_attention_undoes_the_miniature_s_clip() -> None:
    model, scene = freeda.load("miniature", device="cpu").with_bank(None), held_out(9, 1)[0]
    labels = model.segment(scene.image, list(CLASSES)).labels
    assert model.options.dense_clip.attention == "own"
    assert (labels == scene.labels).mean() > 0.6
    with pytest.raises(freeda.errors.InputError, match="cannot change after encoding"):
        model.segment(model.encode(scene.image), list(CLASSES), dense_clip=freeda.options.DenseClip())
