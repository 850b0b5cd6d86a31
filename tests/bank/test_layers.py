"""Banks read as one, against rows put under one another; a grown word's own references alone answer it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freeda.bank import Bank, Pair
from freeda.bank.exact import FlatIndex
from freeda.bank.format import shard_name, write_shard
from freeda.bank.layered import NEAR, SAME, GrownBank, LayeredBank, StackedRows
from freeda.bank.manifest import finish_bank
from freeda.errors import BankError

RNG = np.random.default_rng(0)
MODELS = {"clip": {"id": "a-b"}, "dense": {"id": "c-d"}, "clip_dim": 6, "dense_dim": 5}


def make(folder: Path, keys: np.ndarray, nouns: list[str], models: dict = MODELS, seed: int = 0) -> Bank:
    rng = np.random.default_rng(seed)
    pairs = [
        Pair(
            caption_id=str(i),
            caption=noun,
            noun=noun,
            spans=((0, len(noun)),),
            seed=i,
            key=key.astype(np.float16),
            prototype=rng.normal(size=5).astype(np.float16),
            area=0.1,
            contrast=0.1,
            agreement=0.1,
        )
        for i, (key, noun) in enumerate(zip(keys, nouns, strict=True))
    ]
    n = len(pairs)
    about = {"settings": {}, "digest": "", "captions": n, "pictures": n, "rejected": {}, "failed": []}
    write_shard(folder / shard_name(0), pairs, about)
    finish_bank(folder, 1, {"preset": "p", "models": models, "seed": 0})
    return Bank.open(folder)


def unit(*shape: int) -> np.ndarray:
    x = RNG.normal(size=shape)
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


@pytest.fixture
def banks(tmp_path: Path) -> list[Bank]:
    shared = unit(3, 6)  # equal keys in different banks
    return [
        make(tmp_path / str(i), np.concatenate([unit(n, 6), shared]), [f"n{j}" for j in range(n + 3)], seed=i)
        for i, n in enumerate((7, 1, 12))
    ]


@pytest.mark.parametrize("k", [1, 2, 5, 23, 29, 100])
def test_layers_answer_as_one_bank(banks: list[Bank], k: int) -> None:
    layered = LayeredBank(banks)
    keys = np.concatenate([bank.keys for bank in banks]).astype(np.float32)
    queries = np.concatenate([unit(4, 6), keys[[7, 9, 28]]]).astype(np.float32)
    scores, rows = layered.search(queries, k)
    for query, found, where in zip(queries, scores, rows, strict=True):
        true = keys @ query
        order = sorted(range(len(keys)), key=lambda i: (-true[i], i))[:k]
        np.testing.assert_allclose(found, true[order], atol=1e-5)
        if k in (1, 2, 5):  # apart from rounding, the same rows in the same order
            assert sorted(where) == sorted(order) or np.allclose(true[where], true[order], atol=1e-5)
    assert len(layered) == 29 and layered.nouns == [noun for bank in banks for noun in bank.nouns]
    np.testing.assert_array_equal(
        layered.prototypes[rows], np.concatenate([bank.prototypes for bank in banks])[rows]
    )


def test_equal_keys_come_in_row_order(banks: list[Bank]) -> None:
    query = np.asarray(banks[0].keys[7:8], np.float32)
    assert LayeredBank(banks).search(query, 3)[1].tolist() == [[7, 11, 26]]


def test_single_rows_are_those_of_the_banks(banks: list[Bank]) -> None:
    layered = LayeredBank(banks)
    every = [bank.row(i) for bank in banks for i in range(len(bank))]
    for i in range(-len(every), len(every)):
        found = layered.row(i)
        for name, value in every[i].items():
            np.testing.assert_array_equal(found[name], value)
    for beyond in (len(every), -len(every) - 1):
        with pytest.raises(IndexError, match=f"row {beyond} of banks of {len(every)}"):
            layered.row(beyond)


def test_some_words_of_a_bank_alone(banks: list[Bank]) -> None:
    whole = banks[2]
    part, rows = whole.only(["n3", "n0", "n14", "none"]), [0, 3, 14]
    assert (len(part), list(part.nouns), part.nouns.different) == (
        3,
        ["n0", "n3", "n14"],
        ("n0", "n3", "n14"),
    )
    np.testing.assert_array_equal(part.keys, whole.keys[rows])
    np.testing.assert_array_equal(part.prototypes, whole.prototypes[rows])
    assert [part.row(i)["noun"] for i in (0, 2, -1)] == ["n0", "n14", "n14"]
    query = np.asarray(whole.keys[4:5], np.float32)
    assert sorted(part.search(query, 9)[1][0].tolist()) == [0, 1, 2]
    assert len({part.identity, whole.identity, whole.only(["n3"]).identity}) == 3
    assert GrownBank(banks[0], part).search(query, 50)[1].max() < len(banks[0]) + 3


def test_what_is_kept_is_told_apart_by_banks_and_by_how_they_are_searched(
    banks: list[Bank], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert LayeredBank(banks).cache is None  # small ones keep nothing
    monkeypatch.setattr("freeda.bank.bank.LARGE", 5)
    a, b, c = banks
    near = Bank.open(c.path, index="approximate")
    kinds: list[LayeredBank] = [LayeredBank([a, c]), LayeredBank([c, a]), LayeredBank([a, b])]
    kinds += [LayeredBank([a, near]), GrownBank(a, c), GrownBank(None, a, c), LayeredBank([a, b, c])]
    row, keys = np.ones(6, np.float32), []
    for bank in (*kinds, LayeredBank([Bank.open(a.path), Bank.open(c.path)])):
        assert bank.cache is not None
        keys.append(bank.cache.key(row, ""))
    assert len(set(keys)) == len(kinds) and keys[-1] == keys[0]


def test_banks_of_other_models_and_no_bank(tmp_path: Path) -> None:
    a = make(tmp_path / "a", unit(2, 6), ["x", "y"])
    b = make(tmp_path / "b", unit(2, 6), ["x", "y"], {**MODELS, "clip": {"id": "other-one"}})
    with pytest.raises(BankError, match="other-one"):
        LayeredBank([a, b])
    with pytest.raises(BankError, match="no bank"):
        LayeredBank([])
    with pytest.raises(BankError, match="other-one"):
        LayeredBank([a]).check_models(b.meta["models"])


def own(base: np.ndarray, layer: np.ndarray, query: np.ndarray, k: int) -> list[int]:
    """The definition: the k best; where one of the layer's is nearest and near, only what is as near."""
    keys = np.concatenate([base, layer])
    true = keys @ query
    order = sorted(range(len(keys)), key=lambda i: (-true[i], i))[:k]
    best = true[order[0]]
    nearest = [i for i in order if true[i] >= best - SAME]
    if any(i >= len(base) and true[i] >= NEAR for i in nearest):
        return nearest
    return order


@settings(max_examples=40)
@given(seed=st.integers(0, 10**6), k=st.integers(1, 30), n=st.integers(1, 12), m=st.integers(1, 6))
def test_grown_words_equal_the_definition(
    seed: int, k: int, n: int, m: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    rng = np.random.default_rng(seed)
    words = rng.normal(size=(4, 6))
    words /= np.linalg.norm(words, axis=1, keepdims=True)
    base_keys = words[rng.integers(0, 3, n)].astype(np.float16).astype(np.float32)
    layer_keys = words[rng.integers(2, 4, m)].astype(np.float16).astype(np.float32)
    folder = tmp_path_factory.mktemp("grown")
    base = make(folder / "a", base_keys, ["x"] * n)
    layer = make(folder / "b", layer_keys, ["y"] * m)
    queries = words.astype(np.float32)
    parts = [
        make(folder / str(start), layer_keys[start : start + 2], ["y"] * len(layer_keys[start : start + 2]))
        for start in range(0, m, 2)
    ]
    none = base_keys[:0]
    for bank, below in (
        (GrownBank(base, layer), base_keys),
        (GrownBank(None, layer), none),
        (GrownBank(base, *parts), base_keys),
        (GrownBank(None, *parts), none),
    ):
        scores, rows = bank.search(queries, k)
        for query, found, where in zip(queries, scores, rows, strict=True):
            expected = own(below, layer_keys, query, k)
            there = where >= 0
            assert where[there].tolist() == expected or np.allclose(
                found[there], (np.concatenate([below, layer_keys]) @ query)[expected], atol=1e-6
            )
            assert there.sum() == len(expected) and np.isneginf(found[~there]).all()
            assert np.isfinite(bank.prototypes[where[there]].astype(float)).all()


def test_rows_beyond_the_end_and_forms_of_index() -> None:
    parts = [np.arange(6, dtype=np.float16).reshape(3, 2), np.arange(4, dtype=np.float16).reshape(2, 2) + 10]
    whole, stacked = np.concatenate(parts), StackedRows(parts)
    assert stacked.shape == (5, 2) and len(stacked) == 5
    for index in (0, -1, [4, 0, 4], [[1, 2], [3, -5]], slice(1, 4), slice(None, None, 2), []):
        expected = whole[np.asarray(index, int)] if isinstance(index, list) else whole[index]
        np.testing.assert_array_equal(stacked[index], expected)
    for beyond in (5, -6, [0, 5]):
        with pytest.raises(IndexError):
            stacked[beyond]


@pytest.mark.parametrize("parts", [1, 3])
def test_by_prototype(tmp_path: Path, parts: int) -> None:
    """By cosine, over banks read as one too; a row of zeros is like nothing."""
    rng = np.random.default_rng(parts)
    banks = [make(tmp_path / str(i), rng.normal(size=(7, 6)), list("abcdefg"), seed=i) for i in range(parts)]
    whole = banks[0] if parts == 1 else GrownBank(banks[0], *banks[1:])
    rows = np.concatenate([np.asarray(b.prototypes, np.float64) for b in banks])
    queries = rng.normal(size=(4, 5)).astype(np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    scores, found = whole.search(queries, 5, "prototype")
    cosine = queries @ (rows / np.linalg.norm(rows, axis=1, keepdims=True)).T
    assert np.array_equal(found, np.argsort(-cosine, axis=1)[:, :5])
    np.testing.assert_allclose(scores, np.take_along_axis(cosine, found, 1), atol=1e-3)
    flat = FlatIndex(np.array([[0, 0], [0, 3], [2, 2]], np.float16), cosine=True)
    assert flat.search(np.array([[0, 1]], np.float32), 3)[1].tolist() == [[1, 2, 0]]
