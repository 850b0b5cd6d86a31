"""What lies behind a word's prototype, against counting in loops."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import pytest

from freeda.errors import InputError
from freeda.model import FreeDA
from freeda.options import SegmentOptions
from freeda.segment.coverage import ENOUGH, Coverage, coverage, not_in_bank


class NamedRows:
    """Retrieval by sorting, in memory; `short` leaves places out as a grown word does."""

    def __init__(self, keys: np.ndarray, prototypes: np.ndarray, nouns: list[str], short: bool = False):
        self.keys, self.prototypes, self.nouns, self.short = keys, prototypes, nouns, short

    def __len__(self) -> int:
        return len(self.keys)

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        scores = queries @ self.keys.T
        rows = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        scores = np.take_along_axis(scores, rows, axis=1)
        if self.short:
            gone = scores < scores[:, :1] - 0.5
            scores, rows = np.where(gone, -np.inf, scores), np.where(gone, -1, rows)
        return scores, rows


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("short", [False, True])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_equals_the_definition(seed: int, short: bool, dtype: type) -> None:
    rng = np.random.default_rng(seed)
    n, k, words = int(rng.integers(1, 60)), int(rng.integers(1, 80)), int(rng.integers(1, 5))
    centres = unit(rng.normal(size=(4, 3)))
    keys = unit(centres[rng.integers(0, 4, n)] + 0.2 * rng.normal(size=(n, 3))).astype(np.float32)
    prototypes = rng.normal(size=(n, 5)).astype(dtype)
    prototypes[rng.random(n) < 0.1] = np.nan
    prototypes[rng.random(n) < 0.1] = 0
    nouns = [f"noun {i}" for i in rng.integers(0, 6, n)]
    text = unit(rng.normal(size=(words, 3))).astype(np.float32)
    bank = NamedRows(keys, prototypes, nouns, short)
    least = None if seed % 3 else 0.9  # `min_similarity`, but for the nearest
    options = SegmentOptions(k=k, min_similarity=least)
    found = coverage(bank, text, [f"w{i}" for i in range(words)], options)
    for i, one in enumerate(found):
        scores = sorted(((float(text[i] @ key), -row) for row, key in enumerate(keys)), reverse=True)[:k]
        if short:
            scores = [s for s in scores if s[0] >= scores[0][0] - 0.5]
        scores = [s for s in scores if all(math.isfinite(v) for v in prototypes[-s[1]])]
        if least is not None:
            scores = [s for s in scores if s[0] >= min(least, scores[0][0])]
        if not scores:
            assert one.retrieved == 0 and one.poor and math.isnan(one.nearest)
            continue
        rows = [-row for _, row in scores]
        directions = []
        for row in rows:
            length = math.sqrt(sum(float(v) ** 2 for v in prototypes[row]))
            if math.isfinite(length) and length > 0:
                directions.append([float(v) / length for v in prototypes[row]])
        mean = [sum(d[j] for d in directions) / len(directions) for j in range(5)] if directions else None
        assert one.word == f"w{i}" and one.retrieved == len(rows)
        assert one.nearest == pytest.approx(scores[0][0], abs=1e-6)
        assert one.mean == pytest.approx(sum(s for s, _ in scores) / len(scores), abs=1e-6)
        assert one.near == sum(s >= 0.9 for s, _ in scores)
        assert one.nouns == len({nouns[row] for row in rows})
        counted = Counter(nouns[row] for row in rows)
        assert all(counted[noun] == count for noun, count in one.most) and len(one.most) <= 3
        assert one.most[0][1] == max(counted.values())
        expected = math.nan if mean is None else math.sqrt(sum(v * v for v in mean))
        assert one.agreement == pytest.approx(expected, abs=1e-5, nan_ok=True)


def test_poor_is_too_few_near_keys() -> None:
    def one(near: int, retrieved: int) -> Coverage:
        return Coverage("w", 1.0, 1.0, retrieved, near, 1, (("w", 1),), 1.0)

    assert one(0, 350).poor and one(ENOUGH - 1, 350).poor and not one(ENOUGH, 350).poor
    assert not one(2, 2).poor and one(1, 2).poor and one(0, 0).poor


def test_an_empty_bank_covers_nothing() -> None:
    bank = NamedRows(np.zeros((0, 3), np.float32), np.zeros((0, 5), np.float16), [])
    (found,) = coverage(bank, unit(np.ones((1, 3))).astype(np.float32), ["w"], SegmentOptions())
    assert found.poor and found.retrieved == 0 and math.isnan(found.nearest)


def test_which_words_are_not_in_a_bank() -> None:
    """By the nouns of all rows, not only of those retrieved; told with those that answered."""
    nouns = ["Cat", "dog", "brick wall", "", "sofa", "pony"]
    bank = NamedRows(np.zeros((6, 3), np.float32), np.zeros((6, 5), np.float16), nouns)
    classes = {"cat": ("cat",), "couch": ("couch", "Sofa"), "okapi": ("okapi",), "brick": ("brick",)}
    behind = [("dog",), ("dog", "sofa"), ("", "pony", "dog", "cat", "sofa"), ("brick wall",)]
    found = not_in_bank(bank, classes, behind)
    assert found == {"okapi": ("pony", "dog", "cat"), "brick": ("brick wall",)}
    assert not_in_bank(bank, {"okapi": ("okapi",)}, [("",)]) == {}  # rows whose noun is blank say nothing
    assert not_in_bank(bank, classes, [*behind[:3], None]) is None


def test_a_model_tells_of_every_class_and_of_no_word_that_nobody_typed(tiny_model: Any) -> None:
    found = tiny_model.coverage({"cat": ["puss"], "dog": []}, others="rest", k=4)
    assert [c.word for c in found] == ["cat", "dog"]
    assert all(c.retrieved == 4 for c in found)
    vocabulary = tiny_model.vocabulary({"cat": ["puss"], "dog": []}, k=4)
    scores, _ = tiny_model.bank.search(vocabulary.text_embeddings, 1)
    np.testing.assert_allclose([c.nearest for c in found], scores[:, 0], atol=1e-6)


def test_coverage_needs_a_bank_with_nouns(tiny_model: Any) -> None:
    bare = NamedRows(np.ones((1, 20), np.float32), np.ones((1, 24), np.float16), ["x"])
    del bare.nouns
    for bank in (None, bare):
        with pytest.raises(InputError, match="nouns"):
            FreeDA(tiny_model.preset, tiny_model.encoders, bank).coverage(["cat"])
