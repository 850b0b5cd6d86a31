"""The confusion matrix of a data set, and what benchmarks read from it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError

IGNORE = 255
"""The truth's label of pixels that count nowhere."""

LabelMap = NDArray[np.int32]


def prepare(
    pred: NDArray[Any], truth: NDArray[Any], n_labels: int, ignore: int = IGNORE
) -> tuple[LabelMap, LabelMap]:
    """Prediction and truth as int32 copies, checked, with `n_labels` in both wherever the truth is `ignore`.

    Integer arrays of one shape, values in [0, n_labels) (truth: or `ignore`); predictions under an ignored
    truth may be anything, and leave no trace. Raises InputError for shapes that differ, dtypes that are not
    integers and labels out of range.
    """
    pred, truth = np.asarray(pred), np.asarray(truth)
    if pred.shape != truth.shape:
        raise InputError(f"prediction has shape {pred.shape}, truth has {truth.shape}: they must be equal")
    counted = truth != ignore
    out = []
    for array, what in ((pred, "prediction"), (truth, "truth")):
        if not np.issubdtype(array.dtype, np.integer):
            raise InputError(f"{what} has dtype {array.dtype}, expected integers")
        values = array[counted]
        if values.size and (values.min() < 0 or values.max() >= n_labels):
            bad = int(values[(values < 0) | (values >= n_labels)][0])
            raise InputError(f"{what} holds label {bad}, expected 0 to {n_labels - 1}")
        plane = np.full(array.shape, n_labels, dtype=np.int32)
        plane[counted] = values
        out.append(plane)
    return out[0], out[1]


def ratio(part: NDArray[Any], whole: NDArray[Any]) -> NDArray[np.float64]:
    """`part / whole`, float64; nan where the whole is 0."""
    return np.divide(part, whole, out=np.full(np.shape(part), np.nan), where=whole > 0)


def mean_of_known(values: NDArray[np.float64]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")


class Metric(ABC):
    """Sums over label maps with labels 0 to `n_labels` - 1; pixels whose truth is `ignore` count nowhere."""

    def __init__(self, n_labels: int, ignore: int = IGNORE) -> None:
        if n_labels < 1:
            raise InputError(f"n_classes is {n_labels}: at least 1 class is needed")
        if 0 <= ignore < n_labels:
            raise InputError(f"ignore is {ignore}: it must not be one of the {n_labels} classes")
        self.n_labels, self.ignore = n_labels, ignore

    def update(self, pred: NDArray[Any], truth: NDArray[Any]) -> None:
        """Add one label map. Takes and raises what `prepare` does; after an error nothing is added."""
        self.add_maps(*prepare(pred, truth, self.n_labels, self.ignore))

    @abstractmethod
    def add_maps(self, pred: LabelMap, truth: LabelMap) -> None:
        """`update` with what `prepare` made."""


class ClassIoU(Metric):
    """A metric with an IoU a class."""

    @abstractmethod
    def per_class_iou(self) -> NDArray[np.float64]:
        """(n_labels,) in [0, 1]; nan for a class found neither in the truth nor in a prediction."""

    def miou(self) -> float:
        """Mean of `per_class_iou` over the classes that have one; nan where no pixel was counted."""
        return mean_of_known(self.per_class_iou())


class Confusion(ClassIoU):
    """Counts of (true class, predicted class) over every pixel seen so far.

    Intersections and unions are summed over the data set, per class, then averaged over classes: the
    benchmark protocol of Pascal VOC (Everingham et al. 2010), not the mean of per-image scores.
    """

    def __init__(self, n_labels: int, ignore: int = IGNORE) -> None:
        super().__init__(n_labels, ignore)
        self.matrix: NDArray[np.int64] = np.zeros((n_labels, n_labels), dtype=np.int64)
        """(n_labels, n_labels): row = truth, column = prediction, in pixels."""

    def add_maps(self, pred: LabelMap, truth: LabelMap) -> None:
        n = self.n_labels + 1  # the last row and column are the ignored pixels
        codes = truth.ravel().astype(np.int64) * n + pred.ravel()
        self.matrix += np.bincount(codes, minlength=n * n).reshape(n, n)[:-1, :-1]

    def per_class_iou(self) -> NDArray[np.float64]:
        both = np.diag(self.matrix)
        return ratio(both, self.matrix.sum(0) + self.matrix.sum(1) - both)

    def pixel_accuracy(self) -> float:
        """Share of the counted pixels that are right, in [0, 1]; nan where no pixel was counted."""
        total = self.matrix.sum()
        return float(np.trace(self.matrix) / total) if total else float("nan")

    def per_class_accuracy(self) -> NDArray[np.float64]:
        """(n_labels,) in [0, 1]: share of a class's true pixels that were found; nan without any."""
        return ratio(np.diag(self.matrix), self.matrix.sum(1))

    def mean_accuracy(self) -> float:
        """Mean of `per_class_accuracy` over the classes that have one; nan where no pixel was counted."""
        return mean_of_known(self.per_class_accuracy())

    def frequency_weighted_iou(self) -> float:
        """Mean IoU weighted by each class's share of the true pixels, in [0, 1] (Long et al., CVPR 2015).

        nan where no pixel was counted.
        """
        true = self.matrix.sum(1)
        total = true.sum()
        # A class without true pixels weighs nothing, whatever its IoU is.
        return float(true @ np.nan_to_num(self.per_class_iou()) / total) if total else float("nan")
