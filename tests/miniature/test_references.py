"""Measuring real references: the banks are those of the command, and the tables say what was found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from freeda.encoders import load_encoders
from freeda.miniature.scenes import CLASSES, HELD_OUT, render
from studies.references import MARK, PRESET, Row, Rows, measure, shots_of, table

PAGE = Path(__file__).parents[2] / "docs" / "references.md"


@pytest.fixture(scope="module")
def encoders() -> Any:
    return load_encoders(PRESET, "cpu")


def test_shots_are_of_their_own_class(encoders: Any) -> None:
    scenes = [render(HELD_OUT, 600_000 + i) for i in range(12)]
    found = shots_of(scenes, (1, 2), 0, encoders)
    for n, rows in found.items():
        words, counts = np.unique(rows.nouns, return_counts=True)
        assert set(words) <= set(CLASSES) and counts.max() == n and len(rows) == counts.sum()
    # A pixel's mean colour would do for the sky: rows of one class lie closer than those of others.
    two = found[2]
    unit = two.prototypes.astype(np.float32)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    alike = unit @ unit.T
    same = (two.nouns[:, None] == two.nouns[None, :]) & ~np.eye(len(two), dtype=bool)
    assert alike[same].mean() > alike[~same & ~np.eye(len(two), dtype=bool)].mean() + 0.1


def test_rows_without_and_with() -> None:
    keys, prototypes = np.eye(3, dtype=np.float16), np.arange(6, dtype=np.float16).reshape(3, 2)
    rows = Rows(keys, prototypes, ["a", "b", "a"])
    assert rows.only(["a"]).prototypes.tolist() == [[0, 1], [4, 5]]
    assert rows.only(["a"], there=False).nouns.tolist() == ["b"]
    both = rows.only(["b"]) + rows
    assert both.nouns.tolist() == ["b", "a", "b", "a"] and len(both) == 4
    assert both.search(keys[1:2].astype(np.float32), 2)[1].tolist() == [[0, 2]]
    marked = rows + Rows(keys, prototypes, ["a", "b", "c"], [0, 2])
    assert marked.real.tolist() == [3, 5] and marked.only(["a", "c"]).real.tolist() == [2, 3]
    assert marked.unmarked().real.tolist() == [] and len(marked.unmarked()) == 6


@pytest.mark.slow
def test_measured_from_end_to_end(encoders: Any) -> None:
    scenes = [render(HELD_OUT, 700_000 + i) for i in range(30)]
    generated = shots_of(scenes, (30,), 0, encoders)[30].unmarked()  # stands in for a generated bank
    rows, lacking, weights = measure([3], 2, 30, (1, 2), generated)
    assert [r.references for r in rows] == [
        "generated",
        *("1 real", "2 real", "generated and 1 real", "generated and 2 real"),
    ]
    assert [r.references for r in lacking] == ["none", "1 real", "2 real", "generated"]
    by_name = {r.references: r.values[0] for r in rows}
    assert all(0 < value < 1 for values in by_name.values() for value in values)
    # Few references: k of them reach into other classes, unless they are known as such.
    assert by_name["1 real"][1] > by_name["1 real"][0] and by_name["generated"][0] == by_name["generated"][1]
    assert by_name["generated and 2 real"][0] != by_name["generated and 2 real"][1]
    assert lacking[0].values[0][0] < lacking[2].values[0][1]
    assert lacking[3].values[0] == pytest.approx(by_name["generated"])
    # Without any weight the drawn ones are not there; ten is how it is done.
    k = PRESET.segment.k
    assert [r.references for r in weights] == [f"{n} real, `k` {m}" for m in (k, 350) for n in (1, 2)]
    assert weights[1].values[0][0] == pytest.approx(by_name["2 real"][1])
    assert weights[1].values[0][2] == pytest.approx(by_name["generated and 2 real"][1])


def test_the_tables() -> None:
    lines = table([Row("some", [[0.5, 0.8], [0.7, 0.9]])], "Bank", "near", "own").splitlines()
    assert lines[0] == "| Bank | near | own |"
    assert lines[2] == "| some | 0.600 (0.500 to 0.700) | 0.850 (0.800 to 0.900) |"
    assert table([Row("one", [[0.5, 0.25]])], "", "", "").splitlines()[2] == "| one | 0.500 | 0.250 |"


def test_the_page_has_a_place() -> None:
    page = PAGE.read_text("utf-8")
    assert MARK in page and "<!-- end -->" in page.partition(MARK)[2]
