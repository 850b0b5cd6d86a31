"""Rows of an array taken from its file: as indexing gives them, from the file that was opened."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freeda.bank.arrays import load_array, take
from freeda.errors import BankError


def stored(path: Path, n: int, dim: int, value: int = 0) -> np.ndarray:
    rows = (np.arange(n * dim).reshape(n, dim) % 1999 + value).astype(np.float16)
    np.save(path, rows)
    return rows


@settings(max_examples=60)
@given(
    n=st.integers(1, 30),
    dim=st.integers(1, 9),
    rows=st.lists(st.integers(0, 29), max_size=40),
    cut=st.integers(0, 20),
    mapped=st.booleans(),
)
def test_equals_looking_at_each_row(
    n: int, dim: int, rows: list[int], cut: int, mapped: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "rows.npy"
    whole = stored(path, n, dim)
    array = load_array(path, (n, dim)) if mapped else whole
    assert array is not None
    for part, true in ((array, whole), (array[cut:], whole[cut:]), (array[::2], whole[::2])):
        wanted = [row for row in rows if row < len(true)]
        found = take(part, np.array(wanted, np.int64))
        assert type(found) in (np.ndarray, type(part)) and found.shape == (len(wanted), dim)
        assert [row.tolist() for row in found] == [true[row].tolist() for row in wanted]
        found[:] = 0  # a copy: nothing of the bank changes
    assert np.array_equal(np.load(path, allow_pickle=False), whole)
    for wrong in (-n - 1, n):
        with pytest.raises(IndexError):
            take(array, np.array([0, wrong]))


def test_what_was_computed_from_an_array_is_no_longer_its_file(tmp_path: Path) -> None:
    stored(tmp_path / "a.npy", 5, 3)
    array = load_array(tmp_path / "a.npy", (5, 3))
    assert array is not None
    for other in (array + 1, array.copy(), array[[1, 2]], np.array(array)):
        assert np.array_equal(take(other, np.array([1])), np.asarray(other)[[1]])


def test_a_file_that_takes_the_name_later_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    old = stored(path, 6, 4)
    array = load_array(path, (6, 4))
    assert array is not None
    stored(tmp_path / "new.npy", 6, 4, value=7)
    os.replace(tmp_path / "new.npy", path)
    assert np.array_equal(take(array, np.arange(6)), old) and np.array_equal(array, old)


def test_a_file_cut_short_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    stored(path, 6, 4)
    array = load_array(path, (6, 4))
    assert array is not None
    os.truncate(path, path.stat().st_size - 3)
    assert take(array, np.array([4])).shape == (1, 4)
    with pytest.raises(BankError, match="cut short"):
        take(array, np.array([5]))


def test_files_are_closed_with_the_last_array(tmp_path: Path) -> None:
    handles = Path("/proc/self/fd")
    if not handles.is_dir():
        pytest.skip("counts open files by Linux's /proc")
    stored(tmp_path / "a.npy", 6, 4)
    before = len(list(handles.iterdir()))
    arrays = [load_array(tmp_path / "a.npy", (6, 4)) for _ in range(5)]
    parts = [array[1:] for array in arrays if array is not None]
    assert len(list(handles.iterdir())) > before
    del arrays
    assert np.array_equal(take(parts[0], np.array([0])), parts[0][:1])
    del parts
    assert len(list(handles.iterdir())) == before


@pytest.mark.parametrize(
    "other",
    [
        np.zeros((6, 4), np.float32),
        np.zeros((6, 5), np.float16),
        np.zeros((5, 4), np.float16),
        np.zeros(24, np.float16),
        np.asfortranarray(np.zeros((6, 4), np.float16)),
        np.zeros((0, 4), np.float16),
        np.zeros((6, 4), ">f2"),
    ],
)
def test_other_arrays_are_none_of_a_bank(other: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", other)
    assert load_array(tmp_path / "a.npy", (6, 4)) is None


def test_no_file_and_no_array(tmp_path: Path) -> None:
    assert load_array(tmp_path / "none.npy", (6, 4)) is None
    assert load_array(tmp_path, (6, 4)) is None
    for data in (b"", b"\x93NUMPY", b"x" * 500, b"\x93NUMPY\x01\x00\xff\xff" + b" " * 300):
        (tmp_path / "a.npy").write_bytes(data)
        assert load_array(tmp_path / "a.npy", (6, 4)) is None
    np.save(tmp_path / "b.npy", np.array([{}], object), allow_pickle=True)
    assert load_array(tmp_path / "b.npy", (1, 1)) is None
    stored(tmp_path / "c.npy", 6, 4)
    (tmp_path / "c.npy").write_bytes((tmp_path / "c.npy").read_bytes()[:-1])
    assert load_array(tmp_path / "c.npy", (6, 4)) is None
