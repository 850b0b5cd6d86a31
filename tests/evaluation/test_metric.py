"""The confusion matrix against counting by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freeda.errors import InputError
from freeda.evaluation.metric import Confusion


def plain_iou(pairs: list[tuple[list[int], list[int]]], n: int, ignore: int) -> list[float]:
    """Per-class IoU by sets of pixels, written from the definition: |both| / |either|, over the data set."""
    out = []
    for c in range(n):
        both = either = 0
        for pred, truth in pairs:
            for p, t in zip(pred, truth, strict=True):
                if t != ignore:
                    both += p == c and t == c
                    either += p == c or t == c
        out.append(both / either if either else math.nan)
    return out


@st.composite
def data_sets(draw: st.DrawFn) -> tuple[list[tuple[list[int], list[int]]], int, int]:
    n = draw(st.integers(1, 6))
    ignore = draw(st.sampled_from([255, -1, n]))
    label = st.integers(0, n - 1)
    maps = st.lists(st.tuples(label, st.one_of(label, st.just(ignore))), max_size=30)
    pairs = [([p for p, _ in m], [t for _, t in m]) for m in draw(st.lists(maps, max_size=4))]
    return pairs, n, ignore


@given(data_sets())
@settings(max_examples=150)
def test_matches_the_definition(case: tuple[list[tuple[list[int], list[int]]], int, int]) -> None:
    pairs, n, ignore = case
    confusion = Confusion(n, ignore)
    for pred, truth in pairs:
        confusion.update(np.array(pred, np.int32), np.array(truth, np.int16))
    wanted = plain_iou(pairs, n, ignore)
    np.testing.assert_allclose(confusion.per_class_iou(), wanted)
    found = [v for v in wanted if not math.isnan(v)]
    np.testing.assert_allclose(confusion.miou(), sum(found) / len(found) if found else math.nan)
    counted = [(p, t) for pred, truth in pairs for p, t in zip(pred, truth, strict=True) if t != ignore]
    right = sum(p == t for p, t in counted) / len(counted) if counted else math.nan
    np.testing.assert_allclose(confusion.pixel_accuracy(), right)
    assert confusion.matrix.sum() == len(counted)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.int64, np.uint64])
@pytest.mark.parametrize(("n", "shape"), [(2, (3, 4)), (3, (17, 5)), (21, (40, 60)), (171, (64, 64))])
def test_matches_scikit_learn(n: int, shape: tuple[int, int], dtype: type) -> None:
    from sklearn.metrics import accuracy_score, confusion_matrix, jaccard_score, recall_score

    rng = np.random.default_rng(n)
    truth = rng.integers(0, n, shape)
    pred = np.where(rng.random(shape) < 0.6, truth, rng.integers(0, n, shape))
    hidden = rng.random(shape) < 0.1
    confusion = Confusion(n)
    confusion.update(pred.astype(dtype), np.where(hidden, 255, truth).astype(dtype))
    t, p = truth[~hidden], pred[~hidden]
    labels = list(range(n))
    np.testing.assert_array_equal(confusion.matrix, confusion_matrix(t, p, labels=labels))
    assert confusion.pixel_accuracy() == pytest.approx(accuracy_score(t, p))
    weighted = jaccard_score(t, p, labels=labels, average="weighted", zero_division=0)
    assert confusion.frequency_weighted_iou() == pytest.approx(weighted)
    seen = np.isin(labels, t)
    np.testing.assert_array_equal(~np.isnan(confusion.per_class_accuracy()), seen)
    recalls = recall_score(t, p, labels=labels, average=None, zero_division=0)
    np.testing.assert_allclose(confusion.per_class_accuracy()[seen], recalls[seen])


def plain_weighted(pairs: list[tuple[list[int], list[int]]], n: int, ignore: int) -> float:
    """IoU times share of the true pixels, by the definition."""
    truths = [t for _, truth in pairs for t in truth if t != ignore]
    ious = plain_iou(pairs, n, ignore)
    return sum(ious[c] * truths.count(c) / len(truths) for c in set(truths)) if truths else math.nan


@given(data_sets())
@settings(max_examples=100)
def test_frequency_weighted_matches_the_definition(
    case: tuple[list[tuple[list[int], list[int]]], int, int],
) -> None:
    pairs, n, ignore = case
    confusion = Confusion(n, ignore)
    for pred, truth in pairs:
        confusion.update(np.array(pred, np.int64), np.array(truth, np.int64))
    np.testing.assert_allclose(confusion.frequency_weighted_iou(), plain_weighted(pairs, n, ignore))


def test_rows_are_truth_and_columns_prediction() -> None:
    confusion = Confusion(3)
    confusion.update(np.array([[0, 1, 1]]), np.array([[0, 0, 255]]))
    assert confusion.matrix.dtype == np.int64
    assert confusion.matrix.tolist() == [[1, 1, 0], [0, 0, 0], [0, 0, 0]]


def test_sums_over_the_data_set_not_the_mean_of_images() -> None:
    confusion = Confusion(1 + 1)
    confusion.update(np.zeros(100, int), np.zeros(100, int))
    confusion.update(np.ones(1, int), np.zeros(1, int))
    assert confusion.per_class_iou().tolist() == [100 / 101, 0.0]


def test_an_absent_class_does_not_count() -> None:
    confusion = Confusion(5)
    confusion.update(np.array([0, 1]), np.array([0, 1]))
    assert np.isnan(confusion.per_class_iou()).tolist() == [False, False, True, True, True]
    assert confusion.miou() == 1.0


def test_nothing_seen_is_nan() -> None:
    assert math.isnan(Confusion(2).miou()) and math.isnan(Confusion(2).pixel_accuracy())


def test_predictions_under_ignored_truth_may_be_anything() -> None:
    confusion = Confusion(2)
    confusion.update(np.array([77, 1]), np.array([255, 1], np.uint8))
    assert confusion.matrix.sum() == 1


@pytest.mark.parametrize(
    ("pred", "truth", "says"),
    [
        ([[0]], [0], "shape"),
        ([2], [0], "prediction holds label 2"),
        ([-1], [0], "prediction holds label -1"),
        ([0], [9], "truth holds label 9"),
        ([0.0], [0], "prediction has dtype float64"),
        ([True], [0], "prediction has dtype bool"),
    ],
)
def test_bad_maps_are_refused_and_add_nothing(pred: list[int], truth: list[int], says: str) -> None:
    confusion = Confusion(2)
    with pytest.raises(InputError, match=says):
        confusion.update(np.array(pred), np.array(truth))
    assert confusion.matrix.sum() == 0


def test_labels_that_no_prediction_dtype_holds() -> None:
    confusion = Confusion(300, 999)
    confusion.update(np.array([7, 0], np.uint8), np.array([7, 999], np.int16))
    assert confusion.matrix[7, 7] == confusion.matrix.sum() == 1


def test_bad_numbers_of_classes() -> None:
    with pytest.raises(InputError, match="n_classes"):
        Confusion(0)
    with pytest.raises(InputError, match="ignore"):
        Confusion(300)
