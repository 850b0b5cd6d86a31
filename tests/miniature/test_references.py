"""Measuring real references: the banks are those of the command, and the tables say what was found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from freeda.encoders import load_encoders
from freeda.miniature.references import MARK, PRESET, Row, Rows, measure, shots_of, table
from freeda.miniature.scenes import CLASSES, HELD_OUT, render

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


def test_measured_from_end_to_end(encoders: Any) -> None:
    scenes = [render(HELD_OUT, 700_000 + i) for i in range(30)]
    generated = shots_of(scenes, (30,), 0, encoders)[30]  # stands in for a generated bank
    rows, lacking = measure([3], 3, 30, (1, 2), generated)
    assert [r.references for r in rows] == [
        "generated",
        *("1 real", "2 real", "generated, then 1 real", "generated, then 2 real"),
        *("1 real, then generated", "2 real, then generated"),
    ]
    assert [r.references for r in lacking] == ["none", "1 real", "2 real", "generated"]
    by_name = {r.references: r for r in rows}
    assert all(0 < r.own[0] < 1 and len(r.usual) == 1 for r in rows)
    # Few references: k of them reach into other classes.
    assert by_name["1 real"].own[0] > by_name["1 real"].usual[0]
    assert lacking[0].own[0] < lacking[2].own[0]
    assert lacking[3].own[0] == pytest.approx(by_name["generated"].own[0])


def test_the_tables() -> None:
    lines = table([Row("some", [0.5, 0.7], [0.8, 0.9])], "Bank", "mIoU", 24).splitlines()
    assert lines[0] == "| Bank | mIoU, `k` 24 | mIoU, `min_similarity=0.99` |"
    assert lines[2] == "| some | 0.600 (0.500 to 0.700) | 0.850 (0.800 to 0.900) |"
    assert table([Row("one", [0.5], [0.25])], "", "", 1).splitlines()[2] == "| one | 0.500 | 0.250 |"


def test_the_page_has_a_place() -> None:
    page = PAGE.read_text("utf-8")
    assert MARK in page and "<!-- end -->" in page.partition(MARK)[2]
