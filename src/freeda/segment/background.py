"""Where no class is good enough: the background as one more plane of scores."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from ..options import SegmentOptions

BACKGROUND = "background"
"""The name of the extra last label."""


def with_background(scores: npt.NDArray[np.float32], options: SegmentOptions) -> npt.NDArray[np.float32]:
    """Scores (N, C) plus the background's column where `options.background` is "constant": (N, C + 1).

    A constant plane at the threshold (an option of FreeDA's released code). It stays constant under averaging
    and resizing, so it may be added before either.
    """
    if options.background == "none":
        return scores
    plane = np.full((len(scores), 1), options.background_threshold, dtype=np.float32)
    return np.concatenate([scores, plane], axis=1)


def label_names(names: tuple[str, ...], options: SegmentOptions) -> tuple[str, ...]:
    """The names that labels index: the classes, then the background where there is one.

    Raises InputError where a class already has the background's name.
    """
    if options.background == "none":
        return names
    if BACKGROUND in names:
        raise InputError(
            f"class name {BACKGROUND!r} is taken by option background={options.background!r}: drop one"
        )
    return (*names, BACKGROUND)
