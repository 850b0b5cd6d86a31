"""What is made of a class's nearest references, against sorting and loops."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freeda.errors import BankError
from freeda.options import SegmentOptions
from freeda.segment.prototypes import class_prototypes, k_means, retrieve, starting_rows
from plain_bank import PlainBank


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def nearest(bank: PlainBank, query: np.ndarray, options: SegmentOptions) -> list[np.ndarray]:
    """The definition: the k nearest keys, those with a finite prototype, those that are similar enough."""
    order = sorted(range(len(bank)), key=lambda i: (-float(query @ bank.keys[i]), i))[: options.k]
    good = [i for i in order if all(map(np.isfinite, bank.prototypes[i]))]
    if options.min_similarity is not None:
        good = [i for i in good if i == good[0] or query @ bank.keys[i] >= options.min_similarity]
    return [bank.prototypes[i].astype(float) for i in good]


@settings(max_examples=60)
@given(
    n=st.integers(1, 40),
    classes=st.integers(1, 4),
    k=st.integers(1, 60),
    min_similarity=st.sampled_from([None, -1.0, -0.2, 0.3, 1.0]),
    broken=st.booleans(),
    seed=st.integers(0, 10**6),
)
def test_mean_and_all_equal_the_definition(
    n: int, classes: int, k: int, min_similarity: float | None, broken: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    bank = PlainBank(
        unit(rng.normal(size=(n, 5))).astype(np.float32), rng.normal(size=(n, 6)).astype(np.float16)
    )
    text = unit(rng.normal(size=(classes, 5))).astype(np.float32)
    if broken:
        bank.prototypes[rng.random(n) < 0.3, rng.integers(6)] = rng.choice([np.nan, np.inf, -np.inf])
    options = SegmentOptions(k=k, min_similarity=min_similarity)
    expected = [nearest(bank, query, options) for query in text]
    words = [f"word {i}" for i in range(classes)]
    if any(not rows for rows in expected):
        with pytest.raises(BankError, match="none of the"):
            class_prototypes(bank, text, words, options)
        return
    mean, owner = class_prototypes(bank, text, words, options)
    assert owner is None and mean.dtype == np.float32
    np.testing.assert_allclose(mean, [np.mean(rows, axis=0) for rows in expected], atol=1e-5)
    for kind in ("all", "knn-vote"):
        kept, owner = class_prototypes(bank, text, words, replace(options, prototypes=kind))
        np.testing.assert_array_equal(kept, np.concatenate(expected).astype(np.float32))
        if owner is None:
            assert all(len(rows) == 1 for rows in expected)
        else:
            assert owner.tolist() == [c for c, rows in enumerate(expected) for _ in rows]


def test_what_is_looked_up_at_once_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 60 words with 500 neighbours of 512 bytes each, 15 MB, no more than a part is held."""
    rng = np.random.default_rng(0)
    bank = PlainBank(rng.normal(size=(500, 5)).astype("f4"), rng.normal(size=(500, 256)).astype("f2"))
    text, words = rng.normal(size=(60, 5)).astype("f4"), [str(i) for i in range(60)]
    whole = class_prototypes(bank, text, words, SegmentOptions(k=500))[0]
    monkeypatch.setattr("freeda.segment.prototypes._HELD", 2**20)
    tracemalloc.start()
    try:
        found = class_prototypes(bank, text, words, SegmentOptions(k=500))[0]
        assert tracemalloc.get_traced_memory()[1] < 6e6
    finally:
        tracemalloc.stop()
    np.testing.assert_array_equal(found, whole)


@settings(max_examples=60)
@given(n=st.integers(1, 60), k=st.integers(1, 40), shared=st.floats(0, 1), seed=st.integers(0, 10**6))
def test_references_from_pictures_lead_wherever_they_stand(n: int, k: int, shared: float, seed: int) -> None:
    """Of a word that has any only its rows count, and ten of them weigh as much as all drawn ones."""
    rng = np.random.default_rng(seed)
    words = unit(rng.normal(size=(5, 6)))
    keys, real = words[rng.integers(0, 4, n)], np.flatnonzero(rng.random(n) < shared * rng.random())
    bank = PlainBank(keys.astype(np.float32), rng.normal(size=(n, 3)).astype(np.float16))
    bank.real = real  # type: ignore[attr-defined]
    expected, behind = [], []
    for query in words:
        cosine = keys @ query
        order = sorted(range(n), key=lambda i: (-round(cosine[i], 5), i))
        own = [i for i in order if i in real and cosine[i] > max(0.9, cosine.max() - 0.01)][:k]
        drawn = [i for i in order[:k] if not own or (i not in real and cosine[i] > cosine.max() - 0.01)]
        weight = 10 / len(drawn) if own and len(drawn) > 10 else 1
        rows = [*((i, 1) for i in own), *((i, weight) for i in drawn)]
        total = sum(w * bank.prototypes[i].astype(float) for i, w in rows)
        expected.append(total / sum(w for _, w in rows))
        behind.append([i for i, _ in rows])
    text, options = words.astype(np.float32), SegmentOptions(k=k)
    mean, _ = class_prototypes(bank, text, "abcde", options)
    np.testing.assert_allclose(mean, expected, atol=1e-5)
    assert [one.rows.tolist() for one in retrieve(bank, text, options)] == behind


def test_keys_that_are_not_finite_are_no_neighbours() -> None:
    from freeda.bank.exact import FlatIndex

    keys = np.eye(3, dtype=np.float16)
    keys[1] = np.nan
    bank = PlainBank(keys, np.arange(6, dtype=np.float16).reshape(3, 2))
    bank.search = FlatIndex(keys).search  # type: ignore[method-assign]
    mean, _ = class_prototypes(bank, np.eye(1, 3, dtype=np.float32), ["a"], SegmentOptions(k=3))
    np.testing.assert_array_equal(mean, [bank.prototypes[[0, 2]].astype(float).mean(axis=0)])


def slow_k_means(rows: np.ndarray, clusters: int, spherical: bool) -> np.ndarray:
    """Lloyd's algorithm, point by point, to the end, from the same beginning."""
    points = [r / np.linalg.norm(r) if spherical else r for r in rows.astype(float)]
    centres = [points[i] for i in starting_rows(np.array(points), clusters)]
    before: list[int] = []
    while True:
        if spherical:
            nearest = [int(np.argmax([p @ c for c in centres])) for p in points]
        else:
            nearest = [int(np.argmin([((p - c) ** 2).sum() for c in centres])) for p in points]
        if nearest == before:
            return np.array([centres[c] for c in sorted(set(nearest))])
        before = nearest
        for c in range(len(centres)):
            members = [p for p, own in zip(points, nearest, strict=True) if own == c]
            if members:
                mean = np.mean(members, axis=0)
                centres[c] = mean / np.linalg.norm(mean) if spherical else mean


@pytest.mark.parametrize("spherical", [True, False])
@pytest.mark.parametrize(("n", "clusters"), [(1, 1), (2, 1), (9, 2), (40, 5), (60, 59)])
def test_k_means_equals_the_slow_one(n: int, clusters: int, spherical: bool) -> None:
    rng = np.random.default_rng(n)
    rows = (rng.normal(size=(n, 4)) + 4 * rng.integers(-1, 2, (n, 1))).astype(np.float32)
    found = k_means(rows, clusters, spherical)
    if n > clusters:
        np.testing.assert_allclose(found, slow_k_means(rows, clusters, spherical), atol=1e-5)
    assert np.array_equal(found, k_means(rows, clusters, spherical))
    if spherical:
        np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1.0, atol=1e-5)


def test_k_means_begins_at_distinct_rows_far_apart() -> None:
    rng = np.random.default_rng(5)
    points = np.concatenate([rng.normal(c, 0.01, (30, 2)) for c in ((0, 0), (50, 0), (0, 50), (50, 50))])
    chosen = starting_rows(points, 4)
    assert len({i // 30 for i in chosen}) == 4
    assert len(starting_rows(points[:3].repeat(4, axis=0), 9)) == 3


def test_k_means_finds_clumps_and_survives_repeats() -> None:
    clumps = np.repeat([[0.0, 9.0], [9.0, 0.0], [9.0, 9.0]], 20, axis=0).astype(np.float32)
    found = k_means(clumps, 3, spherical=False)
    assert {tuple(c) for c in found.round(3).tolist()} == {(0.0, 9.0), (9.0, 0.0), (9.0, 9.0)}
    assert len(k_means(np.ones((10, 3), np.float32), 4, spherical=False)) == 1
    few = np.array([[3.0, 4.0]], np.float32)
    np.testing.assert_array_equal(k_means(few, 8, spherical=False), few)
    np.testing.assert_allclose(k_means(few, 8, spherical=True), [[0.6, 0.8]], atol=1e-7)


def test_clusters_stand_for_their_class(tiny_model: Any) -> None:
    made = tiny_model.vocabulary(["cat", "boat"], prototypes="k-means", clusters=3, k=12)
    assert made.owner is not None and set(made.owner.tolist()) == {0, 1}
    # Both words at once, as above: of keys that are equal, rounding decides which comes first.
    every = tiny_model.vocabulary(["cat", "boat"], prototypes="all", k=12)
    for c in range(2):
        expected = k_means(every.prototypes[every.owner == c], 3, spherical=True)
        np.testing.assert_allclose(made.prototypes[made.owner == c], expected, atol=1e-6)


def test_an_empty_bank() -> None:
    bank = PlainBank(np.zeros((0, 3), np.float32), np.zeros((0, 4), np.float16))
    with pytest.raises(BankError, match="no pairs"):
        class_prototypes(bank, np.eye(1, 3, dtype=np.float32), ["cat"], SegmentOptions())
