"""The measurement of cleaning: what it exchanges, and that its table says what was measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from freeda.bank import Bank
from freeda.bank.verify import find_damage
from small_banks import make_pair
from studies.cleaning import CASES, COMMAND, exchanged, measure, spoilt, table
from studies.sweep import END, PRESET, begin

PAGE = Path(__file__).parents[2] / "docs" / "bank.md"


def test_exchanging_moves_prototypes_and_nothing_else() -> None:
    pairs = [make_pair(i) for i in range(40)]
    found = exchanged(pairs, 0.25)
    moved = [i for i in range(40) if found[i].prototype is not pairs[i].prototype]
    assert len(moved) == 10
    assert {id(found[i].prototype) for i in moved} == {id(pairs[i].prototype) for i in moved}
    for a, b in zip(pairs, found, strict=True):
        assert a.key is b.key and a.noun == b.noun and a.caption_id == b.caption_id


def test_a_spoilt_bank_is_whole(tmp_path: Path) -> None:
    assert PRESET.bank is not None
    bank = Bank.open(PRESET.bank)
    made = spoilt(tmp_path / "spoilt", bank, 0.3)
    np.testing.assert_array_equal(made.keys, bank.keys)
    assert (made.prototypes != bank.prototypes).any(1).mean() == pytest.approx(0.3, abs=0.01)
    assert list(made.nouns) == list(bank.nouns) and not list(find_damage(tmp_path / "spoilt"))


@pytest.mark.slow
def test_every_case_is_measured(tmp_path: Path) -> None:
    found = measure([0], 2, 0.3, tmp_path)
    assert list(found) == list(CASES)
    nothing, *others = [seeds[0] for seeds in found.values()]
    assert nothing[0] == nothing[2] and all(0 < row[0] < nothing[0] for row in others)
    assert all(0 < row[i] <= 1 for row in (nothing, *others) for i in (1, 3))
    assert repr(measure([0], 2, 0.3, tmp_path)) == repr(found)


def test_the_table_pairs_differences_by_seed() -> None:
    found = {
        "nothing": [[10, 0.5, 10, 0.4], [10, 0.7, 10, 0.4]],
        "x": [[9, 0.6, 8, 0.5], [9, 0.6, 8, 0.6]],
    }
    last = table(found, 0.3).splitlines()[-1]
    assert last == "| x | 9 | 0.600 | +0.000 (-0.100 to +0.100) | 8 | 0.550 | +0.150 (+0.100 to +0.200) |"


def test_the_page_has_a_place_for_it() -> None:
    page = PAGE.read_text("utf-8")
    assert page.count(begin(COMMAND)) == 1 and END in page.partition(begin(COMMAND))[2]
    assert all(name in page for name in CASES)
