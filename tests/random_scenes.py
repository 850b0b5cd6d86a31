"""Pictures and vocabularies by chance, for the tests of the online stage."""

from __future__ import annotations

import numpy as np

from freeda.segment import Vocabulary


def picture(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Blotches of colour with a little noise: regions large and tiny."""
    coarse = rng.integers(0, 256, (1 + height // 7, 1 + width // 7, 3))
    image = np.kron(coarse, np.ones((8, 8, 1)))[:height, :width] + rng.normal(0, 6, (height, width, 3))
    return np.clip(image, 0, 255).astype(np.uint8)


def random_vocabulary(rng: np.random.Generator, n: int, several: bool = False, others: int = 0) -> Vocabulary:
    """`n` text rows, each with one to four prototypes if `several`; the last `others` rows share a label."""
    text = rng.normal(size=(n, 20)).astype(np.float32)
    text /= np.linalg.norm(text, axis=1, keepdims=True)
    owner = np.repeat(np.arange(n), rng.integers(1, 5, n)) if several else None
    label = np.minimum(np.arange(n), n - others) if 0 < others < n else None
    names = tuple(f"class {i}" for i in range(n if label is None else label.max() + 1))
    prototypes = rng.normal(size=(n if owner is None else len(owner), 24)).astype(np.float32)
    return Vocabulary(names, text, prototypes, owner=owner, label=label)
