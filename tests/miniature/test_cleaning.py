"""The measurement of cleaning: what it exchanges, and that its table says what was measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from small_banks import make_pair
from studies.cleaning import CASES, MARK, Row, exchanged, measure, table
from studies.page import END

PAGE = Path(__file__).parents[2] / "docs" / "bank.md"


def test_exchanging_moves_prototypes_and_nothing_else() -> None:
    pairs = [make_pair(i) for i in range(40)]
    found = exchanged(pairs, 0.25)
    moved = [i for i in range(40) if found[i].prototype is not pairs[i].prototype]
    assert len(moved) == 10
    assert {id(found[i].prototype) for i in moved} == {id(pairs[i].prototype) for i in moved}
    for a, b in zip(pairs, found, strict=True):
        assert a.key is b.key and a.noun == b.noun and a.caption_id == b.caption_id


@pytest.mark.slow
def test_every_case_is_measured() -> None:
    rows = measure([0], scenes=2, share=0.3)
    assert [row.name for row in rows] == list(CASES)
    assert rows[0].pairs[0] == rows[0].pairs[1] and all(
        0 < row.pairs[0] < rows[0].pairs[0] for row in rows[1:]
    )
    assert all(0 < m <= 1 for row in rows for seeds in row.miou for m in seeds)


def test_the_table_pairs_differences_by_seed() -> None:
    rows = [Row("nothing", [10, 10], [[0.5, 0.7], [0.4, 0.4]]), Row("x", [9, 8], [[0.6, 0.6], [0.5, 0.6]])]
    last = table(rows, 0.3).splitlines()[-1]
    assert last == "| x | 9 | 0.600 | +0.000 (-0.100 to +0.100) | 8 | 0.550 | +0.150 (+0.100 to +0.200) |"


def test_the_page_has_a_place_for_it() -> None:
    page = PAGE.read_text("utf-8")
    assert page.count(MARK) == 1 and END in page.partition(MARK)[2]
    assert all(name in page for name in CASES)
