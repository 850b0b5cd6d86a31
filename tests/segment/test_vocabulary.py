from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from freeda.errors import BankError, InputError
from freeda.options import SegmentOptions
from freeda.segment.vocabulary import Vocabulary, WordEmbedder, build_vocabulary, parse_names
from plain_bank import PlainBank


@pytest.fixture()
def bank() -> PlainBank:
    rng = np.random.default_rng(0)
    keys = rng.normal(size=(30, 20)).astype(np.float32)
    keys /= np.linalg.norm(keys, axis=1, keepdims=True)
    return PlainBank(keys, rng.normal(size=(30, 24)).astype(np.float16))


def test_equals_the_definition(tiny_encoders: Any, bank: PlainBank) -> None:
    options = SegmentOptions(k=4)
    bank.prototypes[::3, 5] = np.nan
    bank.prototypes[1, 0] = np.inf
    vocabulary = build_vocabulary(WordEmbedder(tiny_encoders.clip), bank, ["cat", "stop sign"], options)
    for c, name in enumerate(["cat", "stop sign"]):
        prompts = [template.format(name) for template in options.templates]
        mean = sum(tiny_encoders.clip.encode_text([p])[0].double().numpy() for p in prompts) / len(prompts)
        text = mean / np.linalg.norm(mean)
        np.testing.assert_allclose(vocabulary.text_embeddings[c], text, atol=1e-6)
        nearest = np.argsort(-(bank.keys @ text))[:4]
        rows = [bank.prototypes[i].astype(float) for i in nearest if np.isfinite(bank.prototypes[i]).all()]
        np.testing.assert_allclose(vocabulary.prototypes[c], np.mean(rows, axis=0), atol=1e-6)
    assert vocabulary.text_embeddings.dtype == vocabulary.prototypes.dtype == np.float32


def test_k_beyond_the_bank_takes_all(tiny_encoders: Any, bank: PlainBank) -> None:
    embed = WordEmbedder(tiny_encoders.clip)
    vocabulary = build_vocabulary(embed, bank, ["cat"], SegmentOptions(k=10_000))
    np.testing.assert_allclose(vocabulary.prototypes[0], bank.prototypes.astype(float).mean(0), atol=1e-6)


def test_synonyms_are_averaged_before_normalising(tiny_encoders: Any, bank: PlainBank) -> None:
    embed, options = WordEmbedder(tiny_encoders.clip), SegmentOptions()
    vocabulary = build_vocabulary(embed, bank, {"sofa": ["couch", "settee"], "cat": []}, options)
    assert vocabulary.names == ("sofa", "cat")
    assert vocabulary.words == (("sofa", "couch", "settee"), ("cat",))
    mean = embed(["sofa", "couch", "settee"], options.templates).mean(0).numpy()
    np.testing.assert_allclose(vocabulary.text_embeddings[0], mean / np.linalg.norm(mean), atol=1e-6)


def test_a_word_is_encoded_once(tiny_encoders: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    clip, encode = tiny_encoders.clip, tiny_encoders.clip.encode_text
    monkeypatch.setattr(clip, "encode_text", lambda texts, **how: asked.extend(texts) or encode(texts, **how))
    embed = WordEmbedder(clip)
    embed(["cat", "dog", "cat"], ("a {}.",))
    embed(["dog", "boat"], ("a {}.",))
    embed(["dog"], ("the {}.",))
    assert asked == ["a cat.", "a dog.", "a boat.", "the dog."]


def test_braces_in_a_name_are_plain_text(tiny_encoders: Any, bank: PlainBank) -> None:
    build_vocabulary(WordEmbedder(tiny_encoders.clip), bank, ["{0}", "{"], SegmentOptions(k=2))


@pytest.mark.parametrize(
    ("names", "says"),
    [
        ([], "empty"),
        ({}, "empty"),
        ("cat, dog; cat", "'cat' is given twice"),
        (["cat", " "], "blank"),
        (["cat", "dog", "cat"], "'cat' is given twice"),
        (["stop sign", "Stop  Sign"], "'Stop Sign' is given twice"),
        (["cat", 3], "3 is not a string"),
        ({"sofa": "couch"}, "synonyms of class 'sofa'"),
        ({"sofa": [""]}, "blank"),
    ],
)
def test_unusable_names(names: Any, says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        parse_names(names)
    assert "\n" not in str(caught.value)


def test_white_space_is_tidied() -> None:
    assert parse_names([" traffic \n light "]) == {"traffic light": ("traffic light",)}


def test_a_name_beyond_the_tokenizer_is_named(tiny_encoders: Any, bank: PlainBank) -> None:
    options = SegmentOptions(templates=("{}", "itap of a {}."))
    says = r"word 'cat cat .*\.\.\.' in template '{}' is 52 tokens long: this model reads at most 32"
    with pytest.raises(InputError, match=says):
        build_vocabulary(WordEmbedder(tiny_encoders.clip), bank, ["dog", "cat " * 50], options)
    with pytest.raises(InputError, match=r"word 'cat cat .*' in template 'itap of a {}\.' is 35 tokens"):
        build_vocabulary(WordEmbedder(tiny_encoders.clip), bank, ["dog", "cat " * 29], options)


@pytest.mark.parametrize("name", ["🦊", "قطة", "ünïcödé", "日本"])
def test_any_script_is_read(tiny_encoders: Any, bank: PlainBank, name: str) -> None:
    vocabulary = build_vocabulary(WordEmbedder(tiny_encoders.clip), bank, [name], SegmentOptions(k=3))
    assert np.isfinite(vocabulary.text_embeddings).all()


def test_everything_else_is_one_label_of_many_words(tiny_encoders: Any, bank: PlainBank) -> None:
    embed = WordEmbedder(tiny_encoders.clip)
    options = SegmentOptions(k=4, others=" everything  else ", other_words=("sky", "cats", "tree", "sky"))
    made = build_vocabulary(embed, bank, {"cat": ["puss"], "boat": []}, options)
    assert made.names == ("cat", "boat", "everything else") and len(made) == 3
    assert made.words == (("cat", "puss"), ("boat",), ("sky", "tree"))
    assert made.label is not None and made.label.tolist() == [0, 1, 2, 2] and made.owner is None
    alone = build_vocabulary(embed, bank, ["boat", "sky", "tree"], SegmentOptions(k=4))
    np.testing.assert_allclose(made.text_embeddings[1:], alone.text_embeddings, atol=1e-6)
    np.testing.assert_allclose(made.prototypes[1:], alone.prototypes, atol=1e-6)
    with pytest.raises(InputError, match="'sky' is taken by option others='sky'"):
        build_vocabulary(embed, bank, ["Sky"], SegmentOptions(others="sky"))
    with pytest.raises(InputError, match="every word of other_words is part of a class name"):
        build_vocabulary(embed, bank, ["big cat"], SegmentOptions(others="rest", other_words=("cats",)))


def test_everything_else_takes_what_its_words_win(tiny_model: Any) -> None:
    """The labels are those of a list with the other words as classes, these renamed to one."""
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    scene = tiny_model.encode(image)
    apart = tiny_model.segment(scene, ["cat", "boat", "sky", "tree"])
    joined = tiny_model.segment(scene, ["cat", "boat"], others="rest", other_words=("sky", "tree"))
    assert joined.names == ("cat", "boat", "rest")
    assert np.array_equal(joined.labels, np.minimum(apart.labels, 2))
    assert set(np.unique(apart.labels)) >= {0, 2} or len(np.unique(apart.labels)) > 1
    assert np.array_equal(joined.scores(["rest"])[0], apart.scores(["sky", "tree"]).max(axis=0))


def test_classes_may_share_a_synonym(tiny_encoders: Any, bank: PlainBank) -> None:
    embed = WordEmbedder(tiny_encoders.clip)
    made = build_vocabulary(embed, bank, {"cat": ["pet"], "dog": ["pet"]}, SegmentOptions(k=3))
    assert made.words == (("cat", "pet"), ("dog", "pet"))


@pytest.mark.parametrize(
    "parts",
    [
        {"names": ("a",)},
        {"owner": np.array([0, 1, 1])},
        {"owner": np.array([1, 0])},
        {"owner": np.array([0, 0])},
        {"owner": np.array([1, 2])},
        {"label": np.array([0, 0])},
        {"label": np.array([0, 2])},
    ],
)
def test_a_vocabulary_whose_parts_do_not_fit(parts: dict[str, Any]) -> None:
    whole = {
        "names": ("a", "b"),
        "text_embeddings": np.eye(2, dtype=np.float32),
        "prototypes": np.ones((2, 3), np.float32),
    }
    Vocabulary(**whole)
    with pytest.raises(InputError, match="see Vocabulary"):
        Vocabulary(**{**whole, **parts})


def test_a_bank_without_use(tiny_encoders: Any, bank: PlainBank) -> None:
    embed = WordEmbedder(tiny_encoders.clip)
    bank.prototypes[:] = np.nan
    with pytest.raises(BankError, match="'cat': none of the 5"):
        build_vocabulary(embed, bank, ["cat"], SegmentOptions(k=5))
    with pytest.raises(BankError, match="no pairs"):
        build_vocabulary(embed, PlainBank(bank.keys[:0], bank.prototypes[:0]), ["cat"], SegmentOptions())
