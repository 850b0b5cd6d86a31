"""The figures of a report are those of the counts, and examples show what they say."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from evaluation.reports import NAMES, Small, evaluated, small_data
from freeda.evaluation.counts import Boundary, Sizes
from freeda.evaluation.report import figures
from freeda.evaluation.report.examples import draw_examples
from freeda.evaluation.result import ImageRow


@pytest.fixture
def small() -> Small:
    return small_data()


def test_figures_are_those_of_the_counts(small: Small) -> None:
    result = evaluated(small)
    told, counts = figures(result), result.counts
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    assert told["miou"] == counts.miou() and told["boundary_iou"] == counts.boundary_iou()
    assert told["pixel_accuracy"] == counts.pixel_accuracy()
    assert told["frequency_weighted_iou"] == counts.frequency_weighted_iou()
    assert [told[k] for k in ("labels", "labels_scored", "labels_in_truth")] == [5, 4, 4]
    assert [c["name"] for c in told["classes"]] == list(NAMES)
    assert [c["iou"] for c in told["classes"][:4]] == counts.per_class_iou()[:4].tolist()
    assert told["classes"][4]["iou"] is None and told["classes"][4]["pixels"] == 0
    assert told["pixels"] == sum(int((t != 255).sum()) for _, t in small.pairs)
    assert [s["size"] for s in told["by_size"]] == ["small", "medium", "large"]
    assert sum(s["pixels"] for s in told["by_size"]) == told["pixels"]
    assert told["seconds_an_image"] == 0.5 and told["seconds"] == 3.0 and told["peak_memory"] == 2**30


def test_classes_by_counting_pixels(small: Small) -> None:
    """Each column of the table is what its head says: shares of the true, not of the predicted pixels."""
    told, found = figures(evaluated(small)), []
    boundary = Boundary(5)
    for pred, truth in small.pairs:
        boundary.update(pred, truth)
    for c in range(4):
        true = sum(int((t == c).sum()) for _, t in small.pairs)
        said = sum(int(((p == c) & (t != 255)).sum()) for p, t in small.pairs)
        right = sum(int(((p == c) & (t == c)).sum()) for p, t in small.pairs)
        entry = told["classes"][c]
        assert (entry["pixels"], entry["predicted_pixels"]) == (true, said)
        assert entry["iou"] == pytest.approx(right / (true + said - right))
        assert entry["accuracy"] == pytest.approx(right / true)
        assert entry["boundary_iou"] == boundary.per_class_iou()[c] != entry["iou"]
        found.append(right / true)
    assert told["mean_accuracy"] == pytest.approx(sum(found) / 4)
    sizes = Sizes(5)
    for pred, truth in small.pairs:
        sizes.update(pred, truth)
    for entry, score in zip(told["by_size"], sizes.scores(), strict=True):
        known = [None if math.isnan(v) else v for v in (score.miou, score.recall)]
        assert [entry["miou"], entry["recall"]] == known


def test_examples_show_truth_prediction_and_mistakes() -> None:
    """A prediction that is wrong on the left changes the third picture, and is orange in the fourth,
    right being blue, whatever colours the photograph has."""
    truth = np.zeros((60, 60), np.uint8)
    truth[30:] = 1
    data = Small([(truth, truth)], ("cat", "dog", "tree", "background"))
    data.read_image = lambda i: np.full((60, 60, 3), (220, 40, 40), np.uint8)  # type: ignore[method-assign]
    wrong = truth.copy()
    wrong[:, :30] = 2
    row = ImageRow(0, "image_0", 0.5, 0.5, 0.0, 3600)
    right, half = (
        draw_examples("t", [row], (*data.classes, "background"), data, lambda i, said=said: said)
        for said in (truth, wrong)
    )
    assert right.shape == half.shape
    width = right.shape[1]
    changed = np.flatnonzero((right != half).any((0, 2)))
    third, fourth = changed[changed < 0.72 * width], changed[changed > 0.74 * width]  # a gap between
    assert third.size and fourth.size and third[0] > 0.5 * width, "the truth is drawn as it was"
    last = [p[:, fourth[0] : fourth[-1] + 1].astype(int) for p in (right, half)]
    orange = [p[..., 0] - p[..., 2] for p in last]
    assert orange[0].min() < -30 and orange[0].max() < 10, "all of it is right: blue"
    assert (orange[1] > 30).sum() > 0.9 * (orange[0] < -30).sum(), "and where it is wrong, orange"


def test_mistakes_by_counting_pixels(small: Small) -> None:
    told = figures(evaluated(small))["mistakes"]
    wanted = []
    for a in range(5):
        for b in range(5):
            pixels = sum(int(((t == a) & (p == b)).sum()) for p, t in small.pairs)
            if a != b and pixels:
                true = sum(int((t == a).sum()) for _, t in small.pairs)
                wanted.append((pixels, NAMES[a], NAMES[b], pixels / true))
    found = [(m["pixels"], m["truth"], m["taken_for"], m["share_of_truth"]) for m in told]
    assert sorted(found) == sorted(wanted) and len(found) == 12
    assert [m["pixels"] for m in told] == sorted((m["pixels"] for m in told), reverse=True)
    assert sum(m["share_of_mistakes"] for m in told) == pytest.approx(1.0)
