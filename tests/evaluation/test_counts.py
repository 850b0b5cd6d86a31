"""Sums over a data set: parts add up exactly, and come back from arrays."""

from __future__ import annotations

import numpy as np
import pytest

from freeda.errors import InputError
from freeda.evaluation.counts import Boundary, Counts, Sizes
from freeda.evaluation.metric import Confusion
from label_maps import Map, random_maps

PAIRS = [random_maps(seed, (30 + seed, 41), 4, np.uint8) for seed in range(5)]


def counted(pairs: list[tuple[Map, Map]]) -> Counts:
    counts = Counts(4)
    for pred, truth in pairs:
        counts.update(pred, truth)
    return counts


def same(a: Counts, b: Counts) -> bool:
    left, right = a.arrays(), b.arrays()
    return left.keys() == right.keys() and all(np.array_equal(left[k], right[k]) for k in left)


def test_is_all_metrics_at_once() -> None:
    counts = counted(PAIRS)
    confusion, boundary, sizes = Confusion(4), Boundary(4), Sizes(4)
    for pred, truth in PAIRS:
        for metric in (confusion, boundary, sizes):
            metric.update(pred, truth)
    assert counts.miou() == confusion.miou() and counts.boundary_iou() == boundary.miou()
    assert counts.pixel_accuracy() == confusion.pixel_accuracy()
    assert counts.frequency_weighted_iou() == confusion.frequency_weighted_iou()
    np.testing.assert_array_equal(counts.per_class_iou(), confusion.per_class_iou())
    np.testing.assert_array_equal(counts.boundary.per_class_iou(), boundary.per_class_iou())
    assert [s.recall for s in counts.by_size()] == pytest.approx(
        [s.recall for s in sizes.scores()], nan_ok=True
    )


def test_parts_add_up_in_any_order() -> None:
    whole, parts = counted(PAIRS), [counted([pair]) for pair in PAIRS]
    for order in ([0, 1, 2, 3, 4], [4, 2, 0, 3, 1]):
        total = Counts(4)
        for i in order:
            total.add(Counts.from_arrays(parts[i].arrays()))
        assert same(total, whole)
    assert not same(parts[0], whole)


def test_arrays_are_copies_of_int64() -> None:
    counts = counted(PAIRS)
    before = counts.miou()
    for array in counts.arrays().values():
        assert array.dtype == np.int64
        array[:] = 0
    assert counts.miou() == before


def test_bad_maps_add_nothing() -> None:
    counts, before = counted(PAIRS), counted(PAIRS)
    truth = np.zeros((2, 2), np.uint8)
    for pred, says in ((np.full((2, 2), 4), "label 4"), (np.zeros((2, 3), int), "shape")):
        with pytest.raises(InputError, match=says):
            counts.update(pred, truth)
    with pytest.raises(InputError, match=r"expected \(H, W\)"):
        counts.update(truth[0], truth[0])
    assert same(counts, before)


def test_only_alike_counts_add_up() -> None:
    with pytest.raises(InputError, match="counts of 5 labels cannot be added to 4"):
        Counts(4).add(Counts(5))


@pytest.mark.parametrize(
    ("name", "array", "says"),
    [
        ("confusion", None, "lack a square array 'confusion'"),
        ("confusion", np.zeros(4, np.int64), "lack a square array"),
        ("confusion", np.zeros((4, 3), np.int64), "'confusion' of shape"),
        ("boundary", None, "'boundary' of shape"),
        ("boundary", np.zeros((3, 4)), "an integer array 'boundary'"),
        ("sizes", np.zeros((4, 3, 5), np.int64), "'sizes' of shape"),
        ("sizes", np.full((4, 3, 4), -1, np.int64), "hold -1"),
    ],
)
def test_arrays_that_no_counts_gave(name: str, array: Map | None, says: str) -> None:
    arrays = counted(PAIRS).arrays() | {name: array}
    with pytest.raises(InputError, match=says):
        Counts.from_arrays({k: v for k, v in arrays.items() if v is not None})
