"""The nouns of millions of rows in few bytes, as a list of strings would have them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import faiss
import numpy as np
import pytest

from freeda.bank import Bank
from freeda.bank.arrays import Nouns
from freeda.bank.layered import LayeredBank
from freeda.bank.merge import merge
from freeda.bank.released import import_release
from small_banks import KEY, MODELS, PROTOTYPE, make_bank, make_pair


def test_as_a_list_of_them() -> None:
    parts = [(["a", "b"], [1, 0, 1]), ([], []), (["c", "b"], [0, 1, 1, 0])]
    nouns = Nouns((different, np.array(which, np.int32)) for different, which in parts)
    plain = ["b", "a", "b", "c", "b", "b", "c"]
    assert list(nouns) == plain and nouns == plain and nouns != plain[1:] and len(nouns) == 7
    assert [nouns[i] for i in range(-7, 7)] == [*plain, *plain] and nouns[2:5] == plain[2:5]
    assert nouns.different == ("a", "b", "c") and Nouns([nouns.part, nouns.part]) == plain + plain
    assert nouns.count("b") == 4 and list(Nouns([])) == []
    with pytest.raises(IndexError):
        nouns[7]


def test_of_many_row_groups(tmp_path: Path) -> None:
    """Each group of 1,024 rows has a dictionary of its own."""
    pairs = [replace(make_pair(i), noun=f"noun {i % 1500}", image=None, mask=None) for i in range(2100)]
    nouns = make_bank(tmp_path / "bank", [pairs, [], pairs[:3]]).nouns
    assert nouns == [p.noun for p in pairs + pairs[:3]] and len(nouns.different) == 1500


@pytest.mark.parametrize("pattern", [None, r"(?P<caption>\d+)_(?P<noun>.+)"])
def test_a_release_may_have_no_words(tmp_path: Path, pattern: str | None) -> None:
    """Its files' names are then all there is: no word may be said to be missing among them."""
    (tmp_path / "npy").mkdir()
    for i in range(5):
        np.save(tmp_path / "npy" / f"{i}_cat.npy", np.full(PROTOTYPE, i, np.float32))
    index = faiss.IndexFlatIP(KEY)
    index.add(np.eye(5, KEY, dtype=np.float32))
    faiss.write_index(index, str(tmp_path / "keys.faiss"))
    made = import_release(
        tmp_path / "npy", tmp_path / "a", MODELS, index=tmp_path / "keys.faiss", noun_pattern=pattern
    ).bank
    drawn = make_bank(tmp_path / "b", [[make_pair(i) for i in range(4)]])
    both = merge([drawn.path, made.path], tmp_path / "both").bank
    assert drawn.named and all(
        bank.named is (pattern is not None) for bank in (made, both, LayeredBank([drawn, made]))
    )
    assert (
        made.nouns[0] == ("0_cat" if pattern is None else "cat") and Bank.open(made.path).nouns == made.nouns
    )
