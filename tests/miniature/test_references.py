"""Measuring real references: the banks are those of the command, and the tables say what was found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from freeda.encoders import load_encoders
from freeda.miniature.scenes import CLASSES, HELD_OUT, render
from studies.held_out import MemoryBank
from studies.references import COMMAND, measure, shots_of
from studies.sweep import PRESET, begin, spread_table

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
    rows = MemoryBank(keys, prototypes, ["a", "b", "a"])
    assert rows.only(["a"]).prototypes.tolist() == [[0, 1], [4, 5]]
    assert rows.without(["a"]).nouns.tolist() == ["b"]
    both = rows.only(["b"]) + rows
    assert both.nouns.tolist() == ["b", "a", "b", "a"] and len(both) == 4
    assert both.search(keys[1:2].astype(np.float32), 2)[1].tolist() == [[0, 2]]
    marked = rows + MemoryBank(keys, prototypes, ["a", "b", "c"], [0, 2])
    assert marked.real.tolist() == [3, 5] and marked.only(["a", "c"]).real.tolist() == [2, 3]
    assert marked.unmarked().real.tolist() == [] and len(marked.unmarked()) == 6


@pytest.mark.slow
def test_measured_from_end_to_end(encoders: Any, tmp_path: Path) -> None:
    scenes = [render(HELD_OUT, 700_000 + i) for i in range(30)]
    generated = shots_of(scenes, (30,), 0, encoders)[30].unmarked()  # stands in for a generated bank
    found = measure([3], 2, 30, (1, 2), generated, out=tmp_path)
    banks, lacking, weights = ({n: seeds[0] for n, seeds in rows.items()} for rows in found.values())
    assert list(banks) == ["generated", "1 real", "2 real", "generated and 1 real", "generated and 2 real"]
    assert list(lacking) == ["none", "1 real", "2 real", "generated"]
    assert all(0 < value < 1 for values in banks.values() for value in values)
    # Few references: k of them reach into other classes, unless they are known as such.
    assert banks["1 real"][1] > banks["1 real"][0] and banks["generated"][0] == banks["generated"][1]
    assert banks["generated and 2 real"][0] != banks["generated and 2 real"][1]
    assert lacking["none"][0] < lacking["2 real"][1]
    assert lacking["generated"] == pytest.approx(banks["generated"])
    # Without any weight the drawn ones are not there; ten is how it is done.
    k = PRESET.segment.k
    assert list(weights) == [f"{n} real, `k` {m}" for m in (k, 350) for n in (1, 2)]
    assert weights[f"2 real, `k` {k}"][0] == pytest.approx(banks["2 real"][1])
    assert weights[f"2 real, `k` {k}"][2] == pytest.approx(banks["generated and 2 real"][1])


def test_the_tables() -> None:
    lines = spread_table(["Bank", "near", "own"], {"some": [[0.5, 0.8], [0.7, 0.9]]}).splitlines()
    assert lines[0] == "| Bank | near | own |"
    assert lines[2] == "| some | 0.600 (0.500 to 0.700) | 0.850 (0.800 to 0.900) |"
    assert spread_table(["", ""], {"one": [[0.25]]}).splitlines()[2] == "| one | 0.250 |"


def test_the_page_has_a_place() -> None:
    page = PAGE.read_text("utf-8")
    assert begin(COMMAND) in page and "<!-- end -->" in page.partition(begin(COMMAND))[2]
