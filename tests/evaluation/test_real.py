"""Real photographs through the `folder` loader: the bookkeeping, with figures made by other means."""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from freeda.evaluation.dataset import FileDataSet, open_dataset
from freeda.evaluation.job import evaluate
from freeda.evaluation.result import Evaluation
from freeda.evaluation.subject import FreedaLabeller, protocol_options
from freeda.presets import PRESETS

DATA = Path(os.environ.get("FREEDA_DATA", Path(__file__).parents[3] / "shared" / "data")) / "coco-sample"
pytestmark = pytest.mark.skipif(not (DATA / "images").is_dir(), reason=f"no {DATA} (set FREEDA_DATA)")

Labels = NDArray[Any]


@pytest.fixture(scope="module")
def data() -> FileDataSet:
    return open_dataset("folder", DATA)


@pytest.fixture(scope="module")
def truths() -> list[Labels]:
    """The masks' labels, read here by other means: the place of the value's name among all, -1 for none."""
    names = json.loads((DATA / "names.json").read_text())
    number = {int(value): i for i, value in enumerate(sorted(names, key=int))}
    out = []
    for path in sorted((DATA / "masks").glob("*.png")):
        with Image.open(path) as mask:
            values = np.array(mask)
        out.append(np.vectorize(lambda v: number.get(int(v), -1), otypes=[int])(values))
    return out


class Told:
    """A labeller that says what it is told to, image after image."""

    def __init__(self, name: str, labels: list[Labels]) -> None:
        self.name, self._labels = name, iter(labels)

    def __call__(self, image: NDArray[np.uint8]) -> Labels:
        return next(self._labels)


def run(data: FileDataSet, out: Path, name: str, labels: list[Labels]) -> Evaluation:
    """Measure labels that were made beforehand, in the images' order."""
    return evaluate(data, out=out, labeller=Told(name, labels), device="cpu", report=False)


def plain_matrix(preds: list[Labels], truths: list[Labels], n: int) -> NDArray[np.int64]:
    matrix = np.zeros((n, n), np.int64)
    for pred, truth in zip(preds, truths, strict=True):
        counted = truth >= 0
        np.add.at(matrix, (truth[counted], pred[counted]), 1)
    return matrix


def plain_miou(matrix: NDArray[np.int64]) -> float:
    found = []
    for c in range(len(matrix)):
        either = int(matrix[c].sum() + matrix[:, c].sum() - matrix[c, c])
        if either:
            found.append(int(matrix[c, c]) / either)
    return sum(found) / len(found)


def test_truth_constant_and_shuffled(tmp_path: Path, data: FileDataSet, truths: list[Labels]) -> None:
    n = len(data.classes)
    assert len(data) == len(truths) == 27 and n == 133
    right = run(data, tmp_path / "right", "truth", [np.where(t < 0, 0, t) for t in truths])
    assert right.miou == right.counts.pixel_accuracy() == right.counts.boundary_iou() == 1.0
    assert {row.miou for row in right.images} == {1.0}

    pixels = np.concatenate([t.ravel() for t in truths])
    share = np.bincount(pixels[pixels >= 0], minlength=n) / (pixels >= 0).sum()
    most = int(share.argmax())
    flat = run(data, tmp_path / "flat", "constant", [np.full(t.shape, most) for t in truths])
    assert flat.counts.per_class_iou()[most] == pytest.approx(share[most])
    assert flat.miou == pytest.approx(share[most] / (share > 0).sum())
    assert flat.counts.pixel_accuracy() == pytest.approx(share[most])

    rng = np.random.default_rng(0)
    mixed = [rng.permutation(np.where(t < 0, 0, t).ravel()).reshape(t.shape) for t in truths]
    shuffled = run(data, tmp_path / "mixed", "shuffled", mixed)
    expected = plain_matrix(mixed, truths, n)
    np.testing.assert_array_equal(shuffled.counts.matrix, expected)
    assert shuffled.miou == pytest.approx(plain_miou(expected))
    for row, pred, truth in zip(shuffled.images, mixed, truths, strict=True):
        assert row.miou == pytest.approx(plain_miou(plain_matrix([pred], [truth], n)))
        assert row.pixels == truth.size and row.pixel_accuracy == pytest.approx(
            (pred[truth >= 0] == truth[truth >= 0]).mean()
        )


def shapes() -> ModuleType:
    """The benchmarks' models of true shapes."""
    path = Path(__file__).parents[2] / "benchmarks" / "common.py"
    spec = importlib.util.spec_from_file_location("benchmarks_common", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_vit_b_shapes(tmp_path: Path, data: FileDataSet, truths: list[Labels]) -> None:
    """Random weights know nothing, but every pixel of theirs must be counted where it belongs."""
    from freeda.model import FreeDA

    common, preset = shapes(), PRESETS["vit-b"]
    model = FreeDA(preset, common.random_encoders("vit-b"))
    words = common.random_vocabulary(len(data.classes), "vit-b")
    method = FreedaLabeller(model, words, protocol_options(preset, data), len(data.classes))
    seen: list[Labels] = []

    def watched(image: NDArray[np.uint8]) -> Labels:
        seen.append(method(image))
        return seen[-1]

    result = evaluate(data, out=tmp_path, labeller=watched, limit=2, device="cpu")
    expected = plain_matrix(seen[:2], truths[:2], len(data.classes))  # the report labels again
    np.testing.assert_array_equal(result.counts.matrix, expected)
    assert result.miou == pytest.approx(plain_miou(expected)) and result.peak_memory > 5e8
    assert (tmp_path / "report.md").exists()
