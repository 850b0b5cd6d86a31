"""Textual keys against their definitions, written with CLIP's own parts and without the package's encoder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from freeda.collection.nouns import Noun
from freeda.collection.pairs import NounKeys
from freeda.options import CollectOptions

CAPTION = "two people ride horses along the sandy beach while a boat sails near horses"
LONG = (
    " ".join(["a cat and a dog on the green grass"] * 5) + " beside a boat"
)  # over the 32 tokens of tiny CLIP


@pytest.fixture(scope="module")
def clip(tiny_clip: Path) -> Any:
    from transformers import CLIPModel

    return CLIPModel.from_pretrained(tiny_clip, dtype=torch.float32).eval()


def noun(word: str, caption: str, lemma: str | None = None) -> Noun:
    """Every occurrence of a word, by its place among the words."""
    spans, at = [], 0
    for part in caption.split(" "):
        if part == word:
            spans.append((at, at + len(part)))
        at += len(part) + 1
    return Noun(lemma or word, tuple(spans))


@torch.inference_mode()
def states(clip: Any, tokenizer: Any, text: str) -> tuple[np.ndarray, list[list[int]]]:
    """Projected final states of every position, the end token last, and the positions of every word.

    Words are tokenized one by one: byte-pair merges never cross a blank, so positions follow by counting.
    """
    pieces = [tokenizer(word, add_special_tokens=False)["input_ids"] for word in text.split(" ")]
    flat = [i for piece in pieces for i in piece]
    places, at = [], 1
    for piece in pieces:
        places.append(list(range(at, at + len(piece))))
        at += len(piece)
    room = tokenizer.model_max_length - 2
    ids = [tokenizer.bos_token_id, *flat[:room], tokenizer.eos_token_id]
    text_model = clip.text_model
    hidden = text_model(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states[-1][0]
    normal = torch.nn.functional.layer_norm(
        hidden,
        hidden.shape[-1:],
        text_model.final_layer_norm.weight,
        text_model.final_layer_norm.bias,
        text_model.final_layer_norm.eps,
    )
    return (normal @ clip.text_projection.weight.T).numpy().astype(np.float64), places


def there(key: Any) -> Any:
    assert key is not None
    return key


def unit(v: np.ndarray) -> np.ndarray:
    return v / np.sqrt((v**2).sum())


def template_key(clip: Any, tokenizer: Any, lemma: str, templates: tuple[str, ...]) -> np.ndarray:
    total = np.zeros(clip.config.projection_dim)
    for template in templates:
        # The full stop is a piece of its own, but stands without a blank before it.
        text = template.replace("{}", lemma).replace(".", " .")
        total += states(clip, tokenizer, text)[0][-1]
    return unit(total / len(templates))


def test_template(clip: Any, tiny_tokenizer: Any, tiny_encoders: Any) -> None:
    options = CollectOptions()
    keys = NounKeys(tiny_encoders.clip, options)
    for lemma in ("cat", "stop sign", "boat"):
        expected = template_key(clip, tiny_tokenizer, lemma, options.templates)
        np.testing.assert_allclose(there(keys(Noun(lemma, ((0, 3),)), CAPTION)), expected, atol=1e-5)
        np.testing.assert_allclose(there(keys.noun(lemma)), expected, atol=1e-5)


@pytest.mark.parametrize("weight", [0.0, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("caption", [CAPTION, "a boat", LONG])
def test_caption(clip: Any, tiny_tokenizer: Any, tiny_encoders: Any, weight: float, caption: str) -> None:
    options = CollectOptions(key="caption", key_weight=weight)
    found = NounKeys(tiny_encoders.clip, options)(noun("boat", caption), caption)
    mine = template_key(clip, tiny_tokenizer, "boat", options.templates)
    whole = unit(states(clip, tiny_tokenizer, caption)[0][-1])
    np.testing.assert_allclose(there(found), unit((1 - weight) * mine + weight * whole), atol=1e-5)


@pytest.mark.parametrize("word", ["people", "horses", "beach", "boat"])
def test_token(clip: Any, tiny_tokenizer: Any, tiny_encoders: Any, word: str) -> None:
    keys = NounKeys(tiny_encoders.clip, CollectOptions(key="token"))
    projected, places = states(clip, tiny_tokenizer, CAPTION)
    columns = [c for at, part in zip(places, CAPTION.split(" "), strict=True) if part == word for c in at]
    total = np.zeros(projected.shape[1])
    for column in columns:
        total += projected[column]
    found = keys(noun(word, CAPTION), CAPTION)
    np.testing.assert_allclose(there(found), unit(total / len(columns)), atol=1e-5)
    template = keys.noun(word)
    assert found is not None and template is not None and np.abs(found - template).max() > 0.01


def test_a_compound_takes_the_tokens_of_all_its_words(
    clip: Any, tiny_tokenizer: Any, tiny_encoders: Any
) -> None:
    caption = "a red stop sign beside a house"
    projected, places = states(clip, tiny_tokenizer, caption)
    columns = places[2] + places[3]
    at = caption.index("stop sign")
    found = NounKeys(tiny_encoders.clip, CollectOptions(key="token"))(
        Noun("stop sign", ((at, at + 9),)), caption
    )
    np.testing.assert_allclose(there(found), unit(projected[columns].mean(0)), atol=1e-5)


def test_a_caption_beyond_the_text_length_is_cut(clip: Any, tiny_tokenizer: Any, tiny_encoders: Any) -> None:
    """Occurrences that fit are taken, a noun that was cut off has no key in its context."""
    keys = NounKeys(tiny_encoders.clip, CollectOptions(key="token"))
    assert len(tiny_tokenizer(LONG)["input_ids"]) > tiny_tokenizer.model_max_length
    projected, places = states(clip, tiny_tokenizer, LONG)
    fit = [
        p for p, w in zip(places, LONG.split(" "), strict=True) if w == "cat" and p[-1] < len(projected) - 1
    ]
    assert 0 < len(fit) < LONG.split(" ").count("cat")
    expected = unit(projected[[c for p in fit for c in p]].mean(0))
    np.testing.assert_allclose(there(keys(noun("cat", LONG), LONG)), expected, atol=1e-5)
    assert keys(noun("boat", LONG), LONG) is None
    template = NounKeys(tiny_encoders.clip, CollectOptions())
    assert template(noun("boat", LONG), LONG) is not None


@pytest.mark.parametrize("key", ["template", "caption", "token"])
def test_keys_are_unit_vectors_whatever_was_asked_before(tiny_encoders: Any, key: str) -> None:
    options = CollectOptions(key=key)  # type: ignore[arg-type]
    busy, fresh = NounKeys(tiny_encoders.clip, options), NounKeys(tiny_encoders.clip, options)
    for word in ("people", "horses"):
        busy(noun(word, CAPTION), CAPTION)
    busy(noun("boat", "a boat"), "a boat")
    one, other = busy(noun("boat", CAPTION), CAPTION), fresh(noun("boat", CAPTION), CAPTION)
    assert one is not None and other is not None and one.dtype == np.float32
    assert np.array_equal(one, other) and np.linalg.norm(one) == pytest.approx(1, abs=1e-6)


def test_what_clip_cannot_read_has_no_key(tiny_encoders: Any) -> None:
    spoken = "a boat <|endoftext|> on water"
    for key in ("template", "caption", "token"):
        keys = NounKeys(tiny_encoders.clip, replace(CollectOptions(), key=key))
        assert keys(Noun("x" * 200, ((0, 3),)), CAPTION) is None
        assert (keys(noun("boat", spoken), spoken) is None) == (key != "template")


def test_models_loaded_for_other_options_still_make_the_keys_asked_for(tiny_encoders: Any) -> None:
    loaded = NounKeys(tiny_encoders.clip, CollectOptions())
    assert loaded.under(CollectOptions(threshold=0.5)) is loaded
    for change in ({"key": "token"}, {"key_weight": 0.1}, {"templates": ("a {}",)}):
        options = CollectOptions(**change)
        fresh = there(NounKeys(tiny_encoders.clip, options)(noun("boat", CAPTION), CAPTION))
        assert np.array_equal(there(loaded.under(options)(noun("boat", CAPTION), CAPTION)), fresh)
    options = CollectOptions(key="token")
    token = there(loaded.under(options)(noun("boat", CAPTION), CAPTION))
    assert not np.array_equal(token, there(loaded.noun("boat")))
