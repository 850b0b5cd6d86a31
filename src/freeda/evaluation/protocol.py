"""The options of a measurement: the preset's, then what the data set's protocol says, then the user's own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..images import RGB
from ..options import SegmentOptions, to_dict
from ..presets import Preset
from ..segment.background import BACKGROUND
from ..segment.vocabulary import Vocabulary

if TYPE_CHECKING:
    from ..model import FreeDA
    from .dataset import DataSet

Labeller = Callable[[RGB], NDArray[Any]]
"""What is measured: a picture, uint8 (H, W, 3), to integer labels (H, W) of the data set."""


def protocol_options(preset: Preset, dataset: DataSet) -> SegmentOptions:
    """The preset's options with what the data set's protocol sets."""
    return preset.segment.with_changes(**dataset.changes)


def protocol_changes(preset: Preset, dataset: DataSet, options: SegmentOptions) -> dict[str, list[Any]]:
    """Option -> [by the protocol, as used] where the two differ; JSON values, nested options with a dot."""
    return _changes(to_dict(protocol_options(preset, dataset)), to_dict(options))


def _changes(a: dict[str, Any], b: dict[str, Any]) -> dict[str, list[Any]]:
    out: dict[str, list[Any]] = {}
    for name, value in a.items():
        if isinstance(value, dict):
            out |= {f"{name}.{inner}": both for inner, both in _changes(value, b[name]).items()}
        elif value != b[name]:
            out[name] = [value, b[name]]
    return out


def label_names(dataset: DataSet) -> tuple[str, ...]:
    """What the truth's labels mean."""
    return (*dataset.classes, BACKGROUND) if dataset.background else tuple(dataset.classes)


def check_options(dataset: DataSet, options: SegmentOptions) -> None:
    """Raise InputError for labels that the data set's truth does not have."""
    extra = (
        f"background={options.background!r}" if options.background != "none" else f"others={options.others!r}"
    )
    if not dataset.background and (options.background != "none" or options.others is not None):
        raise InputError(
            f"data set {dataset.name!r} has no background, so {extra} could only be wrong: leave it out"
        )


class Method:
    """FreeDA as a labeller."""

    def __init__(self, model: FreeDA, vocabulary: Vocabulary, options: SegmentOptions, n_labels: int) -> None:
        """`vocabulary` is of the data set's classes, `n_labels` counts its background too."""
        from ..model import FreeDA

        self._model = FreeDA(replace(model.preset, segment=options), model.encoders, clock=model.clock)
        self._vocabulary = vocabulary
        self._last = n_labels - 1

    def __call__(self, image: RGB) -> NDArray[np.int32]:
        """(H, W) int32 labels of a picture, uint8 (H, W, 3)."""
        labels = self._model.segment(image, self._vocabulary).labels
        # "others" and the background come last, and are one in the truth.
        return np.minimum(labels, self._last)
