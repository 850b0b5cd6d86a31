"""IoU by component size against flood filling and counting by hand."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import pytest

from freeda.evaluation import counts
from freeda.evaluation.counts import LIMITS, SIZES, Sizes
from label_maps import DTYPES, SHAPES, Map, random_maps

Component = tuple[int, set[tuple[int, int]]]


def flood(labels: Map) -> list[Component]:
    """(label, pixels) of all that hangs together, corners included; negative labels are nothing."""
    left = {(y, x) for y, x in np.ndindex(labels.shape) if labels[y, x] >= 0}
    out = []
    while left:
        start = left.pop()
        label, pixels, todo = int(labels[start]), {start}, [start]
        while todo:
            y, x = todo.pop()
            for step in [(y + i, x + j) for i in (-1, 0, 1) for j in (-1, 0, 1)]:
                if step in left and labels[step] == label:
                    left.remove(step)
                    pixels.add(step)
                    todo.append(step)
        out.append((label, pixels))
    return out


def bucket(area: int) -> int:
    return 0 if area < counts.LIMITS[0] else 1 if area < counts.LIMITS[1] else 2


def plain_counts(pred: Map, truth: Map, n: int, ignore: int) -> Map:
    """(4, 3, n), from the definition."""
    out = np.zeros((4, 3, n), np.int64)
    p, t = pred.astype(int), truth.astype(int)
    p[t == ignore] = -1
    t[t == ignore] = -1
    true = flood(t)
    for label, pixels in true:
        at = bucket(len(pixels))
        out[0, at, label] += sum(p[pixel] == label for pixel in pixels)
        out[1, at, label] += len(pixels)
        out[3, at, label] += 1
    for label, pixels in flood(p):
        wrong = {pixel for pixel in pixels if t[pixel] != label}
        matches = [(len(pixels & other), len(other)) for kind, other in true if kind == label]
        matches = [match for match in matches if match[0]]
        out[2, bucket(max(matches)[1] if matches else len(pixels)), label] += len(wrong)
    return out


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_matches_the_definition(shape: tuple[int, int], dtype: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counts, "LIMITS", (4, 12))  # so that small maps hold all sizes
    filled = Counter[str]()
    for seed, (n, ignore, patchy) in enumerate(
        [(1, 255, True), (3, 77, True), (4, 255, False), (2, 9, True)]
    ):
        found, wanted = Sizes(n, ignore), np.zeros((4, 3, n), np.int64)
        for image in range(2):
            pred, truth = random_maps(7 * seed + image, shape, n, dtype, ignore, patchy)
            found.update(pred, truth)
            wanted += plain_counts(pred, truth, n, ignore)
        np.testing.assert_array_equal(found.counts, wanted)
        filled.update(name for name, of in zip(SIZES, wanted[1], strict=True) if of.any())
    assert shape != SHAPES[-1] or set(filled) == set(SIZES)


def test_sizes_add_up_to_the_whole() -> None:
    """Found, true and wrong pixels over all sizes are those of the confusion matrix."""
    from freeda.evaluation.metric import Confusion

    sizes_, confusion = Sizes(5), Confusion(5)
    for seed in range(3):
        pred, truth = random_maps(seed, (150, 130), 5, np.uint8)
        sizes_.update(pred, truth)
        confusion.update(pred, truth)
    found, true, wrong, _ = sizes_.counts.sum(1)
    np.testing.assert_array_equal(found, np.diag(confusion.matrix))
    np.testing.assert_array_equal(true, confusion.matrix.sum(1))
    np.testing.assert_array_equal(found + wrong, confusion.matrix.sum(0))


def test_the_limits() -> None:
    """32 x 32 pixels are medium, one less is small; 96 x 96 are large."""
    assert LIMITS == (1024, 9216)
    for side, less, name in (
        (32, 1, "small"),
        (32, 0, "medium"),
        (96, 1, "medium"),
        (96, 0, "large"),
    ):
        truth = np.full((100, 100), 255, np.uint8)
        truth[:side, :side] = 0
        truth[0, :less] = 255
        one = Sizes(1)
        one.update(np.zeros_like(truth), truth)
        scores = {s.size: s for s in one.scores()}
        assert [n for n, s in scores.items() if s.components] == [name]
        assert scores[name].pixels == side * side - less and scores[name].miou == 1.0


def test_a_blob_over_a_small_thing_is_the_small_things_error() -> None:
    truth = np.zeros((200, 200), np.uint8)
    truth[50:60, 50:60] = 1
    pred = np.zeros_like(truth)
    pred[40:160, 40:160] = 1  # large, and matched with the small one
    one = Sizes(2)
    one.update(pred, truth)
    (small, _, large), iou = one.scores(), one.per_class_iou()
    assert iou[0, 1] == 100 / 120**2 and small.recall == 1.0
    assert iou[2, 0] == (200**2 - 120**2) / (200**2 - 100) and large.components == 1


def test_a_speck_in_nowhere_counts_by_its_own_size() -> None:
    truth = np.zeros((200, 200), np.uint8)
    truth[:, 100:] = 1
    pred = truth.copy()
    pred[10:14, 10:14] = 1
    one = Sizes(2)
    one.update(pred, truth)
    iou = one.per_class_iou()
    assert iou[0, 1] == 0.0 and math.isnan(iou[0, 0])
    assert iou[2, 1] == 1.0 and math.isnan(one.scores()[0].recall)


def test_what_is_predicted_under_ignored_truth_moves_nothing() -> None:
    pred, truth = random_maps(2, (40, 40), 3, np.int32)
    truth[10:20] = 255
    one, two = Sizes(3), Sizes(3)
    one.update(pred, truth)
    two.update(np.where(truth == 255, 123456, pred), truth)
    np.testing.assert_array_equal(one.counts, two.counts)


@pytest.mark.parametrize("shape", [(0, 0), (3, 0), (4, 4)])
def test_nothing_seen_is_nan(shape: tuple[int, int]) -> None:
    one = Sizes(2)
    one.update(np.zeros(shape, int), np.full(shape, 255))
    assert all(math.isnan(s.miou) and s.components == 0 for s in one.scores())
