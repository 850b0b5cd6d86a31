"""What a measurement says while it runs."""

from __future__ import annotations

import io

import numpy as np
import pytest
from rich.console import Console

from freeda.evaluation.counts import Counts
from freeda.evaluation.job import ImageProgress


class Time:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_lines_in_a_log(monkeypatch: pytest.MonkeyPatch) -> None:
    text, time, counts = io.StringIO(), Time(), Counts(2)
    with ImageProgress(40, True, Console(file=text, width=200), time) as bar:
        bar.stage("checking", 1, 2)
        bar.stage("checking", 2, 2)
        bar.part(counts, 4, earlier=True)
        time.now = 100.0  # models are loaded meanwhile
        for _ in range(8):
            time.now += 5
            bar.image(5.0)
        counts.update(np.array([[0, 0, 1, 1]]), np.array([[0, 1, 1, 1]]))
        bar.part(counts, 12)
        assert bar.said() == "5 s/image, 2.3 min left, mIoU 0.583 (12 images)"
        for _ in range(28):
            bar.image(5.0)
        time.now += 1000
    lines = text.getvalue().splitlines()
    assert lines[0] == "evaluating: checking"
    assert lines[1] == "evaluating: 5 of 40 images, 5 s/image, 2.9 min left"
    assert lines[-1].startswith("evaluating: 40 of 40 images, ") and "left" not in lines[-1]


def test_a_bar_on_a_terminal() -> None:
    text = io.StringIO()
    with ImageProgress(2, True, Console(file=text, width=100, force_terminal=True)) as bar:
        bar.stage("checking", 1, 2)
        bar.image(1.0)
        counts = Counts(2)
        counts.update(np.array([[1]]), np.array([[1]]))
        bar.part(counts, 1)
    assert "1/2" in text.getvalue() and "mIoU 1.000" in text.getvalue()


def test_silence() -> None:
    text = io.StringIO()
    with ImageProgress(2, False, Console(file=text)) as bar:
        bar.stage("checking")
        bar.image(1.0)
    assert text.getvalue() == ""
