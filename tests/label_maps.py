"""Random label maps for the tests of metrics."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Map = NDArray[Any]

SHAPES = [(1, 1), (1, 9), (7, 1), (2, 2), (5, 6), (13, 8), (24, 31)]
DTYPES = [np.uint8, np.int16, np.int32, np.int64]


def random_maps(
    seed: int, shape: tuple[int, int], n: int, dtype: Any, ignore: int = 255, patchy: bool = True
) -> tuple[Map, Map]:
    """A prediction and a truth with some ignored pixels; `patchy` ones hang together, others are noise."""
    rng = np.random.default_rng(seed)

    def plane() -> Map:
        if not patchy:
            return rng.integers(0, n, shape)
        coarse = rng.integers(0, n, (shape[0] // 3 + 1, shape[1] // 3 + 1))
        return np.kron(coarse, np.ones((3, 3), int))[: shape[0], : shape[1]]

    truth = plane()
    pred = np.where(rng.random(shape) < 0.7, truth, plane())
    truth = np.where(rng.random(shape) < rng.choice([0.0, 0.1, 0.4]), ignore, truth)
    return pred.astype(dtype), truth.astype(dtype)
