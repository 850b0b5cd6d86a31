"""The examples of docs/evaluate.md run; and what an evaluation tells of itself."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

import freeda
from evaluation.sets import Noise, Oracle
from freeda.evaluation import part as parts
from freeda.evaluation.job import evaluate

PAGE = Path(__file__).parents[2] / "docs" / "evaluate.md"
EXAMPLES = re.findall(r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.M | re.S)


def test_the_examples_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(EXAMPLES) == 2
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for part, high, shape in (("images", 256, (12, 20, 3)), ("masks", 2, (12, 20))):
        Path("mine", part).mkdir(parents=True)
        for i in range(3):
            array = rng.integers(0, high, shape, dtype=np.uint8)
            Image.fromarray(array + (part == "masks")).save(f"mine/{part}/{i}.png")
    Path("mine/names.json").write_text(json.dumps({"1": "light", "2": "dark"}))
    names: dict[str, Any] = {}
    for code in EXAMPLES:
        exec(compile(code, PAGE.name, "exec"), names)
    assert len(names["result"].images) == 20 and 0.5 < names["result"].miou < 1
    told = json.loads(Path("dark/report.json").read_text())
    truth = [np.array(Image.open(f"mine/masks/{i}.png")) == 2 for i in range(3)]
    found = [np.array(Image.open(f"mine/images/{i}.png")).mean(axis=2) < 64 for i in range(3)]
    right = sum(int((t == f).sum()) for t, f in zip(truth, found, strict=True))
    assert told["pixel_accuracy"] == pytest.approx(right / 720)


def test_seconds_are_those_of_labelling(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(100, 200, 2))
    monkeypatch.setattr(parts, "time", SimpleNamespace(perf_counter=lambda: float(next(clock))))
    found = parts.score_part(Oracle(Noise(3)).many, Noise(3), [2, 0])
    assert [(row.index, row.seconds) for row in found.images] == [(2, 2.0), (0, 2.0)]


def test_the_report_is_of_the_run(tmp_path: Path) -> None:
    data = Noise(9)
    result = evaluate(data, out=tmp_path, labeller=Oracle(data), device="cpu", limit=5)
    told = json.loads((tmp_path / "report.json").read_text())
    assert told["miou"] == result.miou == 1.0 and told["images"] == 5
    assert told["settings"]["limit"] == 5 and told["settings"]["labeller"] == "oracle"
    assert told["settings"]["freeda"] == freeda.__version__
    assert (tmp_path / "report.md").exists()
    (tmp_path / "report.md").unlink()
    oracle = Oracle(data)
    evaluate(data, out=tmp_path, labeller=oracle, device="cpu", limit=5)
    assert oracle.asked == 5  # only for the pictures of the report
    assert (tmp_path / "report.md").exists()
    evaluate(data, out=tmp_path / "none", labeller=Oracle(data), device="cpu", limit=5, report=False)
    assert sorted(p.name for p in (tmp_path / "none").iterdir()) == ["parts", "run.json"]
