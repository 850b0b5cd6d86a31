"""Exact search against a sort of all inner products."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from freeda.bank import exact
from freeda.bank.exact import FlatIndex
from freeda.errors import InputError


@given(
    n=st.integers(1, 40),
    q=st.integers(0, 4),
    k=st.integers(1, 50),
    levels=st.integers(1, 3),
    seed=st.integers(0, 99),
    block=st.integers(1, 50),
)
def test_equals_sorting_everything(n: int, q: int, k: int, levels: int, seed: int, block: int) -> None:
    rng = np.random.default_rng(seed)
    keys = rng.integers(-levels, levels + 1, (n, 3)).astype(np.float16)  # small integers: ties, no rounding
    queries = rng.integers(-levels, levels + 1, (q, 3)).astype(np.float32)
    before = exact._KEYS
    exact._KEYS = block
    try:
        scores, rows = FlatIndex(keys).search(queries, k)
    finally:
        exact._KEYS = before
    assert (
        scores.shape == rows.shape == (q, min(k, n)) and scores.dtype == np.float32 and rows.dtype == np.int64
    )
    for i in range(q):
        products = [sum(float(a) * float(b) for a, b in zip(queries[i], key, strict=True)) for key in keys]
        expected = sorted(range(n), key=lambda j: (-products[j], j))[:k]
        assert rows[i].tolist() == expected
        assert scores[i].tolist() == [products[j] for j in expected]


def test_broken_keys_come_last() -> None:
    keys = np.array([[np.nan, 0], [-1, 0], [np.inf, 0], [1, 0]], np.float32)
    scores, rows = FlatIndex(keys).search(np.array([[1, 0]], np.float32), 4)
    assert rows[0].tolist() == [3, 1, 0, 2] and np.isneginf(scores[0, 2:]).all()


def test_bad_queries() -> None:
    flat = FlatIndex(np.zeros((4, 3), np.float16))
    for queries, k, says in (
        (np.zeros((1, 2)), 1, "shape"),
        (np.zeros(3), 1, "shape"),
        (np.zeros((1, 3)), 0, "k is 0"),
        (np.full((1, 3), np.nan), 1, "NaN"),
    ):
        with pytest.raises(InputError, match=says):
            flat.search(queries.astype(np.float32), k)
