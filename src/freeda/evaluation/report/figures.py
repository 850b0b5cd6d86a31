"""The figures of an evaluation, once: what the screen, the Markdown page and the JSON all show."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from ..result import Evaluation, ImageRow

MISTAKES = 15
"""So many of the largest confusions are listed."""


def figures(result: Evaluation) -> dict[str, Any]:
    """All figures as JSON values: shares in [0, 1], None where there is nothing to tell.

    "classes" is in label order, "mistakes" are the largest off-diagonal entries of the confusion matrix
    (truth taken for another class), largest first; "by_size" goes from small to large.
    """
    counts, matrix = result.counts, result.counts.confusion.matrix
    seconds = [row.seconds for row in result.images]
    return {
        "dataset": result.dataset,
        "images": len(result.images),
        "labels": len(result.labels),
        "labels_in_truth": int((matrix.sum(1) > 0).sum()),
        "labels_scored": int((~np.isnan(counts.per_class_iou())).sum()),
        "pixels": int(matrix.sum()),
        "warnings": result.caveats.lines(),
        "miou": _known(counts.miou()),
        "pixel_accuracy": _known(counts.pixel_accuracy()),
        "mean_accuracy": _known(counts.confusion.mean_accuracy()),
        "frequency_weighted_iou": _known(counts.frequency_weighted_iou()),
        "boundary_iou": _known(counts.boundary_iou()),
        "by_size": [
            {
                "size": score.name,
                "miou": _known(score.miou),
                "recall": _known(score.recall),
                "components": score.components,
                "pixels": score.pixels,
            }
            for score in counts.by_size()
        ],
        "classes": _classes(result),
        "mistakes": _mistakes(result),
        "per_image": [
            {
                "index": row.index,
                "name": row.name,
                "miou": _known(row.miou),
                "pixel_accuracy": _known(row.pixel_accuracy),
                "seconds": row.seconds,
                "pixels": row.pixels,
            }
            for row in result.images
        ],
        "seconds": result.seconds,
        "seconds_an_image": statistics.median(seconds) if seconds else None,
        "peak_memory": result.peak_memory or None,
        "settings": result.settings,
    }


def _classes(result: Evaluation) -> list[dict[str, Any]]:
    counts, matrix, answered = result.counts, result.counts.confusion.matrix, result.caveats.answered
    columns = zip(
        result.labels,
        counts.per_class_iou().tolist(),
        counts.confusion.per_class_accuracy().tolist(),
        counts.per_class_boundary_iou().tolist(),
        matrix.sum(1).tolist(),
        matrix.sum(0).tolist(),
        strict=True,
    )
    return [
        {
            "label": i,
            "name": name,
            "iou": _known(iou),
            "accuracy": _known(accuracy),
            "boundary_iou": _known(boundary),
            "pixels": true,
            "predicted_pixels": predicted,
            **({"answered_by": list(answered[name])} if name in answered else {}),
        }
        for i, (name, iou, accuracy, boundary, true, predicted) in enumerate(columns)
    ]


def _mistakes(result: Evaluation) -> list[dict[str, Any]]:
    """The largest confusions, with their share of the true class's pixels and of all wrong pixels."""
    matrix = result.counts.confusion.matrix
    wrong = matrix - np.diag(np.diag(matrix))
    order = np.argsort(-wrong, axis=None, kind="stable")[:MISTAKES]
    out = []
    for truth, said in zip(*(axis.tolist() for axis in np.unravel_index(order, matrix.shape)), strict=True):
        pixels = int(wrong[truth, said])
        if pixels:
            out.append(
                {
                    "truth": result.labels[truth],
                    "taken_for": result.labels[said],
                    "pixels": pixels,
                    "share_of_truth": pixels / int(matrix[truth].sum()),
                    "share_of_mistakes": pixels / int(wrong.sum()),
                }
            )
    return out


def ranked(result: Evaluation) -> list[ImageRow]:
    """The images whose truth counts, worst mIoU first; of equal ones the lower pixel accuracy first."""
    counted = [row for row in result.images if not math.isnan(row.miou)]
    return sorted(counted, key=lambda row: (row.miou, row.pixel_accuracy, row.index))


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


def amount(pixels: int) -> str:
    """A count, with commas."""
    return f"{pixels:,}"


def _known(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
