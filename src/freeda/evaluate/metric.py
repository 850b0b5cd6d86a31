"""Mean intersection over union, summed over a data set."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError


class Confusion:
    """Counts of (true class, predicted class) over every pixel seen so far.

    Intersections and unions are summed over the data set, per class, then averaged over classes: the
    benchmark protocol of Pascal VOC (Everingham et al. 2010), not the mean of per-image scores.
    """

    def __init__(self, n_classes: int, ignore: int = 255) -> None:
        """`n_classes` at least 1; pixels whose truth is `ignore` count nowhere."""
        if n_classes < 1:
            raise InputError(f"n_classes is {n_classes}: at least 1 class is needed")
        if 0 <= ignore < n_classes:
            raise InputError(f"ignore is {ignore}: it must not be one of the {n_classes} classes")
        self.n_classes = n_classes
        self.ignore = ignore
        self.matrix: NDArray[np.int64] = np.zeros((n_classes, n_classes), dtype=np.int64)
        """(n_classes, n_classes): row = truth, column = prediction, in pixels."""

    def update(self, pred: NDArray[Any], truth: NDArray[Any]) -> None:
        """Add one label map: integer arrays of one shape, values in [0, n_classes) (truth: or `ignore`).

        Predictions under an ignored truth may be anything. Raises InputError for shapes that differ, dtypes
        that are not integers and labels out of range; then nothing is added.
        """
        pred, truth = np.asarray(pred), np.asarray(truth)
        if pred.shape != truth.shape:
            raise InputError(
                f"prediction has shape {pred.shape}, truth has {truth.shape}: they must be equal"
            )
        for array, what in ((pred, "prediction"), (truth, "truth")):
            if not np.issubdtype(array.dtype, np.integer):
                raise InputError(f"{what} has dtype {array.dtype}, expected integers")
        counted = truth != self.ignore
        p, t = pred[counted].astype(np.int64), truth[counted].astype(np.int64)
        for values, what in ((p, "prediction"), (t, "truth")):
            if values.size and (values.min() < 0 or values.max() >= self.n_classes):
                bad = int(values[(values < 0) | (values >= self.n_classes)][0])
                raise InputError(f"{what} holds label {bad}, expected 0 to {self.n_classes - 1}")
        counts = np.bincount(t * self.n_classes + p, minlength=self.n_classes**2)
        self.matrix += counts.reshape(self.n_classes, self.n_classes)

    def per_class_iou(self) -> NDArray[np.float64]:
        """(n_classes,) in [0, 1]; nan for a class found neither in the truth nor in a prediction."""
        both = np.diag(self.matrix).astype(np.float64)
        union = self.matrix.sum(0) + self.matrix.sum(1) - both
        return np.divide(both, union, out=np.full(self.n_classes, np.nan), where=union > 0)

    def miou(self) -> float:
        """Mean of `per_class_iou` over the classes that have one; nan where no pixel was counted."""
        iou = self.per_class_iou()
        found = ~np.isnan(iou)
        return float(iou[found].mean()) if found.any() else float("nan")

    def pixel_accuracy(self) -> float:
        """Share of the counted pixels that are right, in [0, 1]; nan where no pixel was counted."""
        total = self.matrix.sum()
        return float(np.trace(self.matrix) / total) if total else float("nan")
