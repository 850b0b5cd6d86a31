"""What an evaluation found, and its figures, which the screen, the Markdown page and the JSON all show."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from ..show.caveats import NONE, Caveats
from .counts import Counts

MISTAKES = 15
"""So many of the largest confusions are listed."""


@dataclass(frozen=True)
class ImageRow:
    """One image of a data set, by itself."""

    index: int
    """Its place in the data set, from 0."""
    name: str
    miou: float
    """Mean IoU over the classes in its truth or its prediction, in [0, 1]; nan where nothing counted."""
    pixel_accuracy: float
    """Share of its counted pixels that are right, in [0, 1]; nan where nothing counted."""
    seconds: float
    """What labelling it took; reading the files and counting are not part of it."""
    pixels: int
    """Height times width."""


@dataclass(frozen=True)
class Evaluation:
    """A data set labelled and compared with its truth."""

    dataset: str
    labels: tuple[str, ...]
    """What the labels mean, "background" last where the data set has one."""
    counts: Counts = field(repr=False)
    """Summed over all images: confusion matrix, boundary, component sizes, and the metrics made of them."""
    images: tuple[ImageRow, ...] = field(repr=False)
    """In the data set's order."""
    settings: dict[str, Any] = field(repr=False)
    """What the figures depend on and how they were come by, as JSON values: models, bank, options, what of
    the protocol was changed, split, limit, ...
    """
    seconds: float
    """The images' seconds added up, over all runs and workers."""
    peak_memory: int
    """Bytes: the most that a process of any run held in main memory; 0 where the system does not tell."""
    caveats: Caveats = field(default=NONE, repr=False)
    """Why labels may not mean what they say."""

    @property
    def miou(self) -> float:
        """Mean IoU over classes of the summed confusion matrix, in [0, 1]; nan where nothing counted."""
        return self.counts.miou()

    def ranked(self) -> list[ImageRow]:
        """The images whose truth counts, worst mIoU first; of equal ones the lower pixel accuracy first."""
        counted = [row for row in self.images if not math.isnan(row.miou)]
        return sorted(counted, key=lambda row: (row.miou, row.pixel_accuracy, row.index))


def figures(result: Evaluation) -> dict[str, Any]:
    """All figures as JSON values: shares in [0, 1], None where there is nothing to tell.

    "classes" is in label order, "mistakes" are the largest off-diagonal entries of the confusion matrix
    (truth taken for another class), largest first; "by_size" goes from small to large.
    """
    counts, matrix = result.counts, result.counts.matrix
    seconds = [row.seconds for row in result.images]
    told = {
        "dataset": result.dataset,
        "images": len(result.images),
        "labels": len(result.labels),
        "labels_in_truth": int((matrix.sum(1) > 0).sum()),
        "labels_scored": int((~np.isnan(counts.per_class_iou())).sum()),
        "pixels": int(matrix.sum()),
        "warnings": result.caveats.lines(),
        "miou": counts.miou(),
        "pixel_accuracy": counts.pixel_accuracy(),
        "mean_accuracy": counts.mean_accuracy(),
        "frequency_weighted_iou": counts.frequency_weighted_iou(),
        "boundary_iou": counts.boundary_iou(),
        "by_size": [asdict(score) for score in counts.by_size()],
        "classes": _classes(result),
        "mistakes": _mistakes(result),
        "per_image": [asdict(row) for row in result.images],
        "seconds": result.seconds,
        "seconds_an_image": statistics.median(seconds) if seconds else None,
        "peak_memory": result.peak_memory or None,
    }
    return {**_known(told), "settings": result.settings}


def _classes(result: Evaluation) -> list[dict[str, Any]]:
    counts, answered = result.counts, result.caveats.answered
    columns = {
        "iou": counts.per_class_iou(),
        "accuracy": counts.per_class_accuracy(),
        "boundary_iou": counts.boundary.per_class_iou(),
        "pixels": counts.matrix.sum(1),
        "predicted_pixels": counts.matrix.sum(0),
    }
    return [
        {
            "label": i,
            "name": name,
            **{key: column[i].item() for key, column in columns.items()},
            **({"answered_by": list(answered[name])} if name in answered else {}),
        }
        for i, name in enumerate(result.labels)
    ]


def _mistakes(result: Evaluation) -> list[dict[str, Any]]:
    """The largest confusions, with their share of the true class's pixels and of all wrong pixels."""
    matrix = result.counts.matrix
    wrong = matrix - np.diag(np.diag(matrix))
    order = np.argsort(-wrong, axis=None, kind="stable")[:MISTAKES]
    return [
        {
            "truth": result.labels[truth],
            "taken_for": result.labels[said],
            "pixels": int(wrong[truth, said]),
            "share_of_truth": float(wrong[truth, said] / matrix[truth].sum()),
            "share_of_mistakes": float(wrong[truth, said] / wrong.sum()),
        }
        for truth, said in np.stack(np.unravel_index(order, matrix.shape), axis=1).tolist()
        if wrong[truth, said]
    ]


def _known(value: Any) -> Any:
    """`value` with None for every nan in it."""
    if isinstance(value, dict):
        return {key: _known(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_known(inner) for inner in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def flat(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Every value of nested settings by its dotted name."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{before}{name}.")
        else:
            yield before + name, value


def best_first(classes: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Entries of "classes" by falling IoU; of equal ones those that the truth has, found nowhere last."""
    return sorted(classes, key=lambda c: (c["iou"] is None, -(c["iou"] or 0.0), not c["pixels"], c["label"]))


def ends(classes: Sequence[dict[str, Any]], each: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The `each` worst (worst first) and `each` best classes of those in the truth, none of them twice."""
    found = [c for c in best_first(classes) if c["pixels"]]
    best = found[: min(each, (len(found) + 1) // 2)]
    return found[len(best) :][::-1][:each], best


def labels_told(told: Mapping[str, Any]) -> str:
    """How many labels there are, and how many of them the mean IoU is made of where that is not all.

    A class that the truth lacks counts 0 as soon as it is predicted, which pulls down the mean of few images.
    """
    labels, scored, true = told["labels"], told["labels_scored"], told["labels_in_truth"]
    if true == labels:
        return f"{labels}"
    return f"{labels} ({true} in the truth; the means are over {scored}, found in truth or prediction)"


def share(value: float | None) -> str:
    """A share in [0, 1] with three digits; a dash where there is none."""
    return "–" if value is None else f"{value:.3f}"
