"""The approximate index against sorting all inner products; stale, damaged and foreign files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from freeda.bank import bank
from freeda.bank import index as module
from freeda.bank.index import ABOUT, ApproximateIndex, byte_code, lists_for, products, to_bytes
from freeda.errors import BankError, InputError


def clustered(n: int, dim: int = 16) -> np.ndarray:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, dim))[rng.integers(40, size=n)] + 0.5 * rng.normal(size=(n, dim))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float16)


def sorted_all(keys: np.ndarray, queries: np.ndarray, k: int) -> list[list[int]]:
    out = []
    for query in queries:
        products = [sum(float(a) * float(b) for a, b in zip(query, key, strict=True)) for key in keys]
        out.append(sorted(range(len(keys)), key=lambda j: -products[j])[:k])
    return out


@pytest.mark.parametrize(("n", "k", "recall"), [(3000, 20, 0.95), (3000, 20, 0.5), (700, 350, 0.9)])
def test_finds_what_it_says_it_finds(
    n: int, k: int, recall: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_NEIGHBOURS", k)
    drawn = clustered(n + 30)
    keys, queries = drawn[:n], drawn[n:].astype(np.float32)
    index = ApproximateIndex.build(keys, tmp_path, "a" * 64, recall)
    about = index.about
    assert recall <= about.recall <= 1 and about.worst <= about.recall and about.neighbours == k
    scores, rows = index.search(queries, k)
    assert scores.shape == rows.shape == (30, k) and scores.dtype == np.float32 and rows.dtype == np.int64
    assert (np.diff(scores, axis=1) <= 0).all() and all(len(set(line)) == k for line in rows.tolist())
    found = [
        len(set(a) & set(b)) / k for a, b in zip(rows.tolist(), sorted_all(keys, queries, k), strict=True)
    ]
    assert np.mean(found) >= recall - 0.1
    exact = np.einsum("qd,qkd->qk", queries, keys.astype(np.float32)[rows])
    assert np.abs(exact - scores).max() <= 2 * about.error + 1e-6 < 0.05


def test_what_it_says_of_itself_by_plain_loops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    n, k = 300, 20
    monkeypatch.setattr(module, "_NEIGHBOURS", k)
    monkeypatch.setattr(module, "_QUERIES", n)  # all keys are drawn, so that which ones needs no telling
    keys = clustered(n)
    queries = keys.astype(np.float32)
    index = ApproximateIndex.build(keys, tmp_path, "a" * 64, 0.6)
    scores, rows = index.search(queries, k)
    shares, errors = [], []
    for query, best, found, said in zip(queries, sorted_all(keys, queries, k), rows, scores, strict=True):
        last = float(query @ queries[best[-1]])
        products = [float(query @ queries[row]) for row in found]
        shares.append(sum(p >= last - 1e-6 for p in products) / k)
        errors += [abs(p - float(s)) for p, s in zip(products, said, strict=True)]
    assert min(shares) < np.mean(shares) < 1, "an index that finds all shows nothing"
    assert index.about.recall == pytest.approx(np.mean(shares), abs=1e-3)
    assert index.about.worst == pytest.approx(min(shares), abs=1e-9)
    assert index.about.error == pytest.approx(max(errors), abs=1e-5)
    assert (index.about.queries, index.about.neighbours) == (n, k)


def test_fewer_lists_are_looked_into_when_less_is_asked(tmp_path: Path) -> None:
    keys = clustered(4000)
    few = ApproximateIndex.build(keys, tmp_path / "a", "a" * 64, 0.3).about
    many = ApproximateIndex.build(keys, tmp_path / "b", "a" * 64, 0.99).about
    assert few.probes < many.probes <= many.lists == lists_for(4000) and few.recall < many.recall


def test_all_rows_can_be_had(tmp_path: Path) -> None:
    """k may exceed what the lists of the usual probes hold."""
    keys = clustered(2000)
    index = ApproximateIndex.build(keys, tmp_path, "a" * 64, 0.1)
    scores, rows = index.search(keys[:3].astype(np.float32), 5000)
    assert scores.shape == (3, 2000) and np.isfinite(scores).all()
    assert all(np.array_equal(np.sort(line), np.arange(2000)) for line in rows)


@pytest.mark.parametrize("n", [1, 2, 31, 64])
def test_very_few_rows(n: int, tmp_path: Path) -> None:
    keys = clustered(n)
    index = ApproximateIndex.build(keys, tmp_path, "a" * 64)
    rows = index.search(keys.astype(np.float32), 1)[1]
    best = keys.astype(np.float32) @ keys.astype(np.float32).T
    assert (best[np.arange(n), rows[:, 0]] >= best.max(axis=1) - 0.02).mean() >= 0.9
    assert index.search(np.zeros((0, 16), np.float32), 3)[0].shape == (0, min(3, n))


def test_equal_keys_come_in_row_order(tmp_path: Path) -> None:
    keys = np.repeat(clustered(10), 30, axis=0)
    rows = ApproximateIndex.build(keys, tmp_path, "a" * 64).search(keys[:1].astype(np.float32), 30)[1]
    assert rows[0].tolist() == list(range(30))


def test_opened_only_for_the_bank_it_was_made_from(tmp_path: Path) -> None:
    assert ApproximateIndex.open(tmp_path, "a" * 64) is None
    keys = clustered(500)
    queries = keys[:5].astype(np.float32)
    made = ApproximateIndex.build(keys, tmp_path, "a" * 64)
    again = ApproximateIndex.open(tmp_path, "a" * 64)
    assert again is not None and again.about == made.about
    for one, other in zip(made.search(queries, 7), again.search(queries, 7), strict=True):
        assert np.array_equal(one, other)
    assert ApproximateIndex.open(tmp_path, "b" * 64) is None
    ApproximateIndex.build(keys, tmp_path, "b" * 64)
    assert ApproximateIndex.open(tmp_path, "b" * 64) is not None
    assert [p.name for p in tmp_path.glob("*.faiss")] == [f"approximate-{'b' * 16}.faiss"]


def test_damage_is_no_index(tmp_path: Path) -> None:
    ApproximateIndex.build(clustered(500), tmp_path, "a" * 64)
    file = next(tmp_path.glob("*.faiss"))
    whole, about = file.read_bytes(), json.loads((tmp_path / ABOUT).read_text())

    def opens() -> bool:
        return ApproximateIndex.open(tmp_path, "a" * 64) is not None

    assert opens()
    file.write_bytes(whole[:-1])
    assert not opens()
    file.write_bytes(b"x" * len(whole))
    assert not opens()
    file.unlink()
    assert not opens()
    file.write_bytes(whole)
    for change in (
        {"file": "../elsewhere.faiss"},
        {"bytes": -1},
        {"probes": "3"},
        {"lists": None},
        {"version": 3},
        {"more": 1},
    ):
        (tmp_path / ABOUT).write_text(json.dumps({**about, **change}))
        assert not opens(), change
    for text in ("", "[]", "{", "null"):
        (tmp_path / ABOUT).write_text(text)
        assert not opens()
    (tmp_path / ABOUT).write_text(json.dumps(about))
    assert opens()


def test_what_cannot_be_indexed(tmp_path: Path) -> None:
    keys = clustered(200)
    with pytest.raises(BankError, match="holds no pairs"):
        ApproximateIndex.build(keys[:0], tmp_path, "a" * 64)
    for bad in (np.nan, np.inf, 2.0):
        broken = keys.copy()
        broken[150, 3] = bad
        with pytest.raises(BankError, match="not finite or not of length 1"):
            ApproximateIndex.build(broken, tmp_path, "a" * 64)
    assert list(tmp_path.iterdir()) == []
    index = ApproximateIndex.build(keys, tmp_path, "a" * 64)
    for queries, k, says in ((np.zeros((1, 2)), 1, "shape"), (np.zeros((1, 16)), 0, "k is 0")):
        with pytest.raises(InputError, match=says):
            index.search(queries.astype(np.float32), k)


def test_number_of_lists() -> None:
    assert [lists_for(n) for n in (1, 63, 1000, 100_000, 2_166_945)] == [1, 2, 32, 1024, 4096]
    assert bank.LARGE / lists_for(bank.LARGE) > 32


@pytest.mark.parametrize("outlier", [0.0, 5.0])
def test_bytes_keep_products(outlier: float) -> None:
    """One scale does even where a dimension is far wider than the others, as in CLIP's embeddings."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 48))
    x[:, 5] = outlier * (1 + 0.1 * x[:, 5])
    x = (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)
    keys, queries = x[:390], x[390:] * 3
    turn = byte_code(keys)
    apart = np.linalg.norm(turn.apply(x[:2])[0] - turn.apply(x[:2])[1]) / np.linalg.norm(x[0] - x[1])
    step = 1 / float(apart)  # of the bytes
    assert step < 0.01
    coded, asked = to_bytes(turn, keys), to_bytes(turn, x[390:])
    assert coded.min() >= 0 and coded.max() <= 255 and np.array_equal(coded, np.rint(coded))
    assert to_bytes(turn, 99 * x).min() == 0 and to_bytes(turn, 99 * x).max() == 255
    for i in range(10):
        for j in range(0, 390, 13):
            distance = sum((float(a) - float(b)) ** 2 for a, b in zip(asked[i], coded[j], strict=True))
            found = products(turn, np.array([[distance]], np.float32), x[390 + i : 391 + i])
            error = abs(float(found[0, 0]) - float(queries[i] @ keys[j]) / 3)
            assert error < 5 * step / 6**0.5  # five deviations of two vectors' rounding


@pytest.mark.parametrize(("n", "dim", "width"), [(3000, 40, 128), (3000, 40, 24), (50, 40, 24), (3, 8, 128)])
def test_prototypes_by_the_cosine_whatever_their_length(
    n: int, dim: int, width: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fewer directions in the lists than the rows have; scores are exact cosines all the same."""
    monkeypatch.setattr(module, "_WIDTH", width)
    monkeypatch.setattr(module, "_AT_ONCE", 100)  # more than one block
    rng, k = np.random.default_rng(1), 7
    drawn = clustered(n + 20, dim).astype(np.float32) * rng.uniform(0.5, 30, (n + 20, 1)).astype(np.float32)
    rows_of, queries = drawn[:n].astype(np.float16), drawn[n:] / np.linalg.norm(drawn[n:], axis=1)[:, None]
    index = ApproximateIndex.build(rows_of, tmp_path, "a" * 64, 0.95, column="prototype")
    assert index.about.neighbours == min(n, 20) and index.about.probes <= 12 and index.about.error < 1e-5
    scores, rows = index.search(queries, k)
    assert rows.shape == (20, min(n, k)) and (np.diff(scores, axis=1) <= 0).all()
    unit = [[float(x) / sum(float(v) ** 2 for v in row) ** 0.5 for x in row] for row in rows_of]
    found = []
    for query, mine, said in zip(queries, rows.tolist(), scores, strict=True):
        cosines = [sum(float(a) * b for a, b in zip(query, row, strict=True)) for row in unit]
        best = sorted(range(n), key=lambda i: -cosines[i])[:k]
        np.testing.assert_allclose(said, [cosines[i] for i in mine], atol=1e-5)
        found.append(len(set(best) & set(mine)) / len(best))
    assert np.mean(found) >= 0.7  # noise alike in all directions: the hardest there is
    again = ApproximateIndex.open(tmp_path, "a" * 64, rows_of)
    assert again is not None and np.array_equal(again.search(queries, k)[1], rows)
    assert ApproximateIndex.open(tmp_path, "a" * 64) is None  # that of keys is another
    # All rows can be had, and nothing is asked of nothing.
    assert index.search(queries[:2], 10 * n)[1].shape == (2, n)
    assert index.search(np.zeros((0, dim), np.float32), 3)[0].shape == (0, min(n, 3))
    zero = rows_of.copy()
    zero[1] = 0
    with pytest.raises(BankError, match="length 1"):
        ApproximateIndex.build(zero, tmp_path, "a" * 64, column="prototype")
