"""Measuring names that are found: each way of labelling is what it says, and the page is of this command."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import freeda
from freeda.miniature.scenes import CLASSES
from studies import naming
from studies.sweep import begin

PAGE = Path(__file__).parents[2] / "docs" / "miniature.md"


def test_each_way_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(naming, "VARIANTS", {"names found": {}})
    scenes = naming.NamedScenes(3, 1, freeda.load("miniature"))
    for regions, bound in (("superpixels", 0.9), ("true regions", 1.0)):
        rows = scenes.table(regions)
        best = rows.pop("best word for each region")
        assert best[0] >= bound and best[1] == 0 and len(best) == len(naming.COLUMNS)
        assert list(rows) == ["all nouns given as classes", "each region's votes decide", "names found"]
        for right, none, wrong, there, named in rows.values():
            assert right + none + wrong == pytest.approx(1) and right <= best[0]
            assert 0 < there <= 1 and 0 < named <= 1


def test_what_is_counted() -> None:
    found, truth = np.array([[0, 0, -1, 2]]), np.array([[0, 1, 1, 2]], np.uint8)
    assert naming.measured(found, truth) == [0.5, 0.25, 0.25, 1.0, pytest.approx(2 / 3)]
    assert naming.measured(np.full((1, 2), -1), np.zeros((1, 2), np.uint8)) == [0, 1, 0, 0, 0]
    assert {CLASSES[i] for i in naming.MEANT.values()} == set(CLASSES)


def test_synonyms_and_no_others_become_one_name() -> None:
    told = naming.merging(freeda.load("miniature"))
    assert told.endswith("Pairs of 31 nouns merged or kept apart wrongly: 0.")
    assert begin(naming.COMMAND) in PAGE.read_text("utf-8")
