"""A CVAT auto-annotation function: every image of a task, labelled by words.

    cvat-cli --server-host https://app.cvat.ai --auth you task auto-annotate 137 \
        --function-file integrations/cvat.py -p classes=str:"cat, sofa=couch" -p model=str:vit-l

The protocol is that of `cvat_sdk.auto_annotation` (docs.cvat.ai, Auto-annotation API): `spec` names the
labels, `detect` finds their shapes in one image. docs/integrations.md has it step by step.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cvat_sdk.auto_annotation as cvataa
import numpy as np
from cvat_sdk.masks import encode_mask
from PIL import Image

import freeda
from freeda.errors import InputError, no_such_file
from freeda.show.exports.labelled import Labelled
from freeda.show.exports.outline import areas, single_ring


class WordFunction:
    """Labels images by a vocabulary: a mask for each class found, or a polygon for each connected area."""

    def __init__(self, model: freeda.FreeDA, classes: str, others: str | None, tolerance: float) -> None:
        self._model, self._tolerance = model, tolerance
        self._known = model.vocabulary(classes, others=others)
        self._names = self._known.names[:-1] if others else self._known.names
        labels = [cvataa.label_spec(name, number, type="mask") for number, name in enumerate(self._names)]
        self.spec = cvataa.DetectionFunctionSpec(labels=labels)

    def detect(self, context: cvataa.DetectionFunctionContext, image: Image.Image) -> list[Any]:
        """The shapes of one image; `context.conv_mask_to_poly` asks for polygons, whose holes hang on lines
        of no width. There is no confidence to hold against a threshold. Raises as `FreeDA.segment`."""
        result = self._model.segment(image, self._known)
        if not context.conv_mask_to_poly:
            masks = [(number, result.labels == number) for number in range(len(self._names))]
            return [cvataa.mask(number, encode_mask(mask)) for number, mask in masks if mask.any()]
        drawn = Labelled(result.labels, self._names, result.palette, tolerance=self._tolerance)
        rings = [
            (area.label, drawn.simplified(single_ring(area, drawn.numbers)))
            for area in areas(drawn.numbers, drawn.labels, apart=False)
        ]
        return [cvataa.polygon(number, np.round(ring, 2).ravel().tolist()) for number, ring in rings]


def create(
    classes: str,
    model: str = "miniature",
    bank: str | None = None,
    taught: str | None = None,
    regions: str | None = None,
    device: str = "auto",
    others: str | None = None,
    tolerance: float = 1.0,
) -> WordFunction:
    """What `cvat-cli` calls with each `-p NAME=TYPE:VALUE`; errors are freeda's, one line each.

    Args:
        classes: the labels as on freeda's command line, "cat, sofa=couch"; the task must have them.
        model, bank, regions, device: as in `freeda.load`.
        taught: a file of lessons, as `freeda app` and integrations/label_studio.py keep.
        others: what to call all that is none of the classes, and is left out.
        tolerance: pixels by which polygons may leave the true outlines; masks are exact.
    """
    if taught is not None and not Path(taught).is_file():
        raise InputError(no_such_file(taught))
    loaded = freeda.load(model, bank, device, regions=regions, taught=taught)
    return WordFunction(loaded, classes, others, tolerance)
