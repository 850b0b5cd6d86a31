"""Boundary IoU: how well outlines are met, whatever the size of what they surround."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .metric import IGNORE, Maps, check_labels, mean_of_known, prepare, ratio

SHARE = 0.02
"""Width of the band along an outline, as a share of the picture's diagonal: the paper's value."""


def band_width(height: int, width: int, share: float = SHARE) -> int:
    """The band's width in pixels, at least 1: `share` of the diagonal, rounded (half to even)."""
    return max(1, round(share * math.hypot(height, width)))


def bands(labels: NDArray[np.int32], width: int) -> NDArray[np.bool_]:
    """(H, W) bool: pixels of a label map that lie within `width` of their own mask's outline.

    A pixel is in the band if the square of side 2 * width + 1 around it holds another label or leaves the
    picture: its mask minus the mask eroded `width` times by 3 x 3, with nothing outside the picture, for all
    masks at once. `labels` must not be negative.
    """
    # The square holds another label just where one of the 2 x 2 blocks in it is mixed.
    inside = np.pad(labels, 1, constant_values=-1)
    corner = inside[:-1, :-1]
    mixed = (corner != inside[1:, :-1]) | (corner != inside[:-1, 1:]) | (corner != inside[1:, 1:])
    mixed = np.pad(mixed, width - 1)
    return _any_of(_any_of(mixed, 2 * width).T, 2 * width).T


def _any_of(rows: NDArray[np.bool_], n: int) -> NDArray[np.bool_]:
    """Of every `n` successive rows, whether any holds True: (R, C) to (R - n + 1, C)."""
    taken = 1
    while taken < n:
        step = min(taken, n - taken)
        rows = rows[:-step] | rows[step:]
        taken += step
    return rows


class Boundary:
    """Boundary IoU of Cheng et al. (CVPR 2021), summed over a data set.

    Of every class, only the pixels within a band along its outline count, in the truth and in the prediction:
    IoU of the two bands. Intersections and unions are summed per class over the data set, like the mIoU's.

    Ignored pixels never count, and what is predicted there moves nothing: they end a mask in truth and
    prediction alike, just as the picture's own border does in the paper.
    """

    def __init__(self, n_labels: int, ignore: int = IGNORE, share: float = SHARE) -> None:
        """`share`: the band's width over the picture's diagonal, above 0 and at most 1."""
        check_labels(n_labels, ignore)
        if not 0 < share <= 1:
            raise InputError(f"the boundary's width is {share} of the diagonal: expected above 0, at most 1")
        self.n_labels, self.ignore, self.share = n_labels, ignore, share
        self.pixels: NDArray[np.int64] = np.zeros((3, n_labels), dtype=np.int64)
        """(3, n_labels): pixels of each class in both bands, in the truth's band, in the prediction's."""

    def update(self, pred: NDArray[Any], truth: NDArray[Any]) -> None:
        """Add one label map: (H, W) integers as `Confusion.update` takes them. Raises InputError."""
        self.add_maps(prepare(pred, truth, self.n_labels, self.ignore))

    def add_maps(self, maps: Maps) -> None:
        """`update` with what `prepare` made."""
        pred, truth = maps
        if not truth.size:
            return
        width = band_width(truth.shape[0], truth.shape[1], self.share)
        of_pred, of_truth = bands(pred, width), bands(truth, width)
        both = of_pred & of_truth & (pred == truth)
        for row, labels in zip(self.pixels, (truth[both], truth[of_truth], pred[of_pred]), strict=True):
            row += np.bincount(labels, minlength=self.n_labels + 1)[:-1]  # the last label is the ignored one

    def per_class_iou(self) -> NDArray[np.float64]:
        """(n_labels,) in [0, 1]; nan for a class found neither in the truth nor in a prediction."""
        both, true, predicted = self.pixels
        return ratio(both, true + predicted - both)

    def miou(self) -> float:
        """Mean of `per_class_iou` over the classes that have one; nan where no pixel was counted."""
        return mean_of_known(self.per_class_iou())
