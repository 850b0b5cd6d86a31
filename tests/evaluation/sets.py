"""Small data sets for the job's tests, and plain arithmetic on label maps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

from freeda.errors import InputError

IGNORE = 255


class Noise:
    """Random pictures with random blocky truths, some of it ignored; picture `bad` is unreadable."""

    name = "noise"
    background = False
    changes: Mapping[str, Any] = {}

    def __init__(self, n: int = 20, classes: tuple[str, ...] = ("cat", "dog", "tree"), bad: int = -1) -> None:
        self.n, self.classes, self.bad = n, classes, bad
        self.reads: list[int] = []

    def __len__(self) -> int:
        return self.n

    def sample_name(self, i: int) -> str:
        return f"noise-{i}"

    def read_image(self, i: int) -> NDArray[np.uint8]:
        if i == self.bad:
            raise InputError(f"noise-{i}.jpg: not an image")
        self.reads.append(i)
        image = np.random.default_rng(i).integers(0, 256, (12 + i % 5, 17, 3), dtype=np.uint8)
        image[0, 0] = divmod(i, 256)[1], i // 256, 7  # so that an oracle knows which one it sees
        return image

    def read_truth(self, i: int) -> NDArray[np.uint8]:
        rng = np.random.default_rng(1000 + i)
        small = rng.integers(0, len(self.classes) + self.background, (5, 6), dtype=np.uint8)
        truth = np.kron(small, np.ones((4, 3), np.uint8))[: 12 + i % 5, :17].copy()
        truth[rng.random(truth.shape) < 0.2] = IGNORE
        return truth

    def digest(self) -> str:
        return sha256(repr(self.classes).encode()).hexdigest()


class Oracle:
    """Says the truth of a data set of `Noise`, after a change of the test's own; counts what it was asked."""

    def __init__(self, dataset: Any, change: Any = None, name: str = "oracle") -> None:
        self.dataset, self.change, self.name, self.asked = dataset, change, name, 0

    def __call__(self, image: NDArray[np.uint8]) -> NDArray[Any]:
        self.asked += 1
        truth = self.dataset.read_truth(int(image[0, 0, 0]) + 256 * int(image[0, 0, 1]))
        return truth if self.change is None else self.change(truth)

    def many(self, images: Iterable[NDArray[np.uint8]]) -> Iterator[NDArray[Any]]:
        return map(self, images)


def plain_iou(pairs: list[tuple[NDArray[Any], NDArray[Any]]], n: int) -> list[float | None]:
    """Per-class IoU over (prediction, truth) maps, from the definition, pixel by pixel."""
    both, either = [0] * n, [0] * n
    for pred, truth in pairs:
        for p, t in zip(pred.ravel().tolist(), truth.ravel().tolist(), strict=True):
            if t == IGNORE:
                continue
            if p == t:
                both[t] += 1
                either[t] += 1
            else:
                either[t] += 1
                either[p] += 1
    return [b / e if e else None for b, e in zip(both, either, strict=True)]
