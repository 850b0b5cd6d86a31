"""The small world's held-out scenes as a data set."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..evaluation.dataset import MINIATURE, Origin
from ..presets import DRAWN
from .scenes import CLASSES, HELD_OUT, SIZE, DrawnScene, render
from .trial import SPAN

SCENES = 200
"""As many as `freeda demo` measures on."""


class Scenes:
    """The scenes on which `freeda demo` of the same seed measures (`trial.held_out`), drawn when read."""

    name = MINIATURE
    classes: tuple[str, ...] = CLASSES
    background = False
    changes: Mapping[str, Any] = {}
    world = DRAWN

    def __init__(self, seed: int = 0, n: int = SCENES) -> None:
        """`n` scenes, at least 1, of a seed, 0 or more. Raises InputError."""
        if seed < 0:
            raise InputError(f"the seed of the scenes is {seed}: it must be at least 0")
        if not 1 <= n <= SPAN:
            raise InputError(f"{n} scenes: a seed has 1 to {SPAN:,}")
        self._seed, self._n = seed, n

    @property
    def origin(self) -> Origin:
        """How another process opens the same."""
        return Origin("freeda.miniature.dataset:Scenes", {"seed": self._seed, "n": self._n})

    def __len__(self) -> int:
        return self._n

    def sample_name(self, i: int) -> str:
        """ "scene-0-17": seed and number."""
        return f"scene-{self._seed}-{i}"

    def read_image(self, i: int) -> NDArray[np.uint8]:
        """(128, 128, 3) uint8 RGB."""
        return _scene(self._seed, i).image

    def read_truth(self, i: int) -> NDArray[np.uint8]:
        """(128, 128) uint8 indices into `classes`."""
        return _scene(self._seed, i).labels

    def digest(self) -> str:
        """SHA-256 (hex) of the stream and the classes; the number of scenes only says where one stops."""
        return sha256(repr((HELD_OUT, SIZE, self._seed, self.classes)).encode()).hexdigest()


def open_scenes(split: str | None = None, limit: int | None = None) -> Scenes:
    """`limit` scenes of the seed that `split` names. Raises InputError for what is no seed."""
    if split is not None and not (split.isascii() and split.isdigit()):
        raise InputError(f"split is {split!r}: the miniature's is the number of a seed, such as 0")
    return Scenes(int(split or 0), SCENES if limit is None else limit)


@lru_cache(maxsize=4)
def _scene(seed: int, i: int) -> DrawnScene:
    """Drawn once for its picture and its truth."""
    return render(HELD_OUT, seed * SPAN + i)
