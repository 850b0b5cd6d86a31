"""Everything that is summed over a data set, as integers, so that parts add up exactly in any order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .boundary import SHARE, Boundary
from .metric import IGNORE, Confusion, prepare
from .sizes import Sizes, SizeScore


@dataclass(frozen=True)
class ImageScore:
    """Of one image alone, in [0, 1]; nan where its truth has no pixel that counts."""

    miou: float
    """Mean IoU over the classes found in its truth or its prediction."""
    pixel_accuracy: float


class Counts:
    """Confusion matrix, boundary and component sizes of the images seen so far."""

    def __init__(self, n_labels: int, ignore: int = IGNORE, boundary: float = SHARE) -> None:
        """Labels 0 to `n_labels` - 1; truth `ignore` counts nowhere; `boundary` as `Boundary.share`.

        Raises InputError for values that make no sense.
        """
        self.confusion = Confusion(n_labels, ignore)
        self.boundary = Boundary(n_labels, ignore, boundary)
        self.sizes = Sizes(n_labels, ignore)
        self.n_labels, self.ignore = n_labels, ignore

    def update(self, pred: NDArray[Any], truth: NDArray[Any]) -> ImageScore:
        """Add one label map and tell how good it is by itself.

        (H, W) integer arrays, values in [0, n_labels) (truth: or `ignore`); predictions under an ignored
        truth may be anything. Raises InputError for arrays that are not so; then nothing is added.
        """
        if np.ndim(truth) != 2:
            raise InputError(f"truth has shape {np.shape(truth)}, expected (H, W)")
        maps = prepare(pred, truth, self.n_labels, self.ignore)
        alone = Confusion(self.n_labels, self.ignore)
        alone.add_maps(maps)
        self.boundary.add_maps(maps)
        self.sizes.add_maps(maps)
        self.confusion.matrix += alone.matrix
        return ImageScore(alone.miou(), alone.pixel_accuracy())

    def add(self, other: Counts) -> None:
        """Add what another one counted: exact. Raises InputError unless both count the same things."""
        mine, theirs = ((c.n_labels, c.ignore, c.boundary.share) for c in (self, other))
        if mine != theirs:
            raise InputError(
                f"counts of (labels, ignored label, boundary width) {theirs} cannot be added to {mine}"
            )
        for name, array in other.arrays().items():
            self._sums()[name] += array

    def arrays(self) -> dict[str, NDArray[np.int64]]:
        """Copies of all sums, int64, by name: "confusion" (n, n), "boundary" (3, n), "sizes" (4, 3, n)."""
        return {name: array.copy() for name, array in self._sums().items()}

    @classmethod
    def from_arrays(
        cls, arrays: Mapping[str, NDArray[Any]], ignore: int = IGNORE, boundary: float = SHARE
    ) -> Counts:
        """What `arrays` gave, other entries left aside. Raises InputError for arrays that no counts gave."""
        first = arrays.get("confusion")
        if first is None or first.ndim != 2:
            raise InputError("counts lack a square array 'confusion'")
        counts = cls(len(first), ignore, boundary)
        for name, sums in counts._sums().items():
            array = arrays.get(name)
            if array is None or array.shape != sums.shape or not np.issubdtype(array.dtype, np.integer):
                raise InputError(f"counts lack an integer array {name!r} of shape {sums.shape}")
            if array.size and array.min() < 0:
                raise InputError(f"counts {name!r} hold {array.min()}: no count is negative")
            sums += array.astype(np.int64)
        return counts

    def miou(self) -> float:
        """Mean IoU over classes of the summed confusion matrix, in [0, 1]; nan where nothing counted."""
        return self.confusion.miou()

    def per_class_iou(self) -> NDArray[np.float64]:
        """(n_labels,) in [0, 1]; nan for a class found neither in the truth nor in a prediction."""
        return self.confusion.per_class_iou()

    def pixel_accuracy(self) -> float:
        """Share of the counted pixels that are right, in [0, 1]; nan where nothing counted."""
        return self.confusion.pixel_accuracy()

    def frequency_weighted_iou(self) -> float:
        """IoU weighted by each class's share of the true pixels, in [0, 1]; nan where nothing counted."""
        return self.confusion.frequency_weighted_iou()

    def boundary_iou(self) -> float:
        """Mean boundary IoU over classes, in [0, 1]; nan where nothing counted."""
        return self.boundary.miou()

    def per_class_boundary_iou(self) -> NDArray[np.float64]:
        """(n_labels,) in [0, 1]; nan for a class found neither in the truth nor in a prediction."""
        return self.boundary.per_class_iou()

    def by_size(self) -> tuple[SizeScore, ...]:
        """IoU of small, medium and large components."""
        return self.sizes.scores()

    def _sums(self) -> dict[str, NDArray[np.int64]]:
        return {
            "confusion": self.confusion.matrix,
            "boundary": self.boundary.pixels,
            "sizes": self.sizes.counts,
        }
