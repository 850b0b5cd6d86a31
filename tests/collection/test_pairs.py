"""Rows of the bank: what is in them, and every reason why there is none."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from freeda.bank import Pair
from freeda.collection.captions import Caption
from freeda.collection.job import collect
from freeda.collection.masks import WordMask
from freeda.collection.nouns import Noun
from freeda.collection.pairs import REASONS, NounKeys, make_pair, small_jpeg, small_png
from freeda.options import CollectOptions
from freeda.presets import Preset

CAPTION = Caption("7", "a boat sails on the water")
BOAT = Noun("boat", ((2, 6),))


def word(mask: Any, contrast: float = 0.4, value: float = 1.0) -> WordMask:
    mask = np.asarray(mask, bool)
    return WordMask(np.where(mask, value, 0).astype(np.float32), mask, float(mask.mean()), contrast)


def left_side(shape: tuple[int, int] = (64, 48)) -> WordMask:
    mask = np.zeros(shape, bool)
    mask[:, :12] = True
    return word(mask)


@pytest.fixture
def make(tiny_encoders: Any) -> Any:
    """make_pair with everything good; a test spoils one thing."""
    rng = np.random.default_rng(3)
    seen = rng.normal(size=20).astype(np.float32)
    good: dict[str, Any] = {
        "caption": CAPTION,
        "seed": 11,
        "noun": BOAT,
        "word": left_side(),
        "features": torch.from_numpy(rng.normal(size=(4, 4, 24)).astype(np.float32)),
        "seen": seen / np.linalg.norm(seen),
        "options": CollectOptions(),
    }

    def call(**changes: Any) -> Pair | str:
        given = {**good, **changes}
        return make_pair(keys=NounKeys(tiny_encoders.clip, given["options"]), **given)

    call.good = good  # type: ignore[attr-defined]
    return call


def test_a_row(make: Any, tiny_encoders: Any) -> None:
    pair = make()
    assert isinstance(pair, Pair)
    # Sampled with aligned corners, the first of four columns is inside, the others are not.
    expected = np.mean([make.good["features"][i, 0].numpy() for i in range(4)], axis=0)
    np.testing.assert_allclose(pair.prototype.astype(np.float32), expected, atol=2e-3)
    key = NounKeys(tiny_encoders.clip, CollectOptions()).noun("boat")
    assert key is not None
    np.testing.assert_allclose(pair.key.astype(np.float32), key, atol=1e-3)
    agreement = sum(float(a) * float(b) for a, b in zip(make.good["seen"], key, strict=True))
    assert pair.agreement == pytest.approx(agreement, abs=1e-6)
    assert (pair.caption_id, pair.noun, pair.spans, pair.seed) == ("7", "boat", ((2, 6),), 11)
    assert pair.area == pytest.approx(1 / 4) and pair.contrast == 0.4
    assert pair.image is None and pair.mask is None
    twice = make(noun=Noun("boat", ((2, 6), (18, 23))))
    assert isinstance(twice, Pair) and twice.spans == ((2, 6), (18, 23))  # every occurrence is told


@pytest.mark.parametrize("key", ["caption", "token"])
def test_agreement_is_of_the_plain_noun_whatever_the_key(make: Any, key: Any) -> None:
    plain, other = make(), make(options=CollectOptions(key=key))
    assert isinstance(other, Pair) and other.agreement == plain.agreement
    assert not np.array_equal(other.key, plain.key)


def test_every_reason(make: Any) -> None:
    dot = np.zeros((64, 48), bool)
    dot[30, 20] = True
    agreement, endless = make().agreement, make.good["features"].clone()
    endless[0, 0] = 1e6  # more than float16 holds
    spoilt: dict[str, dict[str, Any]] = {
        "flat map": {"word": word(np.zeros((64, 48)))},
        "too small": {"word": word(dot)},
        "too large": {"word": word(np.ones((64, 48)))},
        "low contrast": {"options": CollectOptions(min_contrast=0.41)},
        "off grid": {"word": word(dot), "options": CollectOptions(min_area=0.0)},
        "no key": {"noun": Noun("x" * 200, ((2, 6),))},
        "not finite": {"features": endless},
        "low agreement": {"options": CollectOptions(min_agreement=agreement + 1e-4)},
    }
    for reason, changes in spoilt.items():
        assert make(**changes) == reason
    assert set(spoilt) | {"cut off"} <= set(REASONS) and len(set(REASONS)) == len(REASONS)


def test_filters_are_off_by_default_and_keep_what_reaches_them(make: Any) -> None:
    agreement = make().agreement
    kept = make(options=CollectOptions(min_contrast=0.4, min_agreement=max(-1.0, agreement - 1e-4)))
    assert isinstance(kept, Pair)
    for reached in ({"min_agreement": agreement}, {"min_area": 0.25}, {"max_area": 0.25}):
        assert isinstance(make(options=CollectOptions(**reached)), Pair), reached
    assert isinstance(make(word=replace(left_side(), contrast=-0.2)), Pair)
    assert make(word=word(left_side().mask & False, value=0)) == "flat map"
    empty = replace(left_side(), mask=left_side().mask & False, area=0.0)  # voted away: the map is not flat
    assert make(word=empty) == make(word=empty, options=CollectOptions(min_area=0.0)) == "too small"


def test_a_key_that_is_no_number(make: Any, tiny_encoders: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    real = tiny_encoders.clip.encode_text
    monkeypatch.setattr(tiny_encoders.clip, "encode_text", lambda *a, **k: real(*a, **k) * float("nan"))
    assert make() == "not finite"


@pytest.mark.parametrize("shape", [(64, 48), (512, 512), (300, 700), (1024, 333)])
def test_small_pictures_lie_over_each_other(shape: tuple[int, int]) -> None:
    y, x = np.mgrid[: shape[0], : shape[1]]
    mask = (x / shape[1] - 0.3) ** 2 + (y / shape[0] - 0.6) ** 2 < 0.06
    image = np.where(mask[..., None], (220, 40, 40), (20, 90, 160)).astype(np.uint8)
    seen = Image.open(io.BytesIO(small_jpeg(image)))
    cut = Image.open(io.BytesIO(small_png(mask)))
    assert seen.format == "JPEG" and cut.format == "PNG" and cut.mode == "1"
    assert seen.size == cut.size and max(seen.size) == min(256, max(shape))
    assert seen.size[0] / seen.size[1] == pytest.approx(shape[1] / shape[0], rel=0.02)
    red = np.asarray(seen)[..., 0] > 120
    assert (red != np.asarray(cut)).mean() < 0.02  # they differ along the border only


def test_kept_pictures_from_end_to_end(tmp_path: Path, tiny_preset: Preset, tiny_models: Any) -> None:
    """A bank of pictures larger than what is kept, read back row by row."""
    options = replace(tiny_preset.collect, size=320, steps=1, guidance=1.0, keep_images=True)
    drawn: dict[str, Any] = {}
    bank = collect(
        ["a boat on the water", "a dog and a cat on the grass"],
        tmp_path / "bank",
        tiny_preset,
        "cpu",
        options=options,
        models=tiny_models,
        on_picture=lambda c, image, words: drawn.update({c.id: (image, {n.lemma: w for n, w in words})}),
    )
    assert len(bank) >= 3
    for i in range(len(bank)):
        row = bank.row(i)
        image, words = drawn[row["caption_id"]]
        kept = Image.open(io.BytesIO(row["image"]))
        assert kept.size == (256, 256) and len(row["image"]) < 60_000
        expected = np.asarray(Image.fromarray(image).resize((256, 256), Image.Resampling.LANCZOS), float)
        assert np.abs(np.asarray(kept, float) - expected).mean() < 6  # of 255: what JPEG loses
        mask = np.asarray(Image.open(io.BytesIO(row["mask"])))
        at = ((np.arange(256) + 0.5) * 320 / 256).astype(int)
        assert mask.shape == (256, 256) and np.array_equal(mask, words[row["noun"]].mask[at][:, at])
        assert row["area"] == pytest.approx(words[row["noun"]].mask.mean())
