"""Everything that is counted over a data set: beside the confusion matrix, outlines and sizes.

All sums are integers, so that parts of a data set add up exactly, in any order.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .metric import IGNORE, ClassIoU, Confusion, LabelMap, Metric, mean_of_known, ratio

SHARE = 0.02
"""Width of the band along an outline, as a share of the picture's diagonal: the paper's value."""
LIMITS = (32**2, 96**2)
"""Pixels at which a component counts as medium, and as large: COCO's areas (Lin et al., ECCV 2014)."""
SIZES = ("small", "medium", "large")


def band_width(height: int, width: int, share: float = SHARE) -> int:
    """The band's width in pixels, at least 1: `share` of the diagonal, rounded (half to even)."""
    return max(1, round(share * math.hypot(height, width)))


def bands(labels: LabelMap, width: int) -> NDArray[np.bool_]:
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


class Boundary(ClassIoU):
    """Boundary IoU of Cheng et al. (CVPR 2021), summed over a data set.

    Of every class, only the pixels within a band along its outline count, in the truth and in the prediction:
    IoU of the two bands. Intersections and unions are summed per class over the data set, like the mIoU's.

    Ignored pixels never count, and what is predicted there moves nothing: they end a mask in truth and
    prediction alike, just as the picture's own border does in the paper.
    """

    def __init__(self, n_labels: int, ignore: int = IGNORE, share: float = SHARE) -> None:
        """`share`: the band's width over the picture's diagonal, above 0 and at most 1."""
        super().__init__(n_labels, ignore)
        if not 0 < share <= 1:
            raise InputError(f"the boundary's width is {share} of the diagonal: expected above 0, at most 1")
        self.share = share
        self.pixels: NDArray[np.int64] = np.zeros((3, n_labels), dtype=np.int64)
        """(3, n_labels): pixels of each class in both bands, in the truth's band, in the prediction's."""

    def add_maps(self, pred: LabelMap, truth: LabelMap) -> None:
        if not truth.size:
            return
        width = band_width(truth.shape[0], truth.shape[1], self.share)
        of_pred, of_truth = bands(pred, width), bands(truth, width)
        both = of_pred & of_truth & (pred == truth)
        for row, labels in zip(self.pixels, (truth[both], truth[of_truth], pred[of_pred]), strict=True):
            row += np.bincount(labels, minlength=self.n_labels + 1)[:-1]  # the last label is the ignored one

    def per_class_iou(self) -> NDArray[np.float64]:
        both, true, predicted = self.pixels
        return ratio(both, true + predicted - both)


@dataclass(frozen=True)
class SizeScore:
    """What was found of the components of one size; shares in [0, 1], nan where there is none."""

    size: str
    """One of `SIZES`."""
    miou: float
    """Mean over classes of the IoU."""
    recall: float
    """Mean over the classes with such components of the share of their pixels that was found."""
    components: int
    """True components of this size."""
    pixels: int
    """True pixels in them."""


class Sizes(Metric):
    """IoU by component size, summed over a data set: small things are where these methods fail.

    A component is a set of pixels of one label that hang together (corners included), without ignored
    pixels. True pixels belong to the size of their true component. A wrongly predicted pixel belongs to its
    predicted component's match: the true component of the same class that shares most pixels with it (of
    equal ones the largest); a predicted component that meets none counts by its own size. So a large blob
    over a small thing is the small thing's error, and a speck in nowhere is a small one: as COCO charges a
    matched detection to the size of its object and an unmatched one to its own.
    """

    def __init__(self, n_labels: int, ignore: int = IGNORE) -> None:
        super().__init__(n_labels, ignore)
        self.counts: NDArray[np.int64] = np.zeros((4, len(SIZES), n_labels), dtype=np.int64)
        """(4, 3, n_labels): pixels found, true pixels, wrong pixels; and true components; by size, class."""

    def add_maps(self, pred: LabelMap, truth: LabelMap) -> None:
        true, said = _Components(truth, self.n_labels), _Components(pred, self.n_labels)
        right = (pred == truth) & (truth < self.n_labels)
        in_true, in_said = true.number[right], said.number[right]
        # Pairs of (predicted, true) component that share pixels; the best of each predicted one is put last.
        pairs, shared = np.unique(in_said.astype(np.int64) * len(true.area) + in_true, return_counts=True)
        one, other = np.divmod(pairs, len(true.area))
        best = np.lexsort((true.area[other], shared, one))
        size = said.size.copy()
        size[one[best]] = true.size[other[best]]
        found = np.bincount(in_true, minlength=len(true.area))
        wrong = said.area - np.bincount(in_said, minlength=len(said.area))
        for row, kind, of, amount in (
            (0, true.size, true, found),
            (1, true.size, true, true.area),
            (2, size, said, wrong),
            (3, true.size, true, np.ones_like(true.area)),
        ):
            # Component 0 is the ignored pixels.
            np.add.at(self.counts[row], (kind[1:], of.label[1:]), amount[1:])

    def per_class_iou(self) -> NDArray[np.float64]:
        """(3, n_labels): IoU of each size and class, in [0, 1]; nan where there is nothing."""
        found, true, wrong, _ = self.counts
        return ratio(found, true + wrong)

    def scores(self) -> tuple[SizeScore, ...]:
        """One entry a size, smallest first."""
        found, true, _, components = self.counts
        rows = zip(SIZES, self.per_class_iou(), ratio(found, true), components, true, strict=True)
        return tuple(
            SizeScore(size, mean_of_known(iou), mean_of_known(recall), int(parts.sum()), int(pixels.sum()))
            for size, iou, recall, parts, pixels in rows
        )


class _Components:
    """The components of a prepared label map; number 0 is all that is ignored."""

    def __init__(self, labels: LabelMap, n_labels: int) -> None:
        from skimage import measure

        self.number: NDArray[Any] = (
            measure.label(labels, background=n_labels, connectivity=2) if labels.size else labels
        )
        """Like `labels`: which component a pixel is in."""
        self.area = np.bincount(self.number.ravel(), minlength=1)
        """Pixels of each."""
        self.label = np.full(len(self.area), n_labels)
        """Class of each."""
        self.label[self.number.ravel()] = labels.ravel()
        self.size = np.searchsorted(LIMITS, self.area, side="right")
        """Index of its size in `SIZES`."""


class Counts(Confusion):
    """Confusion matrix, boundary and component sizes of the images seen so far."""

    def __init__(self, n_labels: int) -> None:
        super().__init__(n_labels)
        self.boundary, self.sizes = Boundary(n_labels), Sizes(n_labels)

    def add_maps(self, pred: LabelMap, truth: LabelMap) -> None:
        """Raise InputError for maps that are not (H, W)."""
        if truth.ndim != 2:
            raise InputError(f"truth has shape {truth.shape}, expected (H, W)")
        super().add_maps(pred, truth)
        self.boundary.add_maps(pred, truth)
        self.sizes.add_maps(pred, truth)

    def add(self, other: Counts) -> None:
        """Add what another one counted: exact. Raises InputError unless both have as many labels."""
        if self.n_labels != other.n_labels:
            raise InputError(f"counts of {other.n_labels} labels cannot be added to {self.n_labels}")
        for name, sums in self._sums().items():
            sums += other._sums()[name]

    def boundary_iou(self) -> float:
        """Mean boundary IoU over classes, in [0, 1]; nan where nothing counted."""
        return self.boundary.miou()

    def by_size(self) -> tuple[SizeScore, ...]:
        """What was found of small, medium and large components."""
        return self.sizes.scores()

    def arrays(self) -> dict[str, NDArray[np.int64]]:
        """Copies of all sums, int64, by name: "confusion" (n, n), "boundary" (3, n), "sizes" (4, 3, n)."""
        return {name: array.copy() for name, array in self._sums().items()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Counts:
        """What `arrays` gave, other entries left aside. Raises InputError for arrays that no counts gave."""
        first = arrays.get("confusion")
        if first is None or first.ndim != 2:
            raise InputError("counts lack a square array 'confusion'")
        counts = cls(len(first))
        for name, sums in counts._sums().items():
            array = arrays.get(name)
            if array is None or array.shape != sums.shape or not np.issubdtype(array.dtype, np.integer):
                raise InputError(f"counts lack an integer array {name!r} of shape {sums.shape}")
            if array.size and array.min() < 0:
                raise InputError(f"counts {name!r} hold {array.min()}: no count is negative")
            sums += array.astype(np.int64)
        return counts

    def _sums(self) -> dict[str, NDArray[np.int64]]:
        return {"confusion": self.matrix, "boundary": self.boundary.pixels, "sizes": self.sizes.counts}
