"""A label map as the package supervision has it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError


def detections(labels: NDArray[Any], names: Sequence[str]) -> Any:
    """A `supervision.Detections` of `labels`, integer (H, W), indices into `names`: an entry for every class
    found. Raises InputError where the package is not installed.
    """
    try:
        import supervision
    except ImportError as error:
        raise InputError("this needs the package supervision: pip install supervision") from error
    found = np.unique(labels)
    masks = labels == found[:, None, None]
    return supervision.Detections(
        xyxy=supervision.mask_to_xyxy(masks).astype(np.float32),
        mask=masks,
        class_id=found.astype(np.int64),
        data={"class_name": np.array([names[i] for i in found])},
    )
