"""Class prototypes kept between runs: found again, told apart, damaged, too many."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from freeda.bank.cache import Answer, Cache
from freeda.errors import BankError
from freeda.files import cache_folder
from freeda.options import SegmentOptions
from freeda.segment.prototypes import answers, class_prototypes


class CountingBank:
    """Retrieval by sorting, in memory; remembers how many rows it was asked for."""

    def __init__(self, n: int, cache: Cache | None, seed: int = 0):
        rng = np.random.default_rng(seed)
        self.keys = rng.normal(size=(n, 5)).astype(np.float32)
        self.prototypes = rng.normal(size=(n, 6)).astype(np.float16)
        self.cache = cache
        self.asked: list[int] = []

    def __len__(self) -> int:
        return len(self.keys)

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        self.asked.append(len(queries))
        scores = queries @ self.keys.T
        rows = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(scores, rows, axis=1), rows


def embeddings(n: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, 5)).astype(np.float32)


WORDS = [f"word {i}" for i in range(9)]


@pytest.mark.parametrize(
    "options",
    [
        SegmentOptions(k=4),
        SegmentOptions(k=9, prototypes="all"),
        SegmentOptions(k=9, prototypes="k-means", clusters=3),
        SegmentOptions(k=9, prototypes="all", min_similarity=0.5),
    ],
)
def test_only_what_is_new_is_searched(options: SegmentOptions, tmp_path: Path) -> None:
    text = embeddings(5)
    plain = CountingBank(50, None)
    whole, owner = class_prototypes(plain, text, WORDS[:5], options)
    bank = CountingBank(50, Cache(tmp_path, "bank"))
    class_prototypes(bank, text[:3], WORDS[:3], options)
    for _ in range(2):
        got, owners = class_prototypes(bank, text, WORDS[:5], options)
        np.testing.assert_array_equal(got, whole)
        assert got.dtype == np.float32
        assert (owner is None) == (owners is None)
        if owner is not None:
            np.testing.assert_array_equal(owners, owner)
    assert bank.asked == [3, 2]
    other = CountingBank(50, Cache(tmp_path, "bank"))  # another process
    np.testing.assert_array_equal(class_prototypes(other, text, WORDS[:5], options)[0], whole)
    assert other.asked == []


def test_the_nouns_behind_an_answer_are_kept_with_it(tmp_path: Path) -> None:
    text, options = embeddings(3), SegmentOptions(k=6)
    bank = CountingBank(50, Cache(tmp_path, "bank"))
    bank.nouns = [f"noun {i % 3}" for i in range(50)]  # type: ignore[attr-defined]
    made = [one.nouns for one in answers(bank, text, WORDS[:3], options)]
    rows = np.argsort(-(text @ bank.keys.T), axis=1, kind="stable")[:, :6]
    for nouns, own in zip(made, rows, strict=True):
        counts = Counter(f"noun {row % 3}" for row in own.tolist())
        assert nouns is not None and sorted(nouns) == sorted(counts)
        assert [counts[noun] for noun in nouns] == sorted(counts.values(), reverse=True)
    again = CountingBank(50, Cache(tmp_path, "bank"))
    assert [one.nouns for one in answers(again, text, WORDS[:3], options)] == made and again.asked == []


def test_equal_embeddings_in_one_list(tmp_path: Path) -> None:
    bank = CountingBank(50, Cache(tmp_path, "bank"))
    text = embeddings(2)[[0, 1, 0]]
    found = class_prototypes(bank, text, WORDS[:3], SegmentOptions(k=3))[0]
    np.testing.assert_array_equal(found[0], found[2])
    assert len(found) == 3


def test_everything_that_decides_is_told_apart(tmp_path: Path) -> None:
    options, text = SegmentOptions(k=4), embeddings(1)
    class_prototypes(CountingBank(50, Cache(tmp_path, "bank")), text, ["a"], options)

    def asks(options: SegmentOptions, text: np.ndarray, source: str = "bank") -> bool:
        bank = CountingBank(50, Cache(tmp_path, source))
        class_prototypes(bank, text, ["a"], options)
        return bool(bank.asked)

    assert not asks(options, text)
    assert not asks(
        replace(options, local_weight=0.3, neighbours=5, short_side=64), text
    )  # decide nothing here
    assert asks(options, text, "another bank")
    assert asks(options, np.nextafter(text, 9))
    for change in ({"k": 5}, {"min_similarity": 0.1}, {"prototypes": "k-means"}, {"prototypes": "all"}):
        assert asks(replace(options, **change), text), change
    spherical = replace(options, prototypes="k-means")
    assert asks(replace(spherical, clusters=2), text) and asks(replace(spherical, spherical=False), text)


def test_damaged_files_count_as_missing(tmp_path: Path) -> None:
    cache = Cache(tmp_path, "bank")
    key, value = cache.key(embeddings(1)[0], ""), np.arange(12, dtype=np.float32).reshape(2, 6)
    assert cache.get(key) is None
    cache.put(key, Answer(value, ("café", "dog")))
    (file,) = tmp_path.glob("*/*.proto")
    whole = file.read_bytes()
    np.testing.assert_array_equal(cache.get(key).prototypes, value)  # type: ignore[union-attr]
    assert cache.get(key).nouns == ("café", "dog")  # type: ignore[union-attr]
    for data in (b"", b"x", whole[:-1], whole[:40], whole + b"x", whole[:-1] + bytes([whole[-1] ^ 1])):
        file.write_bytes(data)
        assert cache.get(key) is None
    file.unlink()
    file.mkdir()
    assert cache.get(key) is None
    file.rmdir()
    cache.put(key, Answer(value))
    np.testing.assert_array_equal(cache.get(key).prototypes, value)  # type: ignore[union-attr]
    assert cache.get(key).nouns is None  # type: ignore[union-attr]
    for odd in (value.astype(np.float64), value[0]):
        cache.put(key, Answer(odd))
        assert cache.get(key) is None


def test_the_folder_stays_small_and_what_is_used_stays(tmp_path: Path) -> None:
    value = Answer(np.zeros((1, 250), np.float32))  # 1164 bytes a file
    cache = Cache(tmp_path, "bank", limit=12_000)
    keys = [cache.key(row, "") for row in embeddings(30)]
    for age, key in enumerate(keys[:10]):
        cache.put(key, value)
        file = next(tmp_path.glob(f"*/{key}.proto"))
        os.utime(file, (age, age))
    assert cache.get(keys[0]) is not None  # the oldest is used again
    cache.put(keys[10], value)
    left = [key for key in keys[:11] if cache.get(key) is not None]
    assert left == [keys[0], *keys[4:11]]
    another = Cache(tmp_path, "bank", limit=12_000)  # counts what is there already
    for key in keys[11:]:
        another.put(key, value)
        assert sum(p.stat().st_size for p in tmp_path.glob("*/*.proto")) <= 12_000
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_folder_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    bank = CountingBank(20, Cache(tmp_path / "file", "bank"))
    for _ in range(2):
        class_prototypes(bank, embeddings(2), WORDS[:2], SegmentOptions(k=2))
    assert bank.asked == [2, 2]


def test_errors_are_never_kept(tmp_path: Path) -> None:
    bank = CountingBank(20, Cache(tmp_path, "bank"))
    good = bank.prototypes
    bank.prototypes = np.full_like(good, np.nan)
    with pytest.raises(BankError, match="'b'"):
        class_prototypes(bank, embeddings(1), ["b"], SegmentOptions(k=2))
    bank.prototypes = good
    assert class_prototypes(bank, embeddings(1), ["b"], SegmentOptions(k=2))[0].shape == (1, 6)


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/x")
    monkeypatch.delenv("FREEDA_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_folder() == Path("/home/x/.cache/freeda")
    monkeypatch.setenv("XDG_CACHE_HOME", "/c")
    assert cache_folder() == Path("/c/freeda")
    monkeypatch.setenv("FREEDA_CACHE", "~/mine")
    assert cache_folder() == Path("/home/x/mine")
