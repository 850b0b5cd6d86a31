"""IoU by the size of what is to be found: small things are where these methods fail."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .metric import IGNORE, Maps, check_labels, mean_of_known, prepare, ratio

LIMITS = (32**2, 96**2)
"""Pixels at which a component counts as medium, and as large: COCO's areas (Lin et al., ECCV 2014)."""
NAMES = ("small", "medium", "large")


@dataclass(frozen=True)
class SizeScore:
    """What was found of the components of one size; shares in [0, 1], nan where there is none."""

    name: str
    """"small", "medium" or "large"."""
    miou: float
    """Mean over classes of `per_class_iou`."""
    recall: float
    """Mean over the classes with such components of the share of their pixels that was found."""
    components: int
    """True components of this size."""
    pixels: int
    """True pixels in them."""
    per_class_iou: NDArray[np.float64]
    """(n_labels,)."""


class Sizes:
    """IoU by component size, summed over a data set.

    A component is a set of pixels of one label that hang together (corners included), without ignored
    pixels. True pixels belong to the size of their true component. A wrongly predicted pixel belongs to its
    predicted component's match: the true component of the same class that shares most pixels with it (of
    equal ones the largest); a predicted component that meets none counts by its own size. So a large blob
    over a small thing is the small thing's error, and a speck in nowhere is a small one: as COCO charges a
    matched detection to the size of its object and an unmatched one to its own.
    """

    def __init__(self, n_labels: int, ignore: int = IGNORE) -> None:
        """`n_labels` at least 1; pixels whose truth is `ignore` count nowhere."""
        check_labels(n_labels, ignore)
        self.n_labels, self.ignore = n_labels, ignore
        self.counts: NDArray[np.int64] = np.zeros((4, len(NAMES), n_labels), dtype=np.int64)
        """(4, 3, n_labels): pixels found, true pixels, wrong pixels; and true components; by size, class."""

    def update(self, pred: NDArray[Any], truth: NDArray[Any]) -> None:
        """Add one label map: (H, W) integers as `Confusion.update` takes them. Raises InputError."""
        self.add_maps(prepare(pred, truth, self.n_labels, self.ignore))

    def add_maps(self, maps: Maps) -> None:
        """`update` with what `prepare` made."""
        true, said = _Components(maps[1], self.n_labels), _Components(maps[0], self.n_labels)
        right = (maps[0] == maps[1]) & (maps[1] < self.n_labels)
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

    def scores(self) -> tuple[SizeScore, ...]:
        """One entry a size, smallest first."""
        found, true, wrong, components = self.counts
        iou, recall = ratio(found, true + wrong), ratio(found, true)
        return tuple(
            SizeScore(
                name,
                mean_of_known(iou[i]),
                mean_of_known(recall[i]),
                int(components[i].sum()),
                int(true[i].sum()),
                iou[i],
            )
            for i, name in enumerate(NAMES)
        )


class _Components:
    """The components of a prepared label map; number 0 is all that is ignored."""

    def __init__(self, labels: NDArray[np.int32], n_labels: int) -> None:
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
        """Index of its size in `NAMES`."""
